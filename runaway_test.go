package connic

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// runawayHandler is a log handler that does not return.
type runawayHandler struct {
	slog.Handler
	end func()
}

func (h runawayHandler) Handle(context.Context, slog.Record) error { h.end(); return nil }

// Callbacks of every other kind panic or exit, five of each. The next call is
// sent at once, and no slot is leaked.
func TestCallbacksThatRunAway(t *testing.T) {
	t.Parallel()
	for ending, end := range map[string]func(){"panic": func() { panic("user") }, "Goexit": runtime.Goexit} {
		for _, where := range []string{"logger", "progress", "call context", "queued", "retry", "done"} {
			t.Run(where+" "+ending, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					broken := true
					at := func(place string) {
						if broken && place == where {
							end()
						}
					}
					opts := []Option{
						WithLimiter(NewLimiter(5, time.Minute)),
						WithCallContext(func(ctx context.Context, _ Operation) context.Context { at("call context"); return ctx }),
						WithObserver(func(_ context.Context, e Event) { at(string(e.Kind)) }),
						WithLogger(slog.New(runawayHandler{slog.DiscardHandler, func() { at("logger") }})),
					}
					c := newTestClient(t, func(*http.Request) (*http.Response, error) {
						if broken && where == "retry" {
							return respond(503, "{}"), nil
						}
						return respond(200, `{"id": "r1", "run_id": "r1", "status": "completed"}`), nil
					}, opts...)
					if where == "queued" {
						for range 5 {
							if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
								t.Fatal(err)
							}
						}
					}
					for range 6 {
						runaway(func() {
							_, _ = c.Agents.TriggerAndWait(t.Context(), "a", TriggerRequest{Message: "m"}, WithProgress(func(WaitEvent) { at("progress") }))
						})
						runaway(func() { _, _ = c.Runs.Get(t.Context(), "r1") })
					}
					broken = false
					time.Sleep(3 * time.Minute)
					if s := c.RateLimit(); s.InFlight != 0 || s.Waiting != 0 || s.Polling != 0 || s.Reserved != 0 {
						t.Errorf("they leave %+v", s)
					}
					start := time.Now()
					if _, err := c.Runs.Get(t.Context(), "r1"); err != nil || time.Since(start) > 0 {
						t.Errorf("the next call ends after %v with %v", time.Since(start), err)
					}
				})
			})
		}
	}
}

// Limits at the end of their type's range are limits.
func TestBoundsAtTheirEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answer := func(*http.Request) (*http.Response, error) {
			return respond(200, `{"id": "r1", "status": "completed"}`), nil
		}
		c := newTestClient(t, answer, WithRateLimit(1, math.MaxInt64), WithMaxResponseBytes(math.MaxInt64), WithTimeout(math.MaxInt64),
			WithRetry(RetryPolicy{MaxAttempts: math.MaxInt, MinWait: math.MaxInt64, MaxWait: math.MaxInt64, MaxRefusals: math.MaxInt, MaxRetryAfter: math.MaxInt64, Budget: math.MaxInt}))
		if _, err := c.Runs.Get(t.Context(), "r1", WithAttemptTimeout(math.MaxInt64)); err != nil {
			t.Error(err)
		}
		if _, err := c.Runs.Get(t.Context(), "r1", FailFast()); err == nil {
			t.Error("a second attempt goes within the window")
		}
		big := newTestClient(t, answer, WithRateLimit(math.MaxInt, time.Hour))
		for range 100 {
			if _, err := big.Runs.Get(t.Context(), "r1"); err != nil {
				t.Fatal(err)
			}
		}
		if s := big.RateLimit(); s.Used != 100 || s.Available() != math.MaxInt-100 {
			t.Errorf("%+v", s)
		}
		if _, err := newTestClient(t, answer, WithRetry(RetryPolicy{Budget: math.MaxInt})).Runs.Get(t.Context(), "r1"); err != nil {
			t.Error(err)
		}
	})
}
