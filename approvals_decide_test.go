package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// The faults around a decision: what is sent, what is executed, and what the
// caller learns. Each case is a decision to approve.
var decideFaults = []struct {
	name    string
	faults  []connictest.Fault
	before  func(*connictest.Server, string) // somebody else, before the decision
	between func(*connictest.Server, string) // after the first attempt
	opts    []connic.RequestOption
	timeout time.Duration // of the context

	want         string // "approved", "decided", "unknown", or an error
	decides      int    // requests that decide
	gets         int
	status       connic.ApprovalStatus // in the end
	decidedBySDK bool
}{
	{name: "none", want: "approved", decides: 1, status: "approved", decidedBySDK: true},
	{name: "429", faults: one(connictest.Fault{Status: 429, RetryAfter: "2"}), want: "approved", decides: 2, status: "approved", decidedBySDK: true},
	{name: "lost before it is executed", faults: one(connictest.Fault{Drop: true}), want: "approved", decides: 2, gets: 1, status: "approved", decidedBySDK: true},
	{name: "lost twice before it is executed", faults: one(connictest.Fault{Drop: true, Times: 2}), want: "approved", decides: 3, gets: 2, status: "approved", decidedBySDK: true},
	{name: "always lost before it is executed", faults: one(connictest.Fault{Drop: true, Times: -1}), want: "unknown", decides: 3, gets: 3, status: "pending"},
	{name: "lost after it is executed", faults: one(connictest.Fault{Drop: true, After: true}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "500 before it is executed", faults: one(connictest.Fault{Status: 500}), want: "approved", decides: 2, gets: 1, status: "approved", decidedBySDK: true},
	{name: "500 after it is executed", faults: one(connictest.Fault{Status: 500, After: true}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "504 after it is executed", faults: one(connictest.Fault{Status: 504, HTML: true, After: true}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "cut off", faults: one(connictest.Fault{Truncate: 20}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "empty", faults: one(connictest.Fault{Truncate: -1}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "another document", faults: one(connictest.Fault{Remove: []string{"id"}}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "HTML", faults: one(connictest.Fault{HTML: true, After: true}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "too late", faults: one(connictest.Fault{After: true, Latency: 2 * time.Minute}), want: "approved", decides: 1, gets: 1, status: "approved", decidedBySDK: true},
	{name: "lost, and found out at the second try", faults: []connictest.Fault{
		{Op: "approvals.decide", Drop: true, After: true},
		{Op: "approvals.get", Status: 503},
	}, want: "approved", decides: 1, gets: 2, status: "approved", decidedBySDK: true},
	{name: "lost, and not to be found out", faults: []connictest.Fault{
		{Op: "approvals.decide", Drop: true, After: true},
		{Op: "approvals.get", Status: 503, Times: -1},
	}, want: "unknown", decides: 1, gets: 4, status: "approved", decidedBySDK: true},
	{name: "lost, and not to be repeated", faults: one(connictest.Fault{Drop: true}), opts: []connic.RequestOption{connic.WithMaxAttempts(1)}, want: "unknown", decides: 1, gets: 1, status: "pending"},
	{name: "lost, and refused the second time", faults: []connictest.Fault{
		{Op: "approvals.decide", Drop: true},
		{Op: "approvals.decide", Status: 403},
	}, want: "unknown", decides: 2, gets: 2, status: "pending"},
	{name: "lost, and late enough for the repetition to be refused", faults: []connictest.Fault{
		{Op: "approvals.decide", Drop: true, After: true},
		{Op: "approvals.get", Set: map[string]any{"status": "pending"}},
	}, want: "approved", decides: 2, gets: 2, status: "approved", decidedBySDK: true},
	{name: "403", faults: one(connictest.Fault{Status: 403}), want: "403", decides: 1, status: "pending"},
	{name: "404", faults: one(connictest.Fault{Status: 404}), want: "404", decides: 1, status: "pending"},
	{name: "409 of something else", faults: one(connictest.Fault{Status: 409}), want: "409", decides: 1, gets: 1, status: "pending"},
	{name: "approved before", before: alice(true), want: "decided", decides: 1, gets: 1, status: "approved"},
	{name: "rejected before", before: alice(false), want: "decided", decides: 1, gets: 1, status: "rejected"},
	{name: "rejected before, and lost", before: alice(false), faults: one(connictest.Fault{Drop: true}), want: "decided", decides: 1, gets: 1, status: "rejected"},
	{name: "lost, then rejected", between: alice(false), faults: one(connictest.Fault{Drop: true}), want: "decided", decides: 1, gets: 1, status: "rejected"},
	{name: "lost, then approved by another", between: alice(true), faults: one(connictest.Fault{Drop: true}), want: "approved", decides: 1, gets: 1, status: "approved"},
	{name: "answered with the other decision", faults: one(connictest.Fault{Set: map[string]any{"status": "rejected", "decided_by": "Alice"}}), want: "decided", decides: 1, status: "approved", decidedBySDK: true},
	{name: "the context ends", faults: one(connictest.Fault{After: true, Latency: time.Minute}), timeout: 10 * time.Second, want: "unknown", decides: 1, status: "approved", decidedBySDK: true},
}

// one is a fault of the decision.
func one(f connictest.Fault) []connictest.Fault {
	f.Op = "approvals.decide"
	return []connictest.Fault{f}
}

// alice decides.
func alice(approve bool) func(*connictest.Server, string) {
	return func(srv *connictest.Server, id string) {
		if err := srv.Decide(id, "Alice", connic.Decision{Approve: approve}); err != nil {
			panic(err)
		}
	}
}

func TestF1FaultsOfDecisions(t *testing.T) {
	t.Parallel()
	for _, f := range decideFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv, c := asking(t, 1, payment)
				run := paused(t, c)
				id := run.Approval.ID
				if f.before != nil {
					f.before(srv, id)
				}
				for _, fault := range f.faults {
					srv.Fault(fault)
				}
				own := srv.Client(connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
					first := true
					return roundTrip(func(r *http.Request) (*http.Response, error) {
						resp, err := next.RoundTrip(r)
						if between := f.between; between != nil && first {
							first = false
							between(srv, id)
						}
						return resp, err
					})
				}))
				ctx := t.Context()
				if f.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, f.timeout)
					defer cancel()
				}
				a, err := own.Approvals.Decide(ctx, id, connic.Decision{Approve: true, Reason: "fine"}, f.opts...)
				if got := outcome(a, err); got != f.want {
					t.Errorf("it is %s, want %s: %v, %v", got, f.want, a, err)
				}
				time.Sleep(2 * time.Minute) // for what is late
				n := requests(srv)
				t.Logf("%-60s %-9s decide %d, get %d: %v", f.name, f.want, n["approvals.decide"], n["approvals.get"], err)
				if n["approvals.decide"] != f.decides || n["approvals.get"] != f.gets {
					t.Errorf("it cost %v, want %d decisions and %d reads", n, f.decides, f.gets)
				}
				srv.ClearFaults()
				now := must[*connic.Approval](t)(c.Approvals.Get(t.Context(), id))
				if now.Status != f.status || f.decidedBySDK != (now.DecidedBy.Type == "api_key") || srv.Executions("approvals.decide") > 1 {
					t.Errorf("in the end it is %s by %v, executed %d times", now.Status, now.DecidedBy, srv.Executions("approvals.decide"))
				}
			})
		})
	}
}

