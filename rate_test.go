package connic_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// The tests in this file run whole clients against the fake's quota, in virtual
// time. Their names begin with the row of docs/reliability.md that they
// support.

var windows = map[string]connictest.Window{
	"fixed window":    connictest.FixedWindow,
	"sliding window":  connictest.SlidingWindow,
	"token bucket":    connictest.TokenBucket,
	"rejects counted": connictest.SlidingWindowRejects,
}

// network delays requests, half before and half after the service.
type network struct {
	next  http.RoundTripper
	delay func(*http.Request) (there, back time.Duration)
}

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	there, back := n.delay(r)
	if err := pause(r.Context(), there); err != nil {
		return nil, err
	}
	resp, err := n.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := pause(r.Context(), back); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func withDelay(delay func(*http.Request) (there, back time.Duration)) connic.Option {
	return connic.WithTransport(func(next http.RoundTripper) http.RoundTripper { return network{next, delay} })
}

// dice is a random source that goroutines can share.
type dice struct {
	mu     sync.Mutex
	source *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{source: rand.New(rand.NewPCG(seed, 7))} }

// oneIn returns true once in n times.
func (d *dice) oneIn(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.source.IntN(n) == 0
}

// upTo returns a duration between 0 and most.
func (d *dice) upTo(most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.source.Int64N(int64(most)))
}

// internet has round trips of 20 to 320 ms.
func internet(d *dice) func(*http.Request) (there, back time.Duration) {
	return func(*http.Request) (there, back time.Duration) {
		half := 10*time.Millisecond + d.upTo(150*time.Millisecond)
		return half, half
	}
}

// A load is the result of calls.
type load struct {
	mu        sync.Mutex
	accepted  int
	failed    int
	cancelled int
	perClient []int
	last      error
}

func (l *load) count(client int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.accepted++
		l.perClient[client]++
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		l.cancelled++
	default:
		l.failed++
		l.last = err
	}
}

func refusals(srv *connictest.Server) int {
	n := 0
	for _, r := range srv.Requests() {
		if r.Status == http.StatusTooManyRequests {
			n++
		}
	}
	return n
}

// saturate keeps the clients busy with n goroutines each until ctx ends.
func saturate(ctx context.Context, clients []*connic.Client, goroutines int, call func(context.Context, *connic.Client) error) *load {
	l := &load{perClient: make([]int, len(clients))}
	var wg sync.WaitGroup
	for i, client := range clients {
		for range goroutines {
			wg.Go(func() {
				for ctx.Err() == nil {
					err := call(ctx, client)
					l.count(i, err)
					if errors.Is(err, connic.ErrRateLimited) && errors.Is(err, context.DeadlineExceeded) {
						return // there is no other turn before the end
					}
				}
			})
		}
	}
	wg.Wait()
	return l
}

func getProject(ctx context.Context, c *connic.Client) error {
	_, err := c.Project.Get(ctx)
	return err
}

// simulations is set by the build tag of that name, which the gate uses.
var simulations = false

// seeds is the number of random runs of each rate simulation.
func seeds() uint64 {
	switch {
	case simulations:
		return 20
	case raceDetector:
		return 2
	default:
		return 5
	}
}

func forEachWindow(t *testing.T, f func(t *testing.T, window connictest.Window, d *dice)) {
	for name, window := range windows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds() {
				synctest.Test(t, func(t *testing.T) {
					f(t, window, newDice(seed))
				})
			}
		})
	}
}

func newFake(window connictest.Window) *connictest.Server {
	srv := connictest.New()
	srv.RateLimit(60, time.Minute, window)
	return srv
}

func newClients(srv *connictest.Server, n int, opts ...connic.Option) []*connic.Client {
	clients := make([]*connic.Client, n)
	for i := range clients {
		clients[i] = srv.Client(opts...)
	}
	return clients
}

// A course is the result of one simulation of clients on one quota.
type course struct {
	refused  float64 // share of the requests that were refused
	accepted int
	jain     float64 // Jain's fairness index over the clients
	took     time.Duration
}

