package connic_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// asking returns a fake with an agent that asks n times before it answers.
func asking(t *testing.T, n int, request connictest.ApprovalRequest) (*connictest.Server, *connic.Client) {
	t.Helper()
	srv := connictest.New(t)
	srv.Agent("payer", func(ctx context.Context, in connictest.Input) (any, error) {
		var responses []string
		for range n {
			response, err := in.RequestApproval(ctx, request)
			if err != nil {
				return nil, err
			}
			responses = append(responses, response)
		}
		return "paid " + strings.Join(responses, " "), nil
	})
	return srv, srv.Client()
}

var payment = connictest.ApprovalRequest{ToolName: "pay", Arguments: map[string]any{"iban": "DE00SECRETARGUMENT", "amount": 12}}

// paused starts a run and returns it as it awaits approval.
func paused(t *testing.T, c *connic.Client) *connic.Run {
	t.Helper()
	run := must[*connic.Run](t)(c.Agents.TriggerAndWait(t.Context(), "payer", connic.TriggerRequest{Message: "pay"}, connic.StopAtApproval()))
	if run.Status != connic.RunAwaitingApproval || run.Approval == nil || run.Approval.RunID != run.ID || run.Approval.Status != connic.ApprovalPending {
		t.Fatalf("the run is %+v, its approval %v", run, run.Approval)
	}
	return run
}

// requests counts the requests of the fake by operation.
func requests(srv *connictest.Server) map[string]int {
	n := make(map[string]int)
	for _, r := range srv.Requests() {
		n[r.Op]++
	}
	return n
}

func TestOnApproval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, c := asking(t, 2, payment)
		var asked []string
		run, err := c.Agents.TriggerAndWait(t.Context(), "payer", connic.TriggerRequest{Message: "pay"},
			connic.OnApproval(func(ctx context.Context, a *connic.Approval) (connic.Decision, error) {
				if a.ToolName != "pay" || a.AgentName != "payer" || !strings.Contains(string(a.Arguments), "iban") || a.ExpiresAt.IsZero() {
					t.Errorf("%+v: %s", *a, a.Arguments)
				}
				asked = append(asked, a.ID)
				return connic.Decision{Approve: true, Reason: "fine"}, pause(ctx, time.Hour)
			}))
		if err != nil || run.Output != "paid  " || len(asked) != 2 || asked[0] == asked[1] {
			t.Fatalf("%+v, %v, asked %v", run, err, asked)
		}
		all := must[[]*connic.Approval](t)(c.Approvals.ForRun(t.Context(), run.ID))
		if len(all) != 2 || all[0].ID != asked[0] || all[0].Status != connic.ApprovalApproved || all[0].Reason != "fine" || all[0].DecidedBy.Type != "api_key" {
			t.Errorf("%+v", all)
		}
		n := requests(srv)
		t.Log("requests:", n)
		if n["agents.trigger"] != 1 || n["approvals.list"] != 3 || n["approvals.decide"] != 2 || n["approvals.get"] != 0 {
			t.Errorf("it cost %v", n)
		}
		if n["runs.get"] > 2*70 {
			t.Errorf("%d polls in two hours of waiting", n["runs.get"])
		}
	})
}

// Two approvals of a run are pending at once, and are decided one after the other.
func TestApprovalsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("payer", func(ctx context.Context, in connictest.Input) (any, error) {
			failed := make(chan error)
			go func() { failed <- in.AwaitApproval(ctx) }()
			response, err := in.RequestApproval(ctx, connictest.ApprovalRequest{Inputs: []connic.ApprovalInput{{Label: "PIN", Sensitive: true}}})
			return response, errors.Join(err, <-failed)
		})
		at := 0
		run, err := srv.Client().Agents.TriggerAndWait(t.Context(), "payer", connic.TriggerRequest{Message: "m"},
			connic.OnApproval(func(_ context.Context, a *connic.Approval) (connic.Decision, error) {
				at++
				if len(a.Inputs) > 0 {
					return connic.Decision{Approve: true, Response: "1234"}, nil
				}
				return connic.Decision{Approve: true}, nil
			}))
		if err != nil || at != 2 || run.Output != "1234" {
			t.Errorf("%+v, %v after %d", run, err, at)
		}
	})
}

var errAway = errors.New("nobody is there")

