package connector_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// TestAPauseHoldsAllCallers: nobody is sent before the instant that Retry-After names.
func TestAPauseHoldsAllCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{t: t, times: 1, good: syncAnswer, fault: wireFault{answer: status(429, "Retry-After: 30\r\n", "")}}
		c := p.client()
		start := time.Now()
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() {
				if i > 0 && sleepFor(t.Context(), time.Second) != nil {
					return
				}
				if _, err := c.Call(t.Context(), connector.Input{Message: "hello"}); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		p.work.Wait()
		if p.executed != 20 || p.attempts != 21 {
			t.Errorf("%d executions, %d attempts", p.executed, p.attempts)
		}
		for _, at := range p.starts[1:] {
			if after := at.Sub(start); after < 30*time.Second || after > 33*time.Second+time.Millisecond {
				t.Errorf("an attempt after %v", after)
			}
		}
	})
}

func TestAPauseThatDoesNotFit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for wait, header := range map[string]string{"longer than the context": "60", "longer than two minutes": "121", "without end": "99999999999999999999999"} {
			p := &pipes{t: t, times: -1, fault: wireFault{answer: status(429, "Retry-After: "+header+"\r\n", "")}}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			c := p.client()
			start := time.Now()
			_, err := c.Call(ctx, connector.Input{Message: "hello"})
			var failure *connector.Error
			if !errors.Is(err, connic.ErrRateLimited) || errors.Is(err, connic.ErrOutcomeUnknown) || !errors.As(err, &failure) || failure.RetryAfter < time.Minute {
				t.Errorf("%s: %v", wait, err)
			}
			if header == "60" {
				_, second := c.Call(ctx, connector.Input{Message: "hello"}) // its turn does not come either
				for _, err := range []error{err, second} {
					if !errors.Is(err, connic.ErrRateLimited) || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: %v", wait, err)
					}
				}
			}
			if time.Since(start) > 0 || p.attempts != 1 {
				t.Errorf("%s: %v and %d attempts", wait, time.Since(start), p.attempts)
			}
			cancel()
			p.work.Wait()
		}
	})
}

// TestALongPauseHoldsAllCallers: a Retry-After that is longer than a call
// waits fails the call, and nobody asks again before its end.
func TestALongPauseHoldsAllCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{t: t, times: 1, good: syncAnswer, fault: wireFault{answer: status(429, "Retry-After: 300\r\n", "")}}
		c := p.client()
		start := time.Now()
		for _, test := range []struct {
			at      time.Duration
			refused bool
		}{{0, true}, {time.Second, true}, {179 * time.Second, true}, {181 * time.Second, false}} {
			sleepUntil(t, start.Add(test.at))
			asked := time.Now()
			_, err := c.Call(t.Context(), connector.Input{Message: "hello"})
			if errors.Is(err, connic.ErrRateLimited) != test.refused || !test.refused && err != nil {
				t.Errorf("after %v: %v", test.at, err)
			}
			if test.refused && (time.Since(asked) > 0 || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "deadline")) {
				t.Errorf("after %v and %v, without a deadline: %v", test.at, time.Since(asked), err)
			}
		}
		p.work.Wait()
		if len(p.starts) != 2 || p.starts[1].Sub(start) < 300*time.Second {
			t.Errorf("sent at %v", p.starts)
		}
	})
}

// TestBackpressure: no more calls are in flight than the bound allows, and one that
// fails makes room, whatever its transport does.
func TestBackpressure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		flying, most := 0, 0
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			flying++
			most = max(most, flying)
			mu.Unlock()
			defer func() {
				mu.Lock()
				flying--
				mu.Unlock()
			}()
			if err := sleepFor(r.Context(), time.Second); err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(syncAnswer))}, nil
		})
		c := must(connector.New(hookURL, canary, connector.WithMaxInFlight(3), connector.WithHTTPClient(&http.Client{Transport: transport})))(t)
		start := time.Now()
		var callers sync.WaitGroup
		for range 12 {
			callers.Go(func() {
				if _, err := c.Call(t.Context(), connector.Input{Message: "hello"}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := c.Call(ctx, connector.Input{Message: "hello"})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, connic.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "WithMaxInFlight") {
			t.Errorf("%v", err)
		}
		callers.Wait()
		if most != 3 || time.Since(start) != 4*time.Second {
			t.Errorf("%d in flight, %v", most, time.Since(start))
		}
	})
}

func TestATransportThatPanicsMakesRoom(t *testing.T) {
	t.Parallel()
	panics := roundTripper(func(*http.Request) (*http.Response, error) { panic("a transport") })
	c := must(connector.New(hookURL, canary, connector.WithMaxInFlight(1), connector.WithHTTPClient(&http.Client{Transport: panics})))(t)
	for range 3 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, _ = c.Call(ctx, connector.Input{Message: "hello"})
		}()
	}
}
