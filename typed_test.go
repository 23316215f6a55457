package connic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/leaktest"
	"github.com/connic-go/connic/internal/typed"
)

type question struct {
	Customer int    `json:"customer"`
	Message  string `json:"message,omitzero"`
}

type price struct {
	Amount float64    `json:"amount" connic:"required"`
	Count  int64      `json:"count,omitzero"`
	Since  *time.Time `json:"since,omitzero"`
}

type quote struct {
	Vendor string           `json:"vendor" connic:"required"`
	Number *int64           `json:"number" connic:"required"`
	Items  []price          `json:"items,omitzero"`
	Rates  map[string]price `json:"rates,omitzero"`
	More   any              `json:"more,omitzero"`
}

type prose string

const (
	quoter connic.AgentOf[question, quote] = "quoter"
	writer connic.AgentOf[prose, prose]    = "writer"
)

// outputText is part of every output that does not fit, and of no error.
const outputText = "CONTENT-0123456789"

// misfits are outputs that are no quote.
var misfits = []struct {
	output  string
	problem connic.OutputProblem
	field   string
}{
	{"", connic.OutputEmpty, ""},
	{" \n", connic.OutputEmpty, ""},
	{"null", connic.OutputEmpty, ""},
	{outputText, connic.OutputNotJSON, ""},
	{"```json\n{\"vendor\": \"" + outputText + "\"}\n```", connic.OutputNotJSON, ""},
	{`{"vendor": "` + outputText + `", "number": 1} {}`, connic.OutputNotJSON, ""},
	{`{"vendor": "` + outputText, connic.OutputNotJSON, ""},
	{`["` + outputText + `"]`, connic.OutputMismatch, ""},
	{`"` + outputText + `"`, connic.OutputMismatch, ""},
	{`{"vendor": {"x": "` + outputText + `"}, "number": 1}`, connic.OutputMismatch, "vendor"},
	{`{"vendor": "x", "number": "` + outputText + `"}`, connic.OutputMismatch, "number"},
	{`{"vendor": "x", "number": 123456789012345678901234567890}`, connic.OutputMismatch, "number"},
	{`{"vendor": "x", "number": 5.5}`, connic.OutputMismatch, "number"},
	{`{"vendor": "x", "number": 5, "items": [{"amount": 1}, {"amount": "` + outputText + `"}]}`, connic.OutputMismatch, "items[1].amount"},
	{`{"vendor": "x", "number": 5, "items": [{"amount": 1, "since": "` + outputText + `"}]}`, connic.OutputMismatch, "items[0].since"},
	{`{"vendor": "x", "number": 5, "rates": {"` + outputText + `": {"amount": true}}}`, connic.OutputMismatch, "rates.*.amount"},
	{`{"number": 5, "` + outputText + `": 1}`, connic.OutputMissing, "vendor"},
	{`{"vendor": null, "number": 5, "more": "` + outputText + `"}`, connic.OutputMissing, "vendor"},
	{`{"vendor": "` + outputText + `"}`, connic.OutputMissing, "number"},
	{`{"vendor": "x", "number": 5, "items": [{"amount": 1}, {"count": 1}]}`, connic.OutputMissing, "items[1].amount"},
	{`{"vendor": "x", "number": 5, "items": [{"amount": null}]}`, connic.OutputMissing, "items[0].amount"},
	{`{"vendor": "x", "number": 5, "rates": {"` + outputText + `": {}}}`, connic.OutputMissing, "rates.*.amount"},
}

