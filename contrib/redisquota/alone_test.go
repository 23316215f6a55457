package redisquota

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/redis/go-redis/v9"
)

// canned is a store without a network: it grants what is asked and reports a
// number of processes, or fails.
type canned struct {
	gone      atomic.Bool
	processes int64
}

func (*canned) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }
}

func (*canned) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *canned) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		time.Sleep(time.Millisecond)
		if c.gone.Load() {
			return errors.New("the store is gone")
		}
		args := cmd.Args()[3:] // the command, the script, the number of keys
		reply := []any{"epoch"}
		for range replyFields - 1 {
			reply = append(reply, int64(0))
		}
		for lane := range lanes {
			reply[3+lane] = int64(args[11+lane].(int))
		}
		reply[10], reply[14], reply[15] = c.processes, int64(1), c.processes
		cmd.(*redis.Cmd).SetVal(reply)
		return nil
	}
}

var models = map[string]connictest.Window{
	"fixed window":    connictest.FixedWindow,
	"sliding window":  connictest.SlidingWindow,
	"token bucket":    connictest.TokenBucket,
	"rejects counted": connictest.SlidingWindowRejects,
}

type distant struct{ next http.RoundTripper }

func (d distant) RoundTrip(r *http.Request) (*http.Response, error) {
	half := 10*time.Millisecond + rand.N(150*time.Millisecond)
	time.Sleep(half)
	resp, err := d.next.RoundTrip(r)
	time.Sleep(half)
	return resp, err
}

// most returns the largest number of times within a window.
func most(times []time.Time, window time.Duration) int {
	slices.SortFunc(times, time.Time.Compare)
	n, first := 0, 0
	for i, at := range times {
		for at.Sub(times[first]) >= window {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

// Ten processes that want more than the quota work without a store, of which
// each has another state of knowledge.
func TestR12AFleetWithoutAStore(t *testing.T) {
	t.Parallel()
	const n, window, processes = 60, time.Minute, 10
	tests := map[string]struct {
		opts  []Option
		quiet time.Duration // it had a store until then; 0: it never had one
		most  float64       // of the quota, in any window
		later float64       // and without the first
	}{
		"it was quiet":                    {nil, 10 * time.Minute, 1.2, 1.2},
		"it was quiet, and is configured": {[]Option{WithProcesses(processes)}, 10 * time.Minute, 1.2, 1.2},
		"it starts, and is configured":    {[]Option{WithProcesses(processes)}, 0, 1.2, 1.2},
		"it starts":                       {nil, 0, processes, 1.5},
	}
	for name, test := range tests {
		for model, kind := range models {
			t.Run(name+"/"+model, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := connictest.New()
					defer srv.Close()
					srv.RateLimit(n, window, kind)
					store := &canned{processes: processes}
					store.gone.Store(test.quiet == 0)
					var clients []*connic.Client
					for range processes {
						rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
						defer rdb.Close()
						rdb.AddHook(store)
						clients = append(clients, srv.Client(connic.WithLimiter(newLimiter(t, rdb, n, window, test.opts...)),
							connic.WithTransport(func(next http.RoundTripper) http.RoundTripper { return distant{next} })))
					}
					if test.quiet > 0 {
						for _, c := range clients {
							if _, err := c.Project.Get(t.Context()); err != nil {
								t.Fatal(err)
							}
						}
						time.Sleep(test.quiet)
						store.gone.Store(true)
					}
					start := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
					defer cancel()
					var wg sync.WaitGroup
					for _, c := range clients {
						for range 20 {
							wg.Go(func() {
								for ctx.Err() == nil {
									call, cancel := context.WithCancel(context.Background())
									stop := context.AfterFunc(ctx, cancel)
									if _, err := c.Project.Get(call); err != nil && ctx.Err() == nil {
										t.Errorf("a call failed: %v", err)
									}
									stop()
									cancel()
								}
							})
						}
					}
					wg.Wait()
					time.Sleep(2 * window) // a step may be under way
					var all, later []time.Time
					refused, accepted := 0, 0
					for _, r := range srv.Requests() {
						if r.At.Before(start) {
							continue
						}
						all = append(all, r.At)
						if r.At.Sub(start) > window {
							later = append(later, r.At)
						}
						if r.Status == http.StatusOK {
							accepted++
						} else {
							refused++
						}
					}
					first, then := float64(most(all, window))/n, float64(most(later, window))/n
					t.Logf("at most %.2f of the quota, %.2f after the first window; %d accepted, %d refused", first, then, accepted, refused)
					if first > test.most || then > test.later {
						t.Errorf("at most %.2f of the quota, %.2f after the first window; want %.1f and %.1f", first, then, test.most, test.later)
					}
					if accepted < 4*n {
						t.Errorf("only %d of %d calls in six windows", accepted, 6*n)
					}
				})
			})
		}
	}
}

// withoutStore returns limiters whose store cannot be reached.
func withoutStore(t *testing.T, k, n int, window time.Duration, opts ...Option) (all []*limiter) {
	t.Helper()
	store := &canned{}
	store.gone.Store(true)
	for range k {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		t.Cleanup(func() { rdb.Close() })
		rdb.AddHook(store)
		all = append(all, newLimiter(t, rdb, n, window, opts...))
	}
	return all
}

// More processes than the quota has slots do not all use their first one at once.
func TestAFleetLargerThanTheQuota(t *testing.T) {
	t.Parallel()
	const n, processes = 60, 300
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var times []time.Time
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for _, l := range withoutStore(t, processes, n, time.Minute, WithProcesses(processes)) {
			wg.Go(func() {
				for {
					p, err := l.Acquire(context.WithoutCancel(ctx), connic.Admission{})
					if err != nil {
						t.Error(err)
					}
					if ctx.Err() != nil {
						l.Release(p, connic.Outcome{Kind: connic.OutcomeNotSent})
						return
					}
					mu.Lock()
					times = append(times, time.Now())
					mu.Unlock()
					l.Release(p, answered)
				}
			})
		}
		wg.Wait()
		time.Sleep(2 * time.Minute) // a step may be under way
		if got := most(times, time.Minute); got > n*3/2 || len(times) < 20*n*3/4 {
			t.Errorf("%d attempts in a window of %d, and %d in twenty", got, n, len(times))
		}
	})
}

// Without the store, polls leave half of the part to calls as well.
func TestPollsLeaveHalfToCallsWithoutAStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := withoutStore(t, 1, 40, time.Minute)[0]
		ctx, cancel := context.WithCancel(t.Context())
		var admitted [2]atomic.Int32
		for i, lane := range []connic.Lane{connic.LanePoll, connic.LaneCall} {
			for range 100 {
				go func() {
					if p, err := l.Acquire(ctx, connic.Admission{Lane: lane}); err == nil {
						admitted[i].Add(1)
						l.Release(p, answered)
					}
				}()
			}
		}
		time.Sleep(50 * time.Second)
		if p, c := admitted[0].Load(), admitted[1].Load(); p != 20 || c != 20 {
			t.Errorf("%d polls and %d calls, want 20 each", p, c)
		}
		cancel()
		time.Sleep(10 * time.Minute)
	})
}
