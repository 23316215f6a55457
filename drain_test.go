package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// thinks is an agent that takes some time.
func thinks(d time.Duration) connictest.AgentFunc {
	return func(ctx context.Context, in connictest.Input) (any, error) {
		select {
		case <-time.After(d):
			return in.Message, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Queued calls stop at once without having been sent, what was sent is answered and
// collected, and then the client is closed.
func TestDrainCollects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.RateLimit(0, 0, connictest.FixedWindow)
		srv.Agent("a", thinks(20*time.Second))
		client := srv.Client(connic.WithRateLimit(20, time.Minute))
		var callers sync.WaitGroup
		var mu sync.Mutex
		var collected, stopped int
		for i := range 30 {
			callers.Go(func() {
				run, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: fmt.Sprint(i)})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && run.Output == fmt.Sprint(i):
					collected++
				case errors.Is(err, connic.ErrClosed) && !errors.Is(err, connic.ErrOutcomeUnknown) && run == nil:
					stopped++
				default:
					t.Errorf("%v, %v", run, err)
				}
			})
		}
		var followed error
		callers.Go(func() {
			for _, err := range client.Runs.Follow(t.Context(), connic.FollowEnded, nil) {
				followed = err
			}
		})
		time.Sleep(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := client.Drain(ctx); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		callers.Wait()
		if n := srv.Executions("agents.trigger"); n != collected || collected == 0 || stopped != 30-n {
			t.Errorf("%d were executed, %d collected and %d stopped", n, collected, stopped)
		}
		if took > 2*time.Minute || !errors.Is(followed, connic.ErrClosed) {
			t.Errorf("it took %v; Follow ended with %v", took, followed)
		}
		if _, err := client.Runs.Get(t.Context(), "x"); !errors.Is(err, connic.ErrClosed) {
			t.Error(err)
		}
		if err := client.Drain(ctx); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

// At the bound, waits end with an error that names their runs, and so does Drain,
// which also names the trigger that is not answered.
func TestDrainNamesWhatItLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("a", thinks(time.Hour))
		client := srv.Client()
		var ids []string
		for range 3 {
			ids = append(ids, must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})).RunID)
		}
		var callers sync.WaitGroup
		callers.Go(func() {
			_, err := client.Runs.Wait(t.Context(), ids[0])
			var ended *connic.WaitError
			if !errors.As(err, &ended) || !errors.Is(err, connic.ErrClosed) || ended.ID != ids[0] {
				t.Error(err)
			}
		})
		callers.Go(func() {
			for run, err := range client.Runs.WaitAll(t.Context(), ids[1:]) {
				var ended *connic.WaitError
				if run != nil || !errors.As(err, &ended) || !slices.Equal(ended.Pending, ids[1:]) {
					t.Error(run, err)
				}
			}
		})
		time.Sleep(time.Second)
		srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Latency: 50 * time.Second})
		callers.Go(func() {
			if _, err := client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "y"}); err != nil {
				t.Errorf("it was sent, and got %v", err)
			}
		})
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		err := client.Drain(ctx)
		var left *connic.DrainError
		if took := time.Since(began); !errors.As(err, &left) || took != 20*time.Second {
			t.Fatalf("%v after %v", err, took)
		}
		if !slices.Equal(left.Runs(), ids) || len(left.Unknown) != 1 || !errors.Is(err, connic.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v, %v", left.Runs(), left.Unknown, err)
		}
		for _, name := range append(ids[:2:2], "agents.trigger") {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s is not named: %v", name, err)
			}
		}
		callers.Wait()
	})
}

// Runs that are canceled at the bound are not left.
func TestDrainCancels(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint(fails), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				srv.Agent("a", thinks(time.Hour))
				client := srv.Client()
				if fails {
					srv.Fault(connictest.Fault{Op: "runs.cancel", Status: 403, Times: -1})
				}
				var callers sync.WaitGroup
				for range 3 {
					callers.Go(func() {
						run, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"}, connic.CancelOnAbort())
						if !errors.Is(err, connic.ErrClosed) || strings.Contains(err.Error(), "the run was canceled") == fails || run == nil {
							t.Errorf("%v, %v", run, err)
						}
					})
				}
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				err := client.Drain(ctx)
				callers.Wait()
				var left *connic.DrainError
				if fails && (!errors.As(err, &left) || len(left.Runs()) != 3) || !fails && err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A trigger that is answered after the bound has its run canceled.
func TestDrainCancelsATriggerInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("a", thinks(time.Hour))
		srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Latency: 5 * time.Second})
		client := srv.Client()
		done := make(chan error, 1)
		go func() {
			_, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"}, connic.CancelOnAbort())
			done <- err
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := client.Drain(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, connic.ErrClosed) || !strings.Contains(err.Error(), "the run was canceled") {
			t.Error(err)
		}
		if n := srv.Executions("runs.cancel"); n != 1 {
			t.Errorf("%d cancellations", n)
		}
	})
}

// A worker closes the channel of its Watch, which then collects the rest.
func TestDrainOfAWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("a", thinks(30*time.Second))
		client := srv.Client()
		ids := make(chan string, 10)
		var worker sync.WaitGroup
		ended := 0
		worker.Go(func() {
			for run, err := range client.Runs.Watch(t.Context(), ids) {
				if err != nil || run.Output != "x" {
					t.Error(run, err)
				}
				ended++
			}
		})
		for range 3 {
			ids <- must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})).RunID
		}
		synctest.Wait()
		close(ids)
		if err := client.Drain(t.Context()); err != nil || ended != 3 {
			t.Errorf("%d ended, %v", ended, err)
		}
		worker.Wait()
	})
}

// What a service answers with a failure while the client drains is not sent again,
// and an outcome that gets lost is named.
func TestDrainRepeatsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("a", thinks(0))
		srv.Fault(connictest.Fault{Op: "runs.list", Status: 503, Latency: 2 * time.Second, Times: -1})
		srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Latency: 2 * time.Second})
		client := srv.Client()
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := client.Runs.List(t.Context(), nil); !errors.Is(err, connic.ErrClosed) || !errors.Is(err, connic.ErrServer) {
				t.Error(err)
			}
		})
		callers.Go(func() {
			if _, err := client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"}); !errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		err := client.Drain(t.Context())
		var left *connic.DrainError
		if !errors.As(err, &left) || len(left.Unknown) != 1 || left.Err != nil || !errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Error(err)
		}
		callers.Wait()
		if n := len(srv.Requests()); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

// A call in the queue of a limiter of the user's ends too.
func TestDrainOfALimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := must[*connic.Client](t)(connic.New("p", "cnc_drain_test_key", connic.WithLimiter(stuckLimiter{}), connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			panic("no request is sent")
		})})))
		done := make(chan error, 1)
		go func() {
			_, err := client.Runs.Get(t.Context(), "x")
			done <- err
		}()
		synctest.Wait()
		if err := client.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, connic.ErrClosed) {
			t.Error(err)
		}
		if err := new(connic.Client).Drain(t.Context()); err == nil {
			t.Error("a client that New did not make is drained")
		}
	})
}

// stuckLimiter admits nothing. It derives a context, as one with a store does.
type stuckLimiter struct{}

func (stuckLimiter) Acquire(ctx context.Context, _ connic.Admission) (connic.Permit, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	<-ctx.Done()
	return connic.Permit{}, ctx.Err()
}
func (stuckLimiter) Release(connic.Permit, connic.Outcome)   {}
func (stuckLimiter) Status() (status connic.RateLimitStatus) { return status }
