package connic_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A call that pauses before it would be sent again ends at once, however long the
// service asked to wait.
func TestDrainEndsPauses(t *testing.T) {
	t.Parallel()
	for _, retryAfter := range []string{"100", "1", ""} {
		t.Run(retryAfter, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				srv.Fault(connictest.Fault{Op: "runs.list", Status: 503, RetryAfter: retryAfter, Times: -1})
				client := srv.Client(connic.WithRetry(connic.RetryPolicy{MinWait: time.Minute, MaxWait: time.Minute}))
				done := make(chan error, 1)
				go func() {
					_, err := client.Runs.List(t.Context(), nil)
					done <- err
				}()
				synctest.Wait()
				start := time.Now()
				if err := client.Drain(t.Context()); err != nil || time.Since(start) > time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				if err := <-done; !errors.Is(err, connic.ErrClosed) || !errors.Is(err, connic.ErrServer) || len(srv.Requests()) != 1 {
					t.Errorf("%v after %d requests", err, len(srv.Requests()))
				}
			})
		})
	}
}

// Several callers drain a client with bounds of their own, and one does afterwards.
// The shortest bound ends the wait, and each of them is told what was left.
func TestDrainAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("a", thinks(30*time.Second))
		client := srv.Client()
		id := must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})).RunID
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := client.Runs.Wait(t.Context(), id); !errors.Is(err, connic.ErrClosed) {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		drain := func(bound time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			start := time.Now()
			err := client.Drain(ctx)
			var left *connic.DrainError
			if !errors.As(err, &left) || !slices.Equal(left.Runs(), []string{id}) || time.Since(start) > 5*time.Second {
				t.Errorf("%v: %v after %v", bound, err, time.Since(start))
			}
		}
		for _, bound := range []time.Duration{5 * time.Second, 5 * time.Second, time.Minute} {
			callers.Go(func() { drain(bound) })
		}
		callers.Wait()
		drain(time.Minute)
	})
}

// What user code panics out of, or exits from, is not in progress.
func TestDrainAfterPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("a", thinks(time.Minute))
		client := srv.Client(connic.WithObserver(func(_ context.Context, e connic.Event) {
			switch {
			case e.Op == "project.get" && e.Kind == connic.EventDone:
				runtime.Goexit()
			case e.Op == "agents.list":
				panic("a bug")
			}
		}))
		must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"}))
		var callers sync.WaitGroup
		for _, f := range []func(){
			func() { _, _ = client.Project.Get(t.Context()) },
			func() { _, _ = client.Agents.List(t.Context(), nil) },
			func() {
				_, _ = client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"}, connic.WithProgress(func(connic.WaitEvent) { panic("a bug") }))
			},
			func() {
				for range client.Runs.All(t.Context(), nil) {
					panic("a bug")
				}
			},
		} {
			callers.Go(func() {
				returned := false
				defer func() {
					if p := recover(); returned {
						t.Errorf("it returned: %v", p)
					}
				}()
				f()
				returned = true
			})
		}
		callers.Wait()
		start := time.Now()
		if err := client.Drain(t.Context()); err != nil || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
