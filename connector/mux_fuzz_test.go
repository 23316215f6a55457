package connector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/connic-go/connic/connector"
)

// FuzzMux delivers anything: each delivery and each item reaches one handler once,
// with its JSON as received, and no typed form of it panics.
func FuzzMux(f *testing.F) {
	for _, seed := range []string{
		ofAgent("a"), ofAgent("a-test-b"), "[" + ofAgent("a") + `, {"id": "1", "agent_name": "a", "status": "failed", "cost": [], "traces": {"a": 1}}]`,
		`{"type": "refund", "type": null, "n": [1, {"type": 2}]}`, `{"approval": {"id": "1", "inputs": [{"label": 5}]}, "approval": 7}`,
		`[{"message": "m\u00fc", "level": "info", "timestamp": 1e400}, {"action": "a", "actor": [], "before": "x"}, [], null, "t", -0.5e-7]`,
		` [ 1 ,2 ] `, `[[[[]]]]`, `{"token_usage": {"input": {}}}`, `[]`, `{}`, "", `{"a"`, `["` + strings.Repeat("x", 100) + `"]`, "{\"run_id\": \"\xff\\ud800\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		kept := bytes.Clone(body)
		d, err := connector.ParseDelivery(body)
		if (err == nil) != json.Valid(body) {
			if err == nil || !nestedDeep(body) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if err != nil {
			return
		}
		var seen []string
		handle := func(_ context.Context, d connector.Delivery) error {
			seen = append(seen, string(d.Body))
			_ = append(d.Body, '!') // is no part of what follows
			d.Run()
			d.Approval()
			d.AuditEntry()
			d.LogLine()
			return nil
		}
		m := connector.NewMux()
		m.Handle(connector.KindRun, handle)
		m.HandleAgent(connector.KindRun, "a", handle)
		m.HandlePayload("type", "refund", handle)
		m.HandlePayload("n", "", handle)
		m.HandleItems(connector.KindLog, func(ctx context.Context, items []connector.Delivery) error {
			for _, item := range items {
				err = errors.Join(err, handle(ctx, item))
			}
			return err
		})
		m.Fallback(handle)
		if err := m.Deliver(t.Context(), d); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		var want []json.RawMessage
		if d.Kind != connector.KindBatch || json.Unmarshal(body, &want) != nil || len(want) == 0 {
			want = []json.RawMessage{body}
		}
		if len(seen) != len(want) {
			t.Fatalf("%q: %d handled of %d", body, len(seen), len(want))
		}
		for _, item := range want {
			found := false
			for i, s := range seen {
				if !found && s == string(item) {
					found, seen[i] = true, "\x00"
				}
			}
			if !found {
				t.Fatalf("%q: %s was not handled", body, item)
			}
		}
		if !bytes.Equal(body, kept) {
			t.Fatalf("%q was changed to %q", kept, body)
		}
	})
}

// nestedDeep reports whether brackets are nested beyond the limit, as far as a
// fuzzer builds that.
func nestedDeep(body []byte) bool {
	return bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) > 512
}
