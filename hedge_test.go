package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// hanging is a transport whose polls can hang until their context ends.
type hanging struct {
	next http.RoundTripper

	mu      sync.Mutex
	hang    func(r *http.Request, n int) bool // whether the n-th poll, counted from 1, hangs
	polls   int
	flying  int
	most    int // at once
	starts  []time.Time
	delayed time.Duration // of those that do not hang
}

func (h *hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		return h.next.RoundTrip(r)
	}
	h.mu.Lock()
	h.polls++
	h.flying++
	h.most = max(h.most, h.flying)
	h.starts = append(h.starts, time.Now())
	hangs, delay := h.hang(r, h.polls), h.delayed
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.flying--
	}()
	if hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if err := pause(r.Context(), delay); err != nil {
		return nil, err
	}
	return h.next.RoundTrip(r)
}

func (h *hanging) option() connic.Option {
	return connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
		h.next = next
		return h
	})
}

// One poll that gets no answer holds up no wait for longer than a second one takes.
func TestAPollThatHangs(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{1, 2, 20} {
		for nth := 1; nth <= 3; nth++ {
			t.Run(fmt.Sprint(callers, "/", nth), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := connictest.New()
					defer srv.Close()
					const runs = 6 * time.Second
					srv.Agent("a", lasting(runs))
					h := &hanging{hang: func(_ *http.Request, n int) bool { return n == nth }}
					client := srv.Client(h.option())
					start := time.Now()
					var waits sync.WaitGroup
					for i := range callers {
						waits.Go(func() {
							run, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: fmt.Sprint(i)},
								connic.WithPollFailures(1)) // a poll that is overtaken did not fail
							if err != nil || run.Output != "done: "+fmt.Sprint(i) {
								t.Errorf("%v, %+v", err, run)
							}
							if late := time.Since(start) - runs; late > 15*time.Second {
								t.Errorf("the run was handed over %v after its end", late)
							}
						})
					}
					waits.Wait()
					synctest.Wait()
					if h.most > 2 || h.most < 2 {
						t.Errorf("%d requests at once", h.most)
					}
					if s := client.RateLimit(); s.InFlight != 0 || s.Polling != 0 || s.Reserved != 0 {
						t.Errorf("they left behind %+v", s)
					}
				})
			})
		}
	}
}

// A second request that hangs too, as on another connection that has died, is replaced
// by a third.
func TestPollsThatHang(t *testing.T) {
	t.Parallel()
	for silent, most := range map[int]time.Duration{2: 20 * time.Second, 3: 30 * time.Second, 5: 50 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New()
			defer srv.Close()
			srv.Agent("a", lasting(0))
			h := &hanging{hang: func(_ *http.Request, n int) bool { return n <= silent }}
			client := srv.Client(h.option())
			id := trigger(t, client, "a", "x")
			start := time.Now()
			run, err := client.Runs.Wait(t.Context(), id, connic.WithPollFailures(1))
			if took := time.Since(start); err != nil || run.Output != "done: x" || took != most || h.most != 2 {
				t.Errorf("%d hang: %v after %v, %d at once", silent, err, took, h.most)
			}
			synctest.Wait()
			if s := client.RateLimit(); s.InFlight != 0 || s.Polling != 0 {
				t.Errorf("they left behind %+v", s)
			}
		})
	}
}

// A service that is slow gets a second request once, and then the time it takes.
func TestASlowServiceIsNotAskedTwiceForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(10*time.Minute))
		h := &hanging{hang: func(*http.Request, int) bool { return false }, delayed: 20 * time.Second}
		client := srv.Client(h.option())
		id := trigger(t, client, "a", "x")
		polls := 0
		if _, err := client.Runs.Wait(t.Context(), id, connic.WithProgress(func(e connic.WaitEvent) {
			if polls = e.Polls; e.Err != nil {
				t.Error(e.Err)
			}
		})); err != nil {
			t.Error(err)
		}
		if h.polls != polls+1 || polls < 10 {
			t.Errorf("%d requests for %d polls", h.polls, polls)
		}
	})
}