// What ends a wait with OnApproval, or lets it go on.
func TestOnApprovalEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		decide func(ctx context.Context, srv *connictest.Server, a *connic.Approval) (connic.Decision, error)
		want   func(run *connic.Run, err error, a *connic.Approval) bool
	}{
		"an error": {
			func(context.Context, *connictest.Server, *connic.Approval) (connic.Decision, error) {
				return connic.Decision{Approve: true}, errAway
			},
			func(run *connic.Run, err error, a *connic.Approval) bool {
				var w *connic.WaitError
				var e *connic.ApprovalError
				return run.Status == connic.RunAwaitingApproval && errors.Is(err, errAway) && errors.As(err, &w) && w.ID == run.ID &&
					errors.As(err, &e) && e.Approval.ID == a.ID && a.Status == connic.ApprovalPending && strings.Contains(err.Error(), a.ID)
			},
		},
		"Goexit": {
			func(context.Context, *connictest.Server, *connic.Approval) (connic.Decision, error) {
				runtime.Goexit()
				return connic.Decision{}, nil
			},
			func(_ *connic.Run, err error, a *connic.Approval) bool {
				var e *connic.ApprovalError
				return errors.As(err, &e) && a.Status == connic.ApprovalPending
			},
		},
		"a response that is missing": {
			func(context.Context, *connictest.Server, *connic.Approval) (connic.Decision, error) {
				return connic.Decision{Approve: true, Response: " "}, nil
			},
			func(_ *connic.Run, err error, a *connic.Approval) bool {
				var e *connic.ArgumentError
				return errors.As(err, &e) && a.Status == connic.ApprovalPending
			},
		},
		"a rejection": {
			func(context.Context, *connictest.Server, *connic.Approval) (connic.Decision, error) {
				return connic.Decision{Reason: "no"}, nil
			},
			func(run *connic.Run, err error, a *connic.Approval) bool {
				var e *connic.RunError
				return errors.As(err, &e) && run.Status == connic.RunFailed && a.Status == connic.ApprovalRejected
			},
		},
		"a decision elsewhere, which the function does not know of": {
			func(ctx context.Context, srv *connictest.Server, a *connic.Approval) (connic.Decision, error) {
				err := srv.Decide(a.ID, "Alice", connic.Decision{Approve: true})
				return connic.Decision{}, err
			},
			func(run *connic.Run, err error, a *connic.Approval) bool {
				return err == nil && run.Output == "paid " && a.DecidedBy.Name == "Alice"
			},
		},
		"a decision elsewhere, which ends the context": {
			func(ctx context.Context, srv *connictest.Server, a *connic.Approval) (connic.Decision, error) {
				time.AfterFunc(time.Hour, func() { srv.Approve(a.ID) })
				<-ctx.Done()
				return connic.Decision{}, ctx.Err()
			},
			func(run *connic.Run, err error, a *connic.Approval) bool { return err == nil && run.Output == "paid " },
		},
		"expiry": {
			func(ctx context.Context, srv *connictest.Server, a *connic.Approval) (connic.Decision, error) {
				<-ctx.Done()
				return connic.Decision{Approve: true}, nil
			},
			func(run *connic.Run, err error, a *connic.Approval) bool {
				return run.Status == connic.RunFailed && a.Status == connic.ApprovalExpired
			},
		},
		"a cancelled run": {
			func(ctx context.Context, srv *connictest.Server, a *connic.Approval) (connic.Decision, error) {
				if err := srv.Client().Runs.Cancel(ctx, a.RunID); err != nil {
					return connic.Decision{}, err
				}
				<-ctx.Done()
				return connic.Decision{Approve: true}, nil
			},
			func(run *connic.Run, err error, a *connic.Approval) bool {
				return run.Status == connic.RunCancelled && a.Status == connic.ApprovalExpired
			},
		},
		"a key without access": {nil, func(run *connic.Run, err error, a *connic.Approval) bool {
			return run.Status == connic.RunAwaitingApproval && errors.Is(err, connic.ErrForbidden) && a.Status == connic.ApprovalPending
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv, c := asking(t, 1, payment)
				own := c
				if test.decide == nil {
					own = srv.ClientWithKey(srv.Key("agents:write", "runs:read"))
				}
				run, err := own.Agents.TriggerAndWait(t.Context(), "payer", connic.TriggerRequest{Message: "pay"},
					connic.OnApproval(func(ctx context.Context, a *connic.Approval) (connic.Decision, error) {
						return test.decide(ctx, srv, a)
					}))
				if run == nil {
					t.Fatal(err)
				}
				all := must[[]*connic.Approval](t)(c.Approvals.ForRun(t.Context(), run.ID))
				if len(all) != 1 || !test.want(run, err, all[0]) {
					t.Errorf("%+v, %v, %+v", run, err, all)
				}
				if err != nil && strings.Contains(err.Error(), "SECRETARGUMENT") {
					t.Errorf("the error shows the arguments: %v", err)
				}
			})
		})
	}
}

// A panic is one of the wait.
func TestOnApprovalPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, c := asking(t, 1, payment)
		defer func() {
			if p := recover(); p != "no" {
				t.Errorf("it panics with %v", p)
			}
		}()
		_, err := c.Agents.TriggerAndWait(t.Context(), "payer", connic.TriggerRequest{Message: "pay"},
			connic.OnApproval(func(context.Context, *connic.Approval) (connic.Decision, error) { panic("no") }))
		t.Errorf("it returns %v", err)
	})
}

