package redisquota

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/redisquota/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// told collects events.
type told struct {
	mu     sync.Mutex
	events []Event
}

func (o *told) option() Option {
	return WithObserver(func(e Event) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.events = append(o.events, e)
	})
}

func (o *told) has(kind EventKind) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e.Kind == kind {
			return true
		}
	}
	return false
}

func TestAStoreThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		gone func(*testing.T, *fixture)
		back func(*testing.T, *fixture)
	}{
		"killed": {
			func(_ *testing.T, f *fixture) { f.srv.Kill() },
			func(t *testing.T, f *fixture) { f.must(t, f.srv.Run()) },
		},
		"stopped": {
			func(t *testing.T, f *fixture) { f.must(t, f.srv.Pause()) },
			func(t *testing.T, f *fixture) { f.must(t, f.srv.Resume()) },
		},
		"replica": {
			func(t *testing.T, f *fixture) {
				f.must(t, f.admin.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err())
			},
			func(t *testing.T, f *fixture) { f.must(t, f.admin.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err()) },
		},
		"full": {
			func(t *testing.T, f *fixture) { f.must(t, f.admin.ConfigSet(t.Context(), "maxmemory", "1").Err()) },
			func(t *testing.T, f *fixture) { f.must(t, f.admin.ConfigSet(t.Context(), "maxmemory", "0").Err()) },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fixture{srv: startRedis(t)}
			f.admin = dial(t, f.srv)
			rdb := redis.NewClient(&redis.Options{Addr: f.srv.Addr, MaxRetries: -1, ReadTimeout: time.Second, DialerRetries: 1})
			t.Cleanup(func() { rdb.Close() })
			var events told
			const n, window = 20, 2 * time.Second
			f.l = newLimiter(t, rdb, n, window, events.option(), WithStoreTimeout(150*time.Millisecond))
			var b book
			b.through(t, f.l, time.Millisecond)

			test.gone(t, f)
			eventually(t, "the limiter works on its own", func() bool {
				b.through(t, f.l, time.Millisecond)
				return f.l.Status().Fallback != ""
			})
			for range 5 {
				b.through(t, f.l, time.Millisecond)
			}
			if !strings.Contains(f.l.Status().Fallback, "store") {
				t.Errorf("the status says %q", f.l.Status().Fallback)
			}
			// Refused without an error of its own where it cannot go at once.
			if p, err := f.l.Acquire(t.Context(), connic.Admission{NoWait: true}); err == nil {
				f.l.Release(p, connic.Outcome{Kind: connic.OutcomeNotSent})
			} else if limit := new(*connic.LimitError); !errors.As(err, limit) {
				t.Errorf("NoWait: %v", err)
			}
			eventually(t, "an event", func() bool { return events.has(EventFallback) })

			test.back(t, f)
			eventually(t, "the quota is shared again", func() bool {
				b.through(t, f.l, time.Millisecond)
				return f.l.Status().Fallback == ""
			})
			eventually(t, "an event", func() bool { return events.has(EventBack) })
			for range 10 {
				b.through(t, f.l, time.Millisecond)
			}
			b.check(t, n, window)
		})
	}
}

type fixture struct {
	srv   *redistest.Server
	admin *redis.Client
	l     *limiter
}

func (*fixture) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// slowly is a proxy that holds back what the store answers.
type slowly struct {
	addr  string
	delay atomic.Int64
}

func newSlowly(t *testing.T, to string) *slowly {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &slowly{addr: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			t.Cleanup(func() { client.Close(); server.Close() })
			go func() { _, _ = io.Copy(server, client); server.Close() }()
			go func() {
				defer client.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := server.Read(buf)
					time.Sleep(time.Duration(p.delay.Load()))
					if _, e := client.Write(buf[:n]); err != nil || e != nil {
						return
					}
				}
			}()
		}
	}()
	return p
}

func TestASlowStore(t *testing.T) {
	t.Parallel()
	proxy := newSlowly(t, startRedis(t).Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.addr})
	t.Cleanup(func() { rdb.Close() })
	const n, window = 20, 2 * time.Second
	l := newLimiter(t, rdb, n, window, WithStoreTimeout(500*time.Millisecond))
	var b book
	b.through(t, l, time.Millisecond)
	proxy.delay.Store(int64(time.Second))
	for range 10 {
		b.through(t, l, time.Millisecond)
	}
	if l.Status().Fallback == "" {
		t.Error("a store of a second an answer is still asked")
	}
	proxy.delay.Store(0)
	eventually(t, "it is back", func() bool {
		b.through(t, l, time.Millisecond)
		return l.Status().Fallback == ""
	})
	b.check(t, n, window)
}

func TestAHangingStoreHoldsNobody(t *testing.T) {
	t.Parallel()
	srv := startRedis(t)
	l := newLimiter(t, dial(t, srv), 1, time.Minute, WithStoreTimeout(time.Second))
	l.Release(acquire(t, l, connic.LaneCall), answered)
	if err := srv.Pause(); err != nil {
		t.Fatal(err)
	}
	defer srv.Resume()
	// There is no slot for a minute, with the store or without.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := l.Acquire(ctx, connic.Admission{})
		done <- err
	}()
	eventually(t, "it waits without the store", func() bool { return l.Status().Fallback != "" })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestHooksAndObserversOfOthers(t *testing.T) {
	t.Parallel()
	srv := startRedis(t)
	for name, f := range map[string]func(redis.Cmder){
		"panics": func(redis.Cmder) { panic("mine") },
		"exits":  func(redis.Cmder) { runtime.Goexit() },
	} {
		rdb := dial(t, srv)
		rdb.AddHook(hook(f))
		calls := make(chan struct{}, 10)
		l := newLimiter(t, rdb, 10, time.Second, WithStoreTimeout(time.Second), WithObserver(func(Event) {
			calls <- struct{}{}
			if name == "exits" {
				runtime.Goexit()
			}
			panic("mine as well")
		}))
		for range 5 {
			l.Release(acquire(t, l, connic.LaneCall), answered)
		}
		if l.Status().Fallback == "" {
			t.Errorf("a hook that %s goes unnoticed", name)
		}
		<-calls
	}
	eventually(t, "no goroutine is left", func() bool { return goroutines() == 0 })
}

func TestAClientThroughASharedLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, dial(t, startRedis(t)), 10, time.Second)
	client, err := connic.New("p", "cnc_0123456789abcdef", connic.WithLimiter(l), connic.WithBaseURL("http://127.0.0.1:1/v1"), connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Runs.Get(t.Context(), "r"); err == nil {
		t.Error("a call of nowhere succeeded")
	}
	if s := client.RateLimit(); s.Limit != 10 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

// failing is a hook whose commands fail.
type failing struct{ err error }

func (failing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f failing) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		cmd.SetErr(f.err)
		return f.err
	}
}

func (failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