// While the service is silent altogether, there are at most two requests at once,
// within the quota, and the limit of an attempt that the user set holds.
func TestAServiceThatHangs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		client  []connic.Option
		wait    []connic.WaitOption
		atOnce  int
		at      time.Duration // when the first poll fails
		perHour int
	}{
		"default":            {nil, nil, 2, 60 * time.Second, 400},
		"WithTimeout":        {[]connic.Option{connic.WithTimeout(5 * time.Second)}, nil, 1, 5 * time.Second, 240},
		"WithAttemptTimeout": {nil, []connic.WaitOption{connic.WithRequestOptions(connic.WithAttemptTimeout(7 * time.Second))}, 1, 7 * time.Second, 200},
		"long":               {[]connic.Option{connic.WithTimeout(10 * time.Minute)}, nil, 2, 10 * time.Minute, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				defer srv.Close()
				h := &hanging{hang: func(*http.Request, int) bool { return true }}
				client := srv.Client(append(test.client, h.option())...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				start := time.Now()
				var failed []time.Duration
				_, err := client.Runs.Wait(ctx, "r", append(test.wait, connic.WithProgress(func(connic.WaitEvent) {
					failed = append(failed, time.Since(start))
				}))...)
				if !errors.Is(err, context.DeadlineExceeded) || len(failed) == 0 || failed[0] != test.at {
					t.Errorf("%v; polls failed at %v", err, failed)
				}
				if h.most != test.atOnce || h.polls > test.perHour {
					t.Errorf("%d requests, %d at once", h.polls, h.most)
				}
				synctest.Wait()
				if s := client.RateLimit(); s.InFlight != 0 || s.Polling != 0 || s.Reserved != 0 {
					t.Errorf("it left behind %+v", s)
				}
			})
		})
	}
}

// A wait that is given up while both requests of its poll hang returns at once, and
// nothing is left of them.
func TestLeavingWhileAPollHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		h := &hanging{hang: func(*http.Request, int) bool { return true }}
		client := srv.Client(h.option())
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		start := time.Now()
		_, err := client.Runs.Wait(ctx, "r")
		if took := time.Since(start); took != 15*time.Second || !errors.Is(err, context.DeadlineExceeded) || h.polls != 2 {
			t.Errorf("%v after %v and %d requests", err, took, h.polls)
		}
		synctest.Wait()
		if s := client.RateLimit(); s.InFlight != 0 || s.Polling != 0 || h.flying != 0 {
			t.Errorf("it left behind %+v and %d requests", s, h.flying)
		}
	})
}

// A second request that is refused, fails or panics is not the end of the first.
func TestTheSecondRequestFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fail func(r *http.Request) (*http.Response, error)
		opts []connic.RequestOption
		want string // "" if the wait goes on
	}{
		"503":      {func(r *http.Request) (*http.Response, error) { return response(r, 503, `{}`), nil }, nil, ""},
		"error":    {func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }, nil, ""},
		"FailFast": {nil, []connic.RequestOption{connic.FailFast()}, ""},
		"panic":    {func(*http.Request) (*http.Response, error) { panic("oh") }, nil, "panicked"},
		"Goexit": {func(*http.Request) (*http.Response, error) {
			runtime.Goexit()
			return nil, nil
		}, nil, "Goexit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := atomic.Int32{}
				var client *connic.Client
				opts := []connic.Option{connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
					return transportFunc(func(r *http.Request) (*http.Response, error) {
						switch n.Add(1) {
						case 1: // hangs for half a minute
							if err := pause(r.Context(), 29*time.Second); err != nil {
								return nil, err
							}
						case 2, 3:
							if test.fail != nil {
								return test.fail(r)
							}
						}
						return response(r, 200, `{"id": "r1", "status": "completed", "output": "x"}`), nil
					})
				})}
				if name == "FailFast" { // the first takes the only place
					opts = append(opts, connic.WithRateLimit(1, time.Hour))
				}
				client = must[*connic.Client](t)(connic.New("p", canary, opts...))
				start := time.Now()
				var wait []connic.WaitOption
				if test.opts != nil {
					wait = append(wait, connic.WithRequestOptions(test.opts...))
				}
				run, err := client.Runs.Wait(t.Context(), "r1", append(wait, connic.WithPollFailures(1))...)
				took := time.Since(start)
				switch {
				case test.want == "" && (err != nil || run.Output != "x" || took != 29*time.Second):
					t.Errorf("%v, %+v after %v", err, run, took)
				case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || took != 10*time.Second):
					t.Errorf("%v after %v", err, took)
				}
				synctest.Wait()
				if s := client.RateLimit(); s.InFlight != 0 || s.Polling != 0 {
					t.Errorf("it left behind %+v", s)
				}
			})
		})
	}
}

// Waiting for the quota, or for the end of a Retry-After, is not hanging.
func TestAPausedPollIsNotSentTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(time.Second))
		client := srv.Client()
		id := trigger(t, client, "a", "x")
		srv.Fault(connictest.Fault{Op: "runs.get", Status: 429, RetryAfter: "130"})
		before := len(srv.Requests())
		if _, err := client.Runs.Wait(t.Context(), id); err != nil {
			t.Error(err)
		}
		var ops []string
		for _, r := range srv.Requests()[before:] {
			ops = append(ops, r.Op)
		}
		if !slices.Equal(ops, []string{"runs.get", "runs.get"}) {
			t.Errorf("it sent %v", ops)
		}
	})
}