// checkMisfit checks what a call returns for an output that does not fit.
func checkMisfit(t *testing.T, i int, out quote, run *connic.Run, err error) {
	t.Helper()
	want := misfits[i]
	var bad *connic.OutputError
	if !errors.As(err, &bad) || bad.Problem != want.problem || bad.Field != want.field || bad.Type != "connic_test.quote" {
		t.Errorf("%s: %v, want %s of %q", want.output, err, want.problem, want.field)
		return
	}
	if !reflect.ValueOf(out).IsZero() || run == nil || run.Output != want.output || bad.Run == nil || bad.Run.Output != want.output {
		t.Errorf("%s: output %+v, run %+v", want.output, out, run)
	}
	encoded, _ := json.Marshal(map[string]any{"error": bad})
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "error", bad, "wrapped", fmt.Errorf("w: %w", err))
	for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %s %q", bad, bad, bad, bad), string(encoded), log.String()} {
		if strings.Contains(text, outputText) {
			t.Errorf("%s: the output is shown in %s", want.output, text)
		}
		if !strings.Contains(text, bad.Run.ID) || !strings.Contains(text, want.field) {
			t.Errorf("%s: the text lacks the run or the field: %s", want.output, text)
		}
	}
}

func TestOutputsThatDoNotFit(t *testing.T) {
	t.Parallel()
	for i, m := range misfits {
		run := &connic.Run{ID: "run-7", AgentName: "quoter", Status: connic.RunCompleted, Output: m.output}
		out, err := connic.OutputAs[quote](run)
		checkMisfit(t, i, out, run, err)
		out, err = quoter.Output(run)
		checkMisfit(t, i, out, run, err)
	}
	for _, m := range misfits {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.Agent("quoter", func(context.Context, connictest.Input) (any, error) { return m.output, nil })
			for i := range misfits {
				if misfits[i].output != m.output {
					continue
				}
				out, run, err := quoter.TriggerAndWait(t.Context(), srv.Client(), question{Customer: 7})
				checkMisfit(t, i, out, run, err)
				out, run, err = quoter.Wait(t.Context(), srv.Client(), run.ID)
				checkMisfit(t, i, out, run, err)
				if n := srv.Executions("agents.trigger"); n != 1 {
					t.Errorf("%s: %d triggers", m.output, n)
				}
			}
		})
	}
}

