package connector_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// journal is what a program does with deliveries, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
	return nil
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// mux handles every kind.
func (j *journal) mux() *connector.Mux {
	m := connector.NewMux()
	m.Handle(connector.KindRun, func(_ context.Context, d connector.Delivery) error {
		run := d.Run()
		return j.add("run %s %s: %s%s", run.AgentName, run.Status, run.Output, run.Error)
	})
	m.HandlePayload("action", "refund", func(_ context.Context, d connector.Delivery) error { return j.add("refund %s", d.Body) })
	m.HandleAgent(connector.KindApproval, "clerk", func(_ context.Context, d connector.Delivery) error {
		a := d.Approval()
		return j.add("approval %s of %s: %s", a.ID, a.ToolName, a.Arguments)
	})
	m.Handle(connector.KindAudit, func(_ context.Context, d connector.Delivery) error {
		e := d.AuditEntry()
		return j.add("audit %s %s", e.Action, e.ResourceType)
	})
	m.HandleItems(connector.KindLog, func(_ context.Context, items []connector.Delivery) error {
		return j.add("%d lines: %s", len(items), items[0].LogLine().Message)
	})
	m.Fallback(func(_ context.Context, d connector.Delivery) error { return j.add("%s %s", d.Kind, d.Body) })
	return m
}

