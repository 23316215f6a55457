package connic_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// slowTriggers delays the responses to triggers.
func slowTriggers(d time.Duration) connic.Option {
	return connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
		return transportFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if err == nil && strings.HasSuffix(r.URL.Path, "/trigger") {
				if err := pause(r.Context(), d); err != nil {
					return nil, err
				}
			}
			return resp, err
		})
	})
}

// A run whose caller goes while the service responds to its trigger is canceled too.
func TestCancelOnAbortOfATriggerInFlight(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answered time.Duration // after the trigger
		took     time.Duration
		canceled bool
	}{
		"answered in time": {5 * time.Second, 5 * time.Second, true},
		"not answered":     {time.Hour, 12 * time.Second, false},
	} {
		for _, cancels := range []bool{false, true} { // or the deadline passes
			t.Run(fmt.Sprint(name, "/", cancels), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := connictest.New()
					defer srv.Close()
					srv.Agent("slow", lasting(time.Hour))
					client := srv.Client(slowTriggers(test.answered))
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					gone, want := errors.New("gone home"), context.DeadlineExceeded
					if cancels {
						time.AfterFunc(2*time.Second, func() { cancel(gone) })
						want = gone
					} else {
						var stop context.CancelFunc
						ctx, stop = context.WithTimeout(ctx, 2*time.Second)
						defer stop()
					}
					start := time.Now()
					run, err := client.Agents.TriggerAndWait(ctx, "slow", connic.TriggerRequest{Message: "x"}, connic.CancelOnAbort(), connic.WithPoll(time.Second, time.Second))
					if took := time.Since(start); took != test.took || !errors.Is(err, want) || srv.Executions("agents.trigger") != 1 {
						t.Errorf("%v after %v", err, took)
					}
					if !test.canceled {
						if run != nil || !errors.Is(err, connic.ErrOutcomeUnknown) {
							t.Errorf("%+v, %v", run, err)
						}
						return
					}
					var wait *connic.WaitError
					if !errors.As(err, &wait) || wait.ID != run.ID || !strings.Contains(err.Error(), "; the run was canceled") {
						t.Errorf("%+v, %v", run, err)
					}
					if run, err := client.Runs.Get(t.Context(), run.ID); err != nil || run.Status != connic.RunCancelled {
						t.Errorf("%+v, %v", run, err)
					}
					synctest.Wait()
					if s := client.RateLimit(); s.Reserved != 0 || s.InFlight != 0 {
						t.Errorf("it left behind %+v", s)
					}
				})
			})
		}
	}
}

// A trigger that was not sent, or was refused, is not sent once its caller has gone.
func TestCancelOnAbortSendsNothingNew(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]connictest.Fault{
		"queued": {}, "refused": {Op: "agents.trigger", Status: 429, RetryAfter: "5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				defer srv.Close()
				srv.Agent("a", lasting(time.Hour))
				client := srv.Client(connic.WithRateLimit(3, time.Minute))
				if fault.Op != "" {
					srv.Fault(fault)
				} else {
					for range 3 {
						if _, err := client.Agents.List(t.Context(), nil); err != nil {
							t.Fatal(err)
						}
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(2*time.Second, cancel)
				start := time.Now()
				run, err := client.Agents.TriggerAndWait(ctx, "a", connic.TriggerRequest{Message: "x"}, connic.CancelOnAbort())
				if took := time.Since(start); run != nil || !errors.Is(err, context.Canceled) || errors.Is(err, connic.ErrOutcomeUnknown) || took > 10*time.Second || srv.Executions("agents.trigger") != 0 {
					t.Errorf("%+v, %v after %v", run, err, took)
				}
				time.Sleep(2 * time.Minute)
				if n := srv.Executions("agents.trigger"); n != 0 {
					t.Errorf("%d triggers", n)
				}
			})
		})
	}
}

// runWaits are the waits for runs, of which each returns the last error.
var runWaits = map[string]func(ctx context.Context, c *connic.Client, ids []string, opts ...connic.WaitOption) error{
	"Wait": func(ctx context.Context, c *connic.Client, ids []string, opts ...connic.WaitOption) error {
		_, err := c.Runs.Wait(ctx, ids[0], opts...)
		return err
	},
	"WaitAll": func(ctx context.Context, c *connic.Client, ids []string, opts ...connic.WaitOption) (last error) {
		for _, err := range c.Runs.WaitAll(ctx, ids, opts...) {
			last = err
		}
		return last
	},
	"Watch": func(ctx context.Context, c *connic.Client, ids []string, opts ...connic.WaitOption) (last error) {
		more := make(chan string, len(ids))
		for _, id := range ids {
			more <- id
		}
		close(more)
		for _, err := range c.Runs.Watch(ctx, more, opts...) {
			last = err
		}
		return last
	},
}