func TestOutputsThatFit(t *testing.T) {
	t.Parallel()
	run := func(output string) *connic.Run { return &connic.Run{ID: "r", Output: output} } // a list may omit the status
	out, err := quoter.Output(run(`{"vendor": "", "number": null, "new": [], "items": [{"amount": 1, "count": 5e2}], "more": [18446744073709551617, 1.10], "rates": null}`))
	if err != nil || out.Number != nil || out.Items[0].Count != 500 || fmt.Sprint(out.More) != "[18446744073709551617 1.10]" || out.Rates != nil {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = quoter.Output(run(" {\"vendor\": \"x\", \"number\": 9007199254740993.0}\n"))
	if err != nil || *out.Number != 9007199254740993 || out.Items != nil {
		t.Errorf("%+v, %v", out, err)
	}
	for _, text := range []string{"plain", `"quoted"`, "null", `{"a": 1}`, " "} {
		if got, err := connic.OutputAs[prose](run(text)); err != nil || string(got) != text {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if got, err := connic.OutputAs[string](&connic.Run{Status: connic.RunCompleted}); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := connic.OutputAs[*quote](run("null")); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := connic.OutputAs[json.RawMessage](run("[1, 2]")); err != nil || string(got) != "[1, 2]" {
		t.Errorf("%s, %v", got, err)
	}
}

// Whatever the output is, a run that did not complete is a RunError.
func TestRunsThatDidNotComplete(t *testing.T) {
	t.Parallel()
	for _, run := range []*connic.Run{
		{ID: "r"},
		{ID: "r", Status: connic.RunFailed, Output: `{"vendor": "x"}`},
		{ID: "r", Error: "x"},
		{ID: "r", Status: connic.RunRunning, Output: `{}`},
		{ID: "r", Status: connic.RunAwaitingApproval},
		{ID: "r", Status: "odd"},
	} {
		_, err := connic.OutputAs[quote](run)
		var failed *connic.RunError
		if !errors.As(err, &failed) || failed.Run != run || errors.Is(err, connic.ErrUnknownStatus) != (run.Status == "odd" || run.Status == "" && run.Error == "") {
			t.Errorf("%+v: %v", run, err)
		}
		if run.Status == connic.RunRunning && strings.Contains(err.Error(), "ended:") && !strings.Contains(err.Error(), "has not ended: running") {
			t.Errorf("%v", err)
		}
	}
	out, err := connic.OutputAs[quote](nil)
	var bad *connic.OutputError
	if !errors.As(err, &bad) || bad.Problem != connic.OutputEmpty || bad.Run != nil || !reflect.ValueOf(out).IsZero() || err.Error() == "" {
		t.Errorf("%v", err)
	}
}

func TestRunsOfOtherAgents(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]bool{"": false, "quoter": false, "quoter-test-b": false, "quoter-2": true, "Quoter": true, "other": true, "test-quoter": true} {
		run := &connic.Run{ID: "run-7", AgentName: name, Output: `{"vendor": "x", "number": 1}`}
		_, err := quoter.Output(run)
		var bad *connic.OutputError
		if got := errors.As(err, &bad) && bad.Problem == connic.OutputOfOtherAgent; got != other || !other && err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if other && (!strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "not of quoter")) {
			t.Errorf("%v", err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("writer", func(context.Context, connictest.Input) (any, error) { return "text", nil })
		_, run, err := writer.TriggerAndWait(t.Context(), srv.Client(), "x")
		if err != nil {
			t.Fatal(err)
		}
		_, run, err = quoter.Wait(t.Context(), srv.Client(), run.ID)
		var bad *connic.OutputError
		if !errors.As(err, &bad) || bad.Problem != connic.OutputOfOtherAgent || run == nil || run.AgentName != "writer" {
			t.Errorf("%v, %+v", err, run)
		}
	})
}

// The errors and runs of the untyped calls are those of the typed ones.
func TestTypedCallsThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		client := srv.Client()
		srv.Agent("quoter", func(ctx context.Context, in connictest.Input) (any, error) {
			if in.Message == "approve" {
				return `{"vendor": "x", "number": 1}`, in.AwaitApproval(ctx)
			}
			return nil, errors.New("no idea")
		})
		out, run, err := quoter.TriggerAndWait(t.Context(), client, question{})
		var failed *connic.RunError
		if !errors.As(err, &failed) || run == nil || run.Error != "no idea" || !reflect.ValueOf(out).IsZero() {
			t.Errorf("%+v, %+v, %v", out, run, err)
		}
		_, run, err = quoter.TriggerAndWait(t.Context(), client, question{Message: "approve"}, connic.StopAtApproval())
		if !errors.As(err, &failed) || failed.Run.Status != connic.RunAwaitingApproval || run == nil {
			t.Errorf("%+v, %v", run, err)
		}
		short, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var wait *connic.WaitError
		_, again, err := quoter.Wait(short, client, run.ID)
		if !errors.As(err, &wait) || again == nil || again.ID != run.ID {
			t.Errorf("%+v, %v", again, err)
		}
		srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})
		_, run, err = quoter.TriggerAndWait(t.Context(), client, question{})
		if !errors.Is(err, connic.ErrOutcomeUnknown) || run != nil {
			t.Errorf("%+v, %v", run, err)
		}
		srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})
		if result, err := quoter.Trigger(t.Context(), client, question{}); !errors.Is(err, connic.ErrOutcomeUnknown) || result != nil {
			t.Errorf("%+v, %v", result, err)
		}
		var argument *connic.ArgumentError
		for _, c := range []*connic.Client{nil, {}, new(connic.Client)} {
			if c != nil && c.Agents == nil { // as for the untyped calls, its sections are nil, and refuse
				_, run, err = quoter.TriggerAndWait(t.Context(), c, question{})
			} else {
				_, run, err = quoter.Wait(t.Context(), c, "r")
			}
			if !errors.As(err, &argument) {
				t.Errorf("%+v, %v", run, err)
			}
			if _, err := quoter.Trigger(t.Context(), c, question{}); !errors.As(err, &argument) {
				t.Error(err)
			}
			if _, _, err := quoter.TriggerAndWait(t.Context(), c, question{}); !errors.As(err, &argument) {
				t.Error(err)
			}
		}
	})
}

