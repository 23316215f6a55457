package connic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// running answers every look with a run that goes on, but for those that are done.
func running(done func(id string) bool) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if id == "runs" {
			return respond(403, `{"detail": "no"}`), nil
		}
		status := "running"
		if done(id) {
			status = "completed"
		}
		return respond(200, fmt.Sprintf(`{"id": %q, "status": %q}`, id, status)), nil
	}
}

var errBored = errors.New("bored")

// Waits that are given odd ids, many, and callbacks that wait themselves.
func TestOddWaits(t *testing.T) {
	t.Parallel()
	never, always := func(string) bool { return false }, func(string) bool { return true }
	for name, test := range map[string]func(t *testing.T){
		"very many ids, given up": func(t *testing.T) {
			c := newTestClient(t, running(never))
			ids := make([]string, 20_000)
			for i := range ids {
				ids[i] = fmt.Sprint("r", i)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(10*time.Minute, func() { cancel(errBored) })
			start := time.Now()
			var pairs int
			var last error
			for _, err := range c.Runs.WaitAll(ctx, ids) {
				pairs++
				last = err
			}
			var wait *WaitError
			if !errors.As(last, &wait) || pairs != 1 || len(wait.Pending) != len(ids) || !errors.Is(last, errBored) || len(last.Error()) > 200 || time.Since(start) != 10*time.Minute {
				t.Errorf("%d pairs after %v, %.200v", pairs, time.Since(start), last)
			}
		},
		"twice the same": func(t *testing.T) {
			runs, err := Collect(newTestClient(t, running(always)).Runs.WaitAll(t.Context(), []string{"a", "b", "a", "a"}), 0)
			if err != nil || len(runs) != 2 {
				t.Errorf("%d runs, %v", len(runs), err)
			}
		},
		"none": func(t *testing.T) {
			for range newTestClient(t, running(always)).Runs.WaitAll(t.Context(), nil) {
				t.Error("a pair")
			}
		},
		"one that is none": func(t *testing.T) {
			var bad *ArgumentError
			if _, err := Collect(newTestClient(t, running(always)).Runs.WaitAll(t.Context(), []string{"a", "..;x"}), 0); !errors.As(err, &bad) {
				t.Error(err)
			}
		},
		"progress that waits": func(t *testing.T) {
			c := newTestClient(t, running(func(id string) bool { return id == "inner" || time.Now().Second() > 30 }))
			inner := 0
			_, err := c.Runs.Wait(t.Context(), "outer", WithProgress(func(WaitEvent) {
				if _, err := c.Runs.Wait(t.Context(), "inner"); err != nil {
					t.Error(err)
				}
				inner++
			}))
			if err != nil || inner < 2 {
				t.Errorf("%d, %v", inner, err)
			}
		},
		"a channel that is never closed": func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errBored)
			defer cancel()
			var errs []error
			for _, err := range newTestClient(t, running(always)).Runs.Watch(ctx, make(chan string)) {
				errs = append(errs, err)
			}
			if len(errs) != 1 || !errors.Is(errs[0], errBored) {
				t.Error(errs)
			}
		},
		"closed while it waits": func(t *testing.T) {
			c := newTestClient(t, running(never))
			for range 2 { // which closes both, once
				time.AfterFunc(2*time.Minute, func() { _ = c.ForEnvironment("e").Close() })
			}
			start := time.Now()
			if _, err := c.Runs.Wait(t.Context(), "a"); !errors.Is(err, ErrClosed) || time.Since(start) < 2*time.Minute || time.Since(start) > 3*time.Minute {
				t.Errorf("it ends after %v with %v", time.Since(start), err)
			}
		},
		"a storm of cancels": func(t *testing.T) {
			c := newTestClient(t, running(always))
			for i := range 600 {
				go func() { _ = c.Runs.Cancel(t.Context(), fmt.Sprint("r", i)) }()
			}
			synctest.Wait()
			start := time.Now()
			if _, err := c.Agents.List(t.Context(), nil); err == nil || time.Since(start) > 2*time.Minute {
				t.Errorf("a call waits %v for cancels, %v", time.Since(start), err)
			}
			if run, err := c.Runs.Wait(t.Context(), "a"); err != nil || time.Since(start) > 4*time.Minute {
				t.Errorf("a wait ends after %v with %v, %v", time.Since(start), run, err)
			}
			time.Sleep(15 * time.Minute)
		},
		"all in the lane of cancels": func(t *testing.T) {
			c := newTestClient(t, running(always))
			var went atomic.Int32
			for range 400 {
				go func() {
					if _, err := c.Runs.Get(t.Context(), "r", WithLane(LaneCancel)); err == nil {
						went.Add(1)
					}
				}()
			}
			synctest.Wait()
			start := time.Now()
			if _, err := c.Runs.Get(t.Context(), "r", WithLane(LaneLow)); err != nil || time.Since(start) > 10*time.Minute {
				t.Errorf("the low lane waits %v, %v", time.Since(start), err)
			}
			time.Sleep(10 * time.Minute)
			if went.Load() != 400 {
				t.Errorf("%d of 400", went.Load())
			}
			var bad *ArgumentError
			if _, err := c.Runs.Get(t.Context(), "r", WithLane(200)); !errors.As(err, &bad) {
				t.Error(err)
			}
		},
		"one limiter for two projects": func(t *testing.T) {
			// The pause of one holds the other, and no call is lost.
			limiter := NewLimiter(60, time.Minute)
			refused := true
			a := newTestClient(t, func(*http.Request) (*http.Response, error) {
				if refused {
					refused = false
					resp := respond(429, "{}")
					resp.Header.Set("Retry-After", "7")
					return resp, nil
				}
				return respond(200, `{"id": "r", "status": "completed"}`), nil
			}, WithLimiter(limiter))
			b := newTestClient(t, running(always), WithLimiter(limiter))
			start := time.Now()
			go func() { _, _ = a.Runs.Get(t.Context(), "r") }()
			synctest.Wait()
			if _, err := b.Runs.Get(t.Context(), "r"); err != nil || time.Since(start) < 7*time.Second || time.Since(start) > 10*time.Second {
				t.Errorf("the other ends after %v with %v", time.Since(start), err)
			}
			time.Sleep(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, test)
		})
	}
}