// outcome is what the caller learns.
func outcome(a *connic.Approval, err error) string {
	var decided *connic.DecidedError
	var answer *connic.Error
	switch {
	case err == nil:
		return string(a.Status)
	case errors.Is(err, connic.ErrOutcomeUnknown):
		return "unknown"
	case errors.As(err, &decided):
		if !errors.Is(err, connic.ErrConflict) || decided.Approval == nil || !strings.Contains(err.Error(), "by Alice") {
			return err.Error()
		}
		return "decided"
	case errors.As(err, &answer):
		return fmt.Sprint(answer.StatusCode)
	}
	return err.Error()
}

// What cannot be right is not sent.
func TestDecisionsThatAreNotSent(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 16_384)
	inputs := &connic.Approval{ID: "a1", Inputs: []connic.ApprovalInput{{Label: "PIN"}}}
	plain := &connic.Approval{ID: "a1"}
	for name, d := range map[string]struct {
		connic.Decision
		a         *connic.Approval
		sent, fit bool
	}{
		"an approval":                  {connic.Decision{Approve: true}, plain, true, true},
		"a rejection":                  {connic.Decision{Reason: "no"}, inputs, true, true},
		"a rejection with a response":  {connic.Decision{Response: "x"}, inputs, false, false},
		"an approval without response": {connic.Decision{Approve: true}, inputs, true, false},
		"a blank response":             {connic.Decision{Approve: true, Response: " \n"}, inputs, false, false},
		"a response":                   {connic.Decision{Approve: true, Response: "x"}, inputs, true, true},
		"a long response":              {connic.Decision{Approve: true, Response: long}, inputs, true, true},
		"a longer response":            {connic.Decision{Approve: true, Response: long + "a"}, inputs, false, false},
	} {
		sent := false
		c := must[*connic.Client](t)(connic.New("p", "cnc_0123456789", connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			sent = true
			return nil, errors.New("noted")
		})}), connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1})))
		_, err := c.Approvals.Decide(t.Context(), "a1", d.Decision)
		var refused *connic.ArgumentError
		if sent != d.sent || errors.As(err, &refused) == d.sent {
			t.Errorf("%s: sent is %v: %v", name, sent, err)
		}
		if err := d.a.Check(d.Decision); (err == nil) != d.fit {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A notice has the approval at its top or under a key, and an id of its own.
func TestApprovalsFromNotices(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"approval_id": "a1", "run_id": "r1", "tool_name": "pay", "status": "awaiting_approval"}`:                            "a1 r1 pay pending",
		`{"id": "notice-1", "approval_id": "a1", "run_id": "r1", "tool": "pay"}`:                                              "a1 r1 pay pending",
		`{"id": "notice-1", "event": "x", "run_id": "r1", "approval": {"id": "a1", "tool_name": "pay", "status": "pending"}}`: "a1 r1 pay pending",
		`{"id": 7, "run_id": 8, "status": "paused_for_tea", "arguments": "{\"a\": 1}", "inputs": ["PIN"]}`:                    `7 8  paused_for_tea {"a": 1} PIN`,
		`{"id": "a1", "status": "approved", "decided_by": {"email": "a@b.c"}}`:                                                "a1   approved a@b.c",
	} {
		var a connic.Approval
		if err := a.UnmarshalJSON([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := strings.TrimSpace(fmt.Sprint(a.ID, " ", a.RunID, " ", a.ToolName, " ", a.Status, " ", string(a.Arguments), a.DecidedBy.String()))
		for _, in := range a.Inputs {
			got += " " + in.Label
		}
		if got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}