func median(all []course, f func(course) float64) float64 {
	var values []float64
	for _, c := range all {
		values = append(values, f(c))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func TestR1OneClientIsNeverRefused(t *testing.T) {
	t.Parallel()
	type course struct {
		delay   func(*dice) func(*http.Request) (there, back time.Duration)
		call    func(*dice) func(context.Context, *connic.Client) error
		atLeast int
	}
	plain := func(*dice) func(context.Context, *connic.Client) error { return getProject }
	courses := map[string]course{
		"plain": {internet, plain, 588},
		"half cancel in line": {internet, func(d *dice) func(context.Context, *connic.Client) error {
			return func(ctx context.Context, c *connic.Client) error {
				if d.oneIn(2) {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					timer := time.AfterFunc(d.upTo(40*time.Second), cancel)
					defer timer.Stop()
					defer cancel()
				}
				return getProject(ctx, c)
			}
		}, 570},
		"a tenth arrives late": {func(d *dice) func(*http.Request) (there, back time.Duration) {
			usual := internet(d)
			return func(r *http.Request) (there, back time.Duration) {
				there, back = usual(r)
				if d.oneIn(10) {
					there = 5 * time.Second
				}
				return there, back
			}
		}, plain, 570},
	}
	for name, c := range courses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachWindow(t, func(t *testing.T, window connictest.Window, d *dice) {
				srv := newFake(window)
				client := srv.Client(withDelay(c.delay(d)))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				l := saturate(ctx, []*connic.Client{client}, 200, c.call(d))
				if n := refusals(srv); n != 0 {
					t.Errorf("%d requests were refused, want none", n)
				}
				if l.accepted < c.atLeast || l.failed > 0 {
					t.Errorf("%d calls accepted, %d failed (%v); want at least %d and none", l.accepted, l.failed, l.last, c.atLeast)
				}
			})
		})
	}
}

func TestR2ABurstTakesTheIdealTime(t *testing.T) {
	t.Parallel()
	forEachWindow(t, func(t *testing.T, window connictest.Window, d *dice) {
		srv := newFake(window)
		client := srv.Client(withDelay(internet(d)))
		start := time.Now()
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				if err := getProject(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		ideal := 4 * time.Minute
		if took := time.Since(start); took > ideal+ideal/100 {
			t.Errorf("300 calls took %v, want at most 1 %% more than %v", took, ideal)
		}
		if n := refusals(srv); n != 0 {
			t.Errorf("%d requests were refused, want none", n)
		}
	})
}

func TestR7AFutileWaitFailsAtOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(*testing.T, *connictest.Server, *connic.Client)
		refused bool // the service said 429
	}{
		"the window is used up": {prepare: func(t *testing.T, _ *connictest.Server, c *connic.Client) {
			for range 60 {
				if err := getProject(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
		}},
		"the service asks for a pause": {prepare: func(_ *testing.T, s *connictest.Server, _ *connic.Client) {
			s.Spend(60)
		}, refused: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := newFake(connictest.FixedWindow)
				client := srv.Client()
				test.prepare(t, srv, client)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				start := time.Now()
				err := getProject(ctx, client)
				if took := time.Since(start); took > time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if !errors.Is(err, connic.ErrRateLimited) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not both ErrRateLimited and DeadlineExceeded", err)
				}
				var local *connic.LimitError
				if !errors.As(err, &local) || local.Op != "project.get" || local.Wait < 30*time.Second {
					t.Errorf("%v does not say that the client refused it", err)
				}
				var answer *connic.Error
				if errors.As(err, &answer) != test.refused {
					t.Errorf("the chain of %v has a 429: %v, want %v", err, !test.refused, test.refused)
				}
				if test.refused && answer.RetryAfter != time.Minute {
					t.Errorf("RetryAfter is %v", answer.RetryAfter)
				}
				if errors.Is(err, connic.ErrOutcomeUnknown) {
					t.Error("nothing was executed, and the error says otherwise")
				}
			})
		})
	}
}

func TestFailFastDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newFake(connictest.FixedWindow)
		retries := 0
		client := srv.Client(connic.WithObserver(func(_ context.Context, e connic.Event) {
			if e.Kind == connic.EventRetry {
				retries++
			}
		}))
		srv.Spend(60)
		start := time.Now()
		_, err := client.Project.Get(t.Context(), connic.FailFast())
		var answer *connic.Error
		if retries > 0 {
			t.Errorf("%d retries", retries)
		}
		if !errors.As(err, &answer) || !errors.Is(err, connic.ErrRateLimited) {
			t.Errorf("the first call ended with %v, want the service's 429", err)
		}
		_, err = client.Project.Get(t.Context(), connic.FailFast())
		var local *connic.LimitError
		if !errors.As(err, &local) || !errors.Is(err, connic.ErrRateLimited) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second call ended with %v, want a local refusal", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("they took %v", took)
		}
		if n := len(srv.Requests()); n != 1 {
			t.Errorf("%d requests were sent, want 1", n)
		}
	})
}

func TestClientsShareALimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newFake(connictest.SlidingWindow)
		limiter := connic.NewLimiter(60, time.Minute)
		var clients []*connic.Client
		for range 3 {
			clients = append(clients, srv.Client(connic.WithLimiter(limiter), withDelay(internet(newDice(1)))))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		l := saturate(ctx, clients, 20, getProject)
		if n := refusals(srv); n != 0 || l.accepted < 588 {
			t.Errorf("%d refused and %d accepted, want none and at least 588", n, l.accepted)
		}
	})
}

func TestRateLimitStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newFake(connictest.FixedWindow)
		var events []connic.Event
		client := srv.Client(connic.WithObserver(func(_ context.Context, e connic.Event) { events = append(events, e) }))
		if s := client.RateLimit(); s.Limit != 60 || s.Window != time.Minute || s.Used != 0 || s.Available() != 60 {
			t.Errorf("before any call the status is %+v", s)
		}
		if err := getProject(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		if s := client.RateLimit(); s.Used != 1 || s.Available() != 59 || s.Shared {
			t.Errorf("after one call the status is %+v", s)
		}
		srv.Spend(59)
		done := make(chan error)
		go func() { done <- getProject(t.Context(), client) }()
		synctest.Wait()
		s := client.RateLimit()
		if s.Waiting != 1 || s.Available() != 0 || !s.Shared || s.Refusals != 1 || time.Until(s.PausedUntil) != time.Minute {
			t.Errorf("in a pause the status is %+v", s)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		var queued *connic.Event
		for i := range events {
			if events[i].Kind == connic.EventQueued {
				queued = &events[i]
			}
		}
		if queued == nil || queued.Wait != time.Minute || queued.Reason != "the service requested a pause" || queued.Op != "project.get" {
			t.Errorf("the wait was announced as %+v", queued)
		}
		time.Sleep(3 * time.Minute)
		if s := client.RateLimit(); s.Used != 0 || s.Shared || !s.PausedUntil.IsZero() {
			t.Errorf("after a quiet time the status is %+v", s)
		}
	})
}

func ExampleNewLimiter() {
	// Two clients with different keys share the quota of their project.
	limiter := connic.NewLimiter(60, time.Minute)
	srv := connictest.New()
	defer srv.Close()
	reader := srv.ClientWithKey(srv.Key("runs:read"), connic.WithLimiter(limiter))
	writer := srv.ClientWithKey(srv.Key("agents:write"), connic.WithLimiter(limiter))

	_, _ = reader.Runs.List(context.Background(), nil)
	_, _ = writer.Agents.Trigger(context.Background(), "nobody", connic.TriggerRequest{Message: "hello"})
	fmt.Println(reader.RateLimit().Used, writer.RateLimit().Used)
	// Output: 2 2
}