func TestCancelOnAbortOfEveryWait(t *testing.T) {
	t.Parallel()
	for name, wait := range runWaits {
		for _, status := range []int{0, 409, 500} { // of the second cancellation, or the only one
			t.Run(fmt.Sprint(name, "/", status), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := connictest.New()
					defer srv.Close()
					srv.Agent("slow", lasting(time.Hour))
					client := srv.Client(connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}))
					var ids []string
					for range 3 {
						ids = append(ids, trigger(t, client, "slow", "x"))
					}
					count, texts := 3, map[int]string{0: "3 of 3 runs were canceled", 409: "2 of 3 runs were canceled", 500: "2 of 3 runs were canceled"}
					if name == "Wait" {
						ids = ids[:1]
						count, texts = 1, map[int]string{0: "the run was canceled", 409: "the run has ended", 500: "the run could not be canceled"}
					}
					if status != 0 {
						srv.Fault(connictest.Fault{Op: "runs.cancel", Nth: min(2, count), Status: status})
					}
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					err := wait(ctx, client, ids, connic.CancelOnAbort())
					var failed *connic.WaitError
					if !errors.As(err, &failed) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, connic.ErrServer) != (status == 500) || !strings.Contains(err.Error(), texts[status]) {
						t.Errorf("%v, want %q", err, texts[status])
					}
					canceled := 0
					for _, id := range ids {
						if run, err := client.Runs.Get(t.Context(), id); err == nil && run.Status == connic.RunCancelled {
							canceled++
						}
					}
					if status != 0 {
						count--
					}
					if canceled != count {
						t.Errorf("%d runs are canceled, want %d", canceled, count)
					}
				})
			})
		}
	}
}

// Each run has the time that CancelAfter gives it, and is canceled once.
func TestCancelAfter(t *testing.T) {
	t.Parallel()
	waits := map[string]func(ctx context.Context, c *connic.Client, ids []string, opts ...connic.WaitOption) error{
		"TriggerAndWait": func(ctx context.Context, c *connic.Client, _ []string, opts ...connic.WaitOption) error {
			_, err := c.Agents.TriggerAndWait(ctx, "slow", connic.TriggerRequest{Message: "x"}, opts...)
			return err
		},
	}
	maps.Copy(waits, runWaits)
	for name, wait := range waits {
		for _, fails := range []int{0, 2} {
			t.Run(fmt.Sprint(name, "/", fails), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := connictest.New()
					defer srv.Close()
					srv.Agent("slow", lasting(time.Hour))
					srv.Agent("quick", lasting(20*time.Second))
					client := srv.Client(connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}))
					var ids []string
					if name != "TriggerAndWait" {
						ids = []string{trigger(t, client, "slow", "1"), trigger(t, client, "quick", "2"), trigger(t, client, "slow", "3")}
					}
					if fails > 0 {
						srv.Fault(connictest.Fault{Op: "runs.cancel", Times: fails, Status: 500})
					}
					start := time.Now()
					err := wait(t.Context(), client, ids, connic.CancelAfter(time.Minute))
					var ended *connic.RunError
					took := time.Since(start)
					if !errors.As(err, &ended) || ended.Run.Status != connic.RunCancelled || took < time.Minute || took > time.Minute+time.Duration(1+fails)*20*time.Second {
						t.Errorf("%v after %v", err, took)
					}
					want := 1
					if len(ids) > 0 && name != "Wait" {
						want = 2
					}
					if n := count(srv, "runs.cancel"); n != want+fails {
						t.Errorf("%d cancellations were requested, want %d", n, want+fails)
					}
				})
			})
		}
	}
}

// A caller whose trigger is queued is told why, and for how long.
func TestProgressOfAQueuedTrigger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(time.Second))
		client := srv.Client(connic.WithRateLimit(3, time.Minute))
		for range 3 {
			if _, err := client.Agents.List(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		var events []connic.WaitEvent
		run, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"}, connic.WithProgress(func(e connic.WaitEvent) {
			events = append(events, e)
		}))
		if err != nil || len(events) < 2 {
			t.Fatal(err, events)
		}
		first := events[0]
		if first.ID != "" || first.Kind != "run" || first.Phase != string(connic.ReasonWindow) || first.Next < 50*time.Second || first.Next > 61*time.Second || first.Done {
			t.Errorf("%+v", first)
		}
		if i := slices.IndexFunc(events[1:], func(e connic.WaitEvent) bool { return e.ID != run.ID || e.Polls == 0 }); i >= 0 {
			t.Errorf("%+v", events[1+i])
		}
	})
}

// So is one whose evaluation is queued. The options of polls are not those of the
// request that starts the work.
func TestProgressOfAQueuedEvaluation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("support", lasting(time.Second))
		srv.Judge("", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
			return map[string]connictest.Score{"accuracy": {Points: 1}, "tone": {Points: 1}}, nil
		})
		setup := srv.Client()
		run := must[*connic.Run](t)(setup.Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: "x"}))
		judge := must[*connic.Judge](t)(setup.Judges.Create(t.Context(), fair()))
		time.Sleep(time.Minute)
		starts, polls := 0, 0
		client := srv.Client(connic.WithRateLimit(3, time.Minute), connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				switch {
				case r.Method == http.MethodPost && r.Header.Get("X-Poll") == "":
					starts++
				case r.Method == http.MethodGet && r.Header.Get("X-Poll") != "":
					polls++
				}
				return next.RoundTrip(r)
			})
		}))
		for range 3 {
			must[*connic.Page[connic.Agent]](t)(client.Agents.List(t.Context(), nil))
		}
		var events []connic.WaitEvent
		_, err := client.Judges.EvaluateAndWait(t.Context(), judge.ID, run.ID, connic.WithRequestOptions(connic.WithHeader("X-Poll", "1")),
			connic.WithProgress(func(e connic.WaitEvent) { events = append(events, e) }))
		if err != nil || len(events) < 2 || starts != 1 || polls == 0 {
			t.Fatal(err, events, starts, polls)
		}
		first := events[0]
		if first.ID != "" || first.Kind != "evaluation" || first.Phase != string(connic.ReasonWindow) || first.Next < 50*time.Second || first.Next > 61*time.Second {
			t.Errorf("%+v", first)
		}
	})
}