// A function that takes days does not keep other runs waiting, and a function
// that ignores its context does not keep the wait.
func TestOnApprovalOfMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, c := asking(t, 1, payment)
		srv.Agent("quick", func(context.Context, connictest.Input) (any, error) { return "done", nil })
		ids := []string{spend(t, c, "payer", "m"), spend(t, c, "payer", "m"), spend(t, c, "quick", "m")}
		release := make(chan struct{})
		defer close(release)
		var order []string
		ctx, cancel := context.WithTimeout(t.Context(), 48*time.Hour)
		defer cancel()
		start := time.Now()
		for run, err := range c.Runs.WaitAll(ctx, ids, connic.OnApproval(func(ctx context.Context, a *connic.Approval) (connic.Decision, error) {
			if a.RunID == ids[0] {
				<-release
			}
			return connic.Decision{Approve: true}, pause(ctx, time.Hour)
		})) {
			if run == nil {
				var w *connic.WaitError
				if !errors.As(err, &w) || !slices.Equal(w.Pending, ids[:1]) || time.Since(start) > 49*time.Hour {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				continue
			}
			order = append(order, run.ID)
		}
		if !slices.Equal(order, []string{ids[2], ids[1]}) {
			t.Errorf("they ended in the order %v of %v", order, ids)
		}
	})
}

// The events of a wait name the approval, at one request for each.
func TestEventsNameTheApproval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, c := asking(t, 1, payment)
		id := spend(t, c, "payer", "m")
		time.AfterFunc(time.Hour, func() { srv.Approve(id) })
		named := 0
		_, err := c.Runs.Wait(t.Context(), id, connic.WithProgress(func(e connic.WaitEvent) {
			switch {
			case e.Status != string(connic.RunAwaitingApproval):
				if e.Run.Approval != nil {
					t.Errorf("%s has %v", e.Status, e.Run.Approval)
				}
			case e.Run.Approval == nil || e.Run.Approval.ToolName != "pay":
				t.Errorf("it awaits %v", e.Run.Approval)
			default:
				named++
			}
		}))
		if n := requests(srv); err != nil || named < 50 || n["approvals.list"] != 1 {
			t.Errorf("%v after %d events and %v", err, named, n)
		}
	})
}

// A list that ignores its filters leads to no decision about another run.
func TestApprovalsOfOtherRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, c := asking(t, 1, payment)
		other, run := paused(t, c), paused(t, c)
		blind := srv.Client(connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				r = r.Clone(r.Context())
				r.URL.RawQuery = ""
				return next.RoundTrip(r)
			})
		}))
		got, err := blind.Runs.Wait(t.Context(), run.ID, connic.OnApproval(func(_ context.Context, a *connic.Approval) (connic.Decision, error) {
			if a.RunID != run.ID {
				t.Errorf("asked about run %s", a.RunID)
			}
			return connic.Decision{Approve: true}, nil
		}))
		if err != nil || got.Output != "paid " {
			t.Fatal(got, err)
		}
		if left := must[*connic.Run](t)(c.Runs.Get(t.Context(), other.ID)); left.Status != connic.RunAwaitingApproval {
			t.Errorf("the other run is %s", left.Status)
		}
	})
}

// What may be in arguments and texts is printed nowhere.
func TestApprovalsArePrintedWithoutTexts(t *testing.T) {
	t.Parallel()
	const secret = "tell-nobody-0123456789"
	a := connic.Approval{ID: "a1", RunID: "r1", Status: connic.ApprovalPending, ToolName: "pay", Arguments: []byte(`{"x": "` + secret + `"}`), Reason: secret}
	d := connic.Decision{Approve: true, Reason: secret, Response: secret}
	run := connic.Run{ID: "r1", Approval: &a}
	var log strings.Builder
	for _, logger := range []*slog.Logger{slog.New(slog.NewJSONHandler(&log, nil)), slog.New(slog.NewTextHandler(&log, nil))} {
		logger.Info("shown", "approval", a, "pointer", &a, "decision", d, "run", &run, "event", connic.WaitEvent{Run: &run},
			"error", &connic.ApprovalError{Approval: &a, Err: errAway}, "decided", &connic.DecidedError{Approval: &a})
	}
	if strings.Contains(log.String(), secret) {
		t.Error(log.String())
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q %d", a, a, a, a, a, a), fmt.Sprintf("%v %+v %#v %s", d, d, d, d), fmt.Sprintf("%+v", run)} {
		if strings.Contains(text, secret) {
			t.Error(text)
		}
	}
}