// everyKind lets a fake deliver each kind, and returns the last delivery of each.
// The lines that it wants come after it.
var everyKind = []struct {
	name    string
	deliver func(t *testing.T, srv *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery
	want    []string
	run     bool // handled once, whatever its timestamp
}{
	{"run", func(t *testing.T, srv *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery {
		t.Helper()
		n := len(out.Deliveries())
		if _, err := srv.Connector("clerk").Client().Call(t.Context(), connector.Input{Message: "hello"}); err != nil {
			t.Error(err)
		}
		for t.Context().Err() == nil && (len(out.Deliveries()) == n || out.Deliveries()[n].RunID == "") {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond) // a second delivery, perhaps
		all := out.Deliveries()
		return all[len(all)-1]
	}, []string{"run clerk completed: hello"}, true},
	{"agent tool", func(_ *testing.T, _ *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery {
		return out.Send(map[string]any{"action": "refund", "order": 7})
	}, []string{`refund {"action":"refund","order":7}`}, false},
	{"middleware", func(_ *testing.T, _ *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery {
		return out.Send("anything")
	}, []string{`unknown "anything"`}, false},
	{"approval", func(_ *testing.T, _ *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery {
		return out.Notify(&connic.Approval{
			ID: "approval-1", RunID: "run-1", AgentName: "clerk", ToolName: "pay", Status: connic.ApprovalPending,
			Arguments: []byte(`{"amount":5}`), RequestedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		})
	}, []string{`approval approval-1 of pay: {"amount":5}`}, false},
	{"runs", func(t *testing.T, srv *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery {
		t.Helper()
		everyStatus(t, srv)
		return last(t, out.DrainRuns())
	}, []string{"run clerk completed: hello", "run fails failed: no paper", "run waits awaiting_approval: ", "run hangs running: ", "run hangs cancelled: "}, false},
	{"logs", func(t *testing.T, srv *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery {
		t.Helper()
		everyStatus(t, srv)
		return last(t, out.DrainLogs())
	}, []string{"2 lines: reading hello"}, false},
	{"audit log", func(t *testing.T, srv *connictest.Server, out *connictest.Outbound) connictest.OutboundDelivery {
		t.Helper()
		everyStatus(t, srv)
		return last(t, out.DrainAuditLog())
	}, []string{"audit agents.trigger run", "audit agents.trigger run", "audit agents.trigger run", "audit agents.trigger run", "audit agents.trigger run", "audit runs.cancel run"}, false},
}

func last(t *testing.T, all []connictest.OutboundDelivery) connictest.OutboundDelivery {
	t.Helper()
	if len(all) != 1 {
		t.Fatalf("%d deliveries", len(all))
	}
	return all[0]
}

// everyStatus triggers runs that reach different statuses.
func everyStatus(t *testing.T, srv *connictest.Server) {
	t.Helper()
	c := srv.Client()
	reached := func(agent string, want connic.RunStatus) string {
		t.Helper()
		started := must(c.Agents.Trigger(t.Context(), agent, connic.TriggerRequest{Message: "hello"}))(t)
		for t.Context().Err() == nil {
			runs := srv.State().Runs
			if i := slices.IndexFunc(runs, func(r *connic.Run) bool { return r.ID == started.RunID }); runs[i].Status == want {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return started.RunID
	}
	reached("clerk", connic.RunCompleted)
	reached("fails", connic.RunFailed)
	reached("waits", connic.RunAwaitingApproval)
	reached("hangs", connic.RunRunning)
	if err := c.Runs.Cancel(t.Context(), reached("hangs", connic.RunRunning)); err != nil {
		t.Error(err)
	}
}

func addAgents(srv *connictest.Server) {
	srv.RateLimit(0, 0, connictest.FixedWindow)
	srv.Agent("clerk", func(_ context.Context, in connictest.Input) (any, error) {
		in.Log("reading " + in.Message)
		in.Log("done")
		return in.Message, nil
	})
	srv.Agent("fails", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no paper") })
	srv.Agent("waits", func(ctx context.Context, in connictest.Input) (any, error) { return nil, in.AwaitApproval(ctx) })
	srv.Agent("hangs", func(ctx context.Context, _ connictest.Input) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
}

// TestEveryKindOverSockets delivers each kind from the fake through a receiver and
// a Mux to its handler: well, twice, forged and tampered with.
func TestEveryKindOverSockets(t *testing.T) {
	t.Parallel()
	for _, kind := range everyKind {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			for name, fault := range map[string]connictest.DeliveryFault{
				"well": {}, "twice": {Twice: true}, "signature": {Signature: true}, "body": {Body: true},
			} {
				srv := connictest.NewServer(t)
				addAgents(srv)
				var j journal
				receiver := &connector.Receiver{Handle: j.mux().Deliver}
				serve := http.NewServeMux()
				serve.Handle("POST /hooks/connic", receiver)
				shop := httptest.NewServer(serve)
				out := srv.Outbound(shop.URL+"/hooks/connic", nil)
				if !kind.run {
					out.WithoutRuns()
				}
				receiver.Secrets = []connector.Secret{out.Secret()}
				out.Fault(fault)
				d := kind.deliver(t, srv, out)
				want, status := kind.want, 204
				switch {
				case fault.Signature || fault.Body:
					want, status = nil, 401
				case fault.Twice && !kind.run && d.Header.Get(connector.TimestampHeader) != out.Deliveries()[0].Header.Get(connector.TimestampHeader):
					want = append(slices.Clone(want), want...) // they have different timestamps
				}
				if got := j.take(); !slices.Equal(got, want) || d.Status != status || d.Err != nil {
					t.Errorf("%s: %d, %v, %q", name, d.Status, d.Err, got)
				}
				shop.Close()
			}
		})
	}
}

// TestEveryKindInProcess is the same in virtual time, and late.
func TestEveryKindInProcess(t *testing.T) {
	t.Parallel()
	for _, kind := range everyKind {
		for name, fault := range map[string]connictest.DeliveryFault{
			"well": {}, "late": {Late: 4 * time.Minute}, "too late": {Late: 6 * time.Minute},
			"tampered": {Body: true, Late: time.Second}, "twice": {Twice: true, Late: time.Minute},
		} {
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				addAgents(srv)
				var j journal
				receiver := &connector.Receiver{Handle: j.mux().Deliver}
				out := srv.OutboundHandler(receiver)
				if !kind.run {
					out.WithoutRuns()
				}
				receiver.Secrets = []connector.Secret{out.Secret()}
				out.Fault(fault)
				d := kind.deliver(t, srv, out)
				want, status := kind.want, 204
				switch name {
				case "too late", "tampered":
					want, status = nil, 401
				case "twice":
					if !kind.run { // the second has another timestamp
						want = append(slices.Clone(want), want...)
					}
				}
				if got := j.take(); !slices.Equal(got, want) || d.Status != status || d.Err != nil {
					t.Errorf("%s, %s: %d, %v, %q", kind.name, name, d.Status, d.Err, got)
				}
			})
		}
	}
}

// TestDrains post what is new, once, in lists of limited length, also without a
// signature.
func TestDrains(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.RateLimit(0, 0, connictest.FixedWindow)
	srv.Agent("talks", func(_ context.Context, in connictest.Input) (any, error) {
		for i := range 1100 {
			in.Log(fmt.Sprint("line ", i, " ", strings.Repeat("x", 9<<10)))
		}
		return "done", nil
	})
	srv.Agent("other", func(_ context.Context, in connictest.Input) (any, error) { in.Log("not asked for"); return "done", nil })
	var j journal
	shop := httptest.NewServer(&connector.Receiver{Handle: j.mux().Deliver, Unsigned: true})
	t.Cleanup(shop.Close)
	out := srv.Outbound(shop.URL, nil, "talks").WithoutRuns().WithSecret("")
	if all := slices.Concat(out.DrainRuns(), out.DrainLogs(), out.DrainAuditLog()); len(all) != 0 {
		t.Errorf("%d deliveries of nothing", len(all))
	}
	for _, agent := range []string{"talks", "other"} {
		if _, err := srv.Client().Agents.TriggerAndWait(t.Context(), agent, connic.TriggerRequest{Message: "m"}, connic.WithPoll(time.Millisecond, time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	all := out.DrainLogs()
	var texts []string
	for _, text := range j.take() {
		texts = append(texts, text[:min(len(text), 20)])
	}
	if want := []string{"500 lines: line 0 xx", "500 lines: line 500 ", "100 lines: line 1000"}; !slices.Equal(texts, want) {
		t.Errorf("%q", texts)
	}
	for _, d := range all {
		if d.Status != 204 || len(d.Header) != 0 {
			t.Errorf("%d, %v", d.Status, d.Header)
		}
	}
	out.DrainRuns()
	out.DrainAuditLog()
	if got, want := j.take(), []string{"run talks completed: done", "audit agents.trigger run", "audit agents.trigger run"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if all := slices.Concat(out.DrainRuns(), out.DrainLogs(), out.DrainAuditLog()); len(all) != 0 {
		t.Errorf("%d deliveries of what was drained", len(all))
	}
	if d := out.Send(func() {}); d.Err == nil {
		t.Error("a function was sent")
	}
}