func TestRequestsOfInputs(t *testing.T) {
	t.Parallel()
	whole := connic.TriggerRequest{Message: "m", Payload: 7, Files: []connic.File{{Name: "f"}}}
	for _, test := range []struct{ got, want connic.TriggerRequest }{
		{connic.AgentOf[string, string]("a").Request("hello"), connic.TriggerRequest{Message: "hello"}},
		{writer.Request("hello"), connic.TriggerRequest{Message: "hello"}},
		{connic.AgentOf[connic.TriggerRequest, string]("a").Request(whole), whole},
		{connic.AgentOf[*connic.TriggerRequest, string]("a").Request(&whole), whole},
		{connic.AgentOf[*connic.TriggerRequest, string]("a").Request(nil), connic.TriggerRequest{}},
		{connic.AgentOf[any, string]("a").Request(nil), connic.TriggerRequest{}},
		{connic.AgentOf[any, string]("a").Request("x"), connic.TriggerRequest{Message: "x"}},
		{connic.AgentOf[any, string]("a").Request(whole), whole},
		{quoter.Request(question{Customer: 7}), connic.TriggerRequest{Payload: question{Customer: 7}}},
		{connic.AgentOf[[]string, string]("a").Request([]string{"x"}), connic.TriggerRequest{Payload: []string{"x"}}},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%+v, want %+v", test.got, test.want)
		}
	}
}

// The keys of the client and what the service repeats of them are hidden, in the
// error of the decoder too.
func TestOutputErrorsShowNoKey(t *testing.T) {
	t.Parallel()
	const key = "cnc_CANARY-9f8e7d6c5b4a"
	const fitting = `{"vendor": "BARE", "number": 5}`
	search := leaktest.For(key)
	for _, output := range []string{`{"items": [{"amount": 1, "since": "BARE"}]}`, `{"BARE`, `{"number": "BARE"}`, "BARE", "", fitting} {
		body, _ := json.Marshal(map[string]string{"id": "r", "status": "completed", "agent_name": key[4:], "output": strings.ReplaceAll(output, "BARE", key[4:])})
		for name, agent := range map[string]connic.AgentOf[string, quote]{"same": connic.AgentOf[string, quote](key[4:]), "other": "other"} {
			synctest.Test(t, func(t *testing.T) {
				client, err := connic.New("p", key, connic.WithHTTPClient(&http.Client{Transport: respondingWith(body)}))
				if err != nil {
					t.Fatal(err)
				}
				_, _, err = agent.Wait(t.Context(), client, "r")
				if bad := (*connic.OutputError)(nil); !errors.As(err, &bad) && (output != fitting || name == "other") {
					t.Fatal(output, err)
				}
				for ; err != nil; err = errors.Unwrap(err) {
					if where := search.In(err.Error()); where != "" {
						t.Errorf("%s, %s: %s in %v", output, name, where, err)
					}
				}
			})
		}
	}
}

// respondingWith answers every request with a body.
type respondingWith []byte

func (a respondingWith) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a)), Request: r}, nil
}

// The problems are those of the decoder.
func TestOutputProblems(t *testing.T) {
	t.Parallel()
	for reason, problem := range map[typed.Reason]connic.OutputProblem{
		typed.Empty: connic.OutputEmpty, typed.NotJSON: connic.OutputNotJSON, typed.Mismatch: connic.OutputMismatch, typed.Missing: connic.OutputMissing,
	} {
		if string(reason) != string(problem) {
			t.Errorf("%s is %s", reason, problem)
		}
	}
	made := &connic.OutputError{Type: "T", Problem: connic.OutputMissing, Field: "a"}
	if got := made.Error(); got != "connic: the output is no T: a missing" {
		t.Error(got)
	}
}
