package connector_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// item returns the only item of a batch.
func item(t testing.TB, body string) connector.Delivery {
	t.Helper()
	batch := parsed(t, "["+body+"]")
	for d := range batch.Items() {
		return d
	}
	t.Fatal("no item")
	return connector.Delivery{}
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestKindsOfItems(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]connector.Kind{
		`{"id": "1", "agent_name": "a", "status": "failed", "error": "no", "created_at": "2026-01-02"}`:   connector.KindRun,
		`{"run_id": "1", "agent_name": "a", "status": "running"}`:                                         connector.KindRun,
		`{"id": "1", "agent_name": "a", "status": "awaiting_approval"}`:                                   connector.KindRun,
		`{"id": "1", "agent_name": "a", "status": "pondering"}`:                                           connector.KindPayload,
		`{"agent_name": "a", "status": "failed"}`:                                                         connector.KindPayload,
		`{"message": "m", "level": "info"}`:                                                               connector.KindLog,
		`{"body": "m", "severity_text": "INFO", "run_id": "1", "agent_name": "a", "status": "completed"}`: connector.KindLog,
		`{"msg": "m", "time": 1767355200, "span_id": "1"}`:                                                connector.KindLog,
		`{"message": "m"}`: connector.KindPayload,
		`{"id": "1", "action": "judges.update", "resource_type": "judge", "timestamp": "2026-01-02T12:00:00"}`: connector.KindAudit,
		`{"action": "login", "actor": "ada"}`: connector.KindAudit,
		`{"action": "login"}`:                 connector.KindPayload,
		`{"approval": {"id": "1"}}`:           connector.KindApproval,
		`{"id": "1", "tool_name": "pay", "expires_at": "2026-01-02", "status": "pending"}`: connector.KindApproval,
		`{"environment_id": "e", "status": "healthy"}`:                                     connector.KindPayload,
		`[{"run_id": "1"}]`: connector.KindUnknown, `5`: connector.KindUnknown, `null`: connector.KindUnknown, `"x"`: connector.KindUnknown,
	} {
		if d := item(t, body); d.Kind != want || string(d.Body) != body {
			t.Errorf("%s: %s, not %s", d.Body, d.Kind, want)
		}
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	d := item(t, `{"id": 7, "agent_name": "a", "status": "failed", "input": "hello", "output": {"n": 1}, "error": "no", "run_context": {"k": "v"},
		"traces": [{"span_id": "s"}], "token_usage": {"input_tokens": "5"}, "cost": "0.10", "currency": "EUR", "ended_at": 1767355200, "news": {}}`)
	run := d.Run()
	if want := (&connic.Run{
		ID: "7", AgentName: "a", Status: connic.RunFailed, Input: "hello", Output: `{"n": 1}`, Error: "no", Context: json.RawMessage(`{"k": "v"}`),
		Traces: []connic.Span{{ID: "s"}}, TokenUsage: connic.TokenUsage{Input: 5}, Cost: connic.MustDecimal("0.10"), Currency: "EUR", EndedAt: noon,
	}); !reflect.DeepEqual(run, want) {
		t.Errorf("%+v\nnot\n%+v", run, want)
	}
	// What cannot be read is left out, and the rest is there.
	d = item(t, `{"id": "7", "agent_name": "a", "status": "failed", "cost": {"amount": 1}, "traces": [{"span_order": "x"}], "duration_ms": "soon", "input": "hello", "created_at": "noon", "token_usage": 3}`)
	if run := d.Run(); run.ID != "7" || run.Input != "hello" || run.Traces != nil || !run.CreatedAt.IsZero() {
		t.Errorf("%+v", run)
	}
	// However many there are.
	d = item(t, `{"id": "7", "agent_name": "a", "status": "failed"`+strings.Repeat(`, "cost": []`, 50)+strings.Repeat(`, "Cost": []`, 50)+`}`)
	if run := d.Run(); run.ID != "7" {
		t.Errorf("%+v", run)
	}
	if run := (&connector.Delivery{RunID: "1", Output: "x"}).Run(); run.ID != "1" || run.Output != "x" {
		t.Errorf("%+v", run)
	}

	d = item(t, `{"severity": "WARN", "time": "2026-01-02 12:00:00", "body": "disk\nfull", "run_id": "7", "agent_name": "a", "environment_id": "e", "host": "h"}`)
	if line, want := d.LogLine(), (&connector.LogLine{Time: noon, Level: "WARN", Message: "disk\nfull", RunID: "7", AgentName: "a", EnvironmentID: "e"}); *line != *want {
		t.Errorf("%+v", line)
	}
	d = item(t, `{"id": "1", "action": "judges.update", "actor": {"name": "ada"}, "created_at": "2026-01-02T12:00:00Z", "before": {"a": 1}, "after": null, "resource_id": "j"}`)
	if e := d.AuditEntry(); e.ID != "1" || e.Actor.String() != "ada" || !e.Timestamp.Equal(noon) || string(e.Before) != `{"a": 1}` || e.After != nil || e.ResourceID != "j" {
		t.Errorf("%+v", e)
	}

	const fields = `"id": "1", "tool_name": "pay", "status": "pending", "arguments": {"amount": 5}, "inputs": [{"label": "Reason", "sensitive": true}],
		"requested_at": "2026-01-02T12:00:00Z", "expires_at": "noon"`
	for _, body := range []string{
		`{` + fields + `, "run_id": "7", "agent_name": "a"}`, `{"approval": {` + fields + `}, "run_id": "7", "agent_name": "a"}`,
		`{"approval": {` + fields + `, "run_id": "7", "agent_name": "a"}}`,
	} {
		d := parsed(t, body)
		a := d.Approval()
		if want := (&connic.Approval{
			ID: "1", RunID: "7", AgentName: "a", ToolName: "pay", Status: connic.ApprovalPending, Arguments: json.RawMessage(`{"amount": 5}`),
			Inputs: []connic.ApprovalInput{{Label: "Reason", Sensitive: true}}, RequestedAt: noon,
		}); d.Kind != connector.KindApproval || d.RunID != "7" || d.AgentName != "a" || !reflect.DeepEqual(a, want) {
			t.Errorf("%s: %+v", body, a)
		}
	}
	d = parsed(t, `{"approval_id": 5, "approval": {"tool_name": "pay"}}`)
	if a := d.Approval(); a.ID != "5" || a.ToolName != "pay" {
		t.Errorf("%+v", a)
	}
	d = parsed(t, `{"approval_id": 5, "approval": true, "reason": "no"}`)
	if a := d.Approval(); a.ID != "5" || a.Reason != "no" {
		t.Errorf("%+v", a)
	}
}

// TestApprovalsByChance: what an agent's tool posts is no approval because of a word
// that a payload of its own may have.
func TestApprovalsByChance(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]connector.Kind{
		`{"approval": true}`: connector.KindPayload, `{"approval": "ada"}`: connector.KindPayload, `{"approval": {"by": "ada"}}`: connector.KindPayload,
		`{"order": 7, "status": "awaiting_approval"}`:    connector.KindPayload,
		`{"run_id": "7", "status": "awaiting_approval"}`: connector.KindApproval, `{"approval_id": 7}`: connector.KindApproval,
		`{"approval": {"id": "1"}}`: connector.KindApproval, `{"approval": {"tool_name": "pay"}}`: connector.KindApproval,
	} {
		if d := parsed(t, body); d.Kind != want {
			t.Errorf("%s is a %s", body, d.Kind)
		}
	}
}

// TestItemsStop where the caller does, and there are none where there is no batch.
func TestItemsStop(t *testing.T) {
	t.Parallel()
	n := 0
	d := parsed(t, `[1, 2, 3]`)
	for range d.Items() {
		if n++; n == 2 {
			break
		}
	}
	for _, body := range []string{`{}`, `[]`, `7`} {
		d := parsed(t, body)
		for range d.Items() {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d items", n)
	}
}

// TestNesting: what is nested too deep is refused, and no part of it is lost in
// silence.
func TestNesting(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if d, err := connector.ParseDelivery(nested(512)); err != nil || d.Kind != connector.KindBatch {
		t.Errorf("%v", err)
	}
	if _, err := connector.ParseDelivery(nested(513)); err != connector.ErrNotJSON { //nolint:errorlint // it is that
		t.Errorf("%v", err)
	}
}
