package redisquota

import (
	"context"
	"flag"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/redisquota/internal/redistest"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func TestMain(m *testing.M) {
	logging.Disable() // the stores of many tests cannot be reached
	// The tests wait most of the time: more of them than processors do no harm.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// testTimeout limits a wait for something to happen. Nothing is asserted about
// how long it took.
const testTimeout = time.Minute

func startRedis(t *testing.T, args ...string) *redistest.Server {
	t.Helper()
	srv, err := redistest.Start(args...)
	return started(t, srv, err)
}

func dial(t *testing.T, srv *redistest.Server) *redis.Client {
	t.Helper()
	// A busy machine answers late.
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr, DialTimeout: time.Minute, ReadTimeout: time.Minute})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

func newLimiter(t *testing.T, rdb redis.UniversalClient, n int, window time.Duration, opts ...Option) *limiter {
	t.Helper()
	l, err := New(rdb, "test", append([]Option{WithQuota(n, window), WithStoreTimeout(time.Minute)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return l.(*limiter)
}

// acquire takes one permit.
func acquire(t *testing.T, l connic.Limiter, lane connic.Lane) connic.Permit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	p, err := l.Acquire(ctx, connic.Admission{Lane: lane})
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return p
}

var answered = connic.Outcome{Kind: connic.OutcomeAnswered}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// report waits until the store knows of all ends.
func report(t *testing.T, l *limiter) {
	t.Helper()
	eventually(t, "the ends are reported", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !l.busy && l.told == len(l.ended)
	})
}

// book notes admissions, to see whether the window was kept.
type book struct {
	mu    sync.Mutex
	trips []trip // id is unused; retry holds nothing
	began []time.Time
}

// through makes one attempt of so long through l.
func (b *book) through(t *testing.T, l connic.Limiter, took time.Duration) {
	t.Helper()
	p := acquire(t, l, connic.LaneCall)
	began := time.Now()
	time.Sleep(took)
	b.mu.Lock()
	b.began = append(b.began, began)
	b.trips = append(b.trips, trip{ended: time.Now()})
	b.mu.Unlock()
	l.Release(p, answered)
}

// check asserts that no attempt began while n others counted.
func (b *book) check(t *testing.T, n int, window time.Duration) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, at := range b.began {
		counting := 0
		for j := range b.began {
			if j != i && !b.began[j].After(at) && at.Sub(b.trips[j].ended) < window {
				counting++
			}
		}
		if counting >= n {
			t.Fatalf("an attempt began while %d of %d counted", counting, n)
		}
	}
}

// raw runs steps by hand.
type raw struct {
	t       *testing.T
	store   store
	number  int64
	last    uint64
	quota   int
	hold    time.Duration
	reserve int
}

func newRaw(t *testing.T, rdb redis.UniversalClient, process string, n int, hold time.Duration) *raw {
	t.Helper()
	return &raw{t: t, quota: n, hold: hold, store: store{rdb: rdb, key: "connic:{test}:quota", process: process}}
}

func (r *raw) step(want [lanes]int, open, ends []trip) *reply {
	r.t.Helper()
	r.number++
	return r.send(want, open, ends)
}

func (r *raw) send(want [lanes]int, open, ends []trip) *reply {
	r.t.Helper()
	rep, err := r.store.run(r.t.Context(), &step{
		number: r.number, quota: r.quota, hold: r.hold, lease: r.hold / 12, reserve: r.reserve,
		first: r.last + 1, want: want, open: open, ends: ends, sent: time.Now(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return rep
}

// goroutines counts those that run the package's own code.
func goroutines() int {
	buf := make([]byte, 1<<20)
	n := 0
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "redisquota.(*limiter).exchange") || strings.Contains(g, "redisquota.(*events).run") {
			n++
		}
	}
	return n
}
