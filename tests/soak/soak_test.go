package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The tests here do not run in parallel: they measure the whole process.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	calls     = 10_000
	callers   = 64
	faulty    = 0.20
	pageBytes = 64 << 10
)

var page = "<html>" + strings.Repeat("<p>bad gateway</p>", pageBytes/18) + "</html>"

// hangUp ends the connection under a request, with a reset or in order.
func hangUp(w http.ResponseWriter, reset bool, written string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // the client has gone already
	}
	_, _ = io.WriteString(conn, written)
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// faults are what a server, or a gateway before it, does in place of an answer.
// Those from executed on come after the work was done.
var faults = []func(w http.ResponseWriter){
	func(w http.ResponseWriter) { hangUp(w, true, "") },
	func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "0.001")
		http.Error(w, `{"detail": "slow down"}`, http.StatusTooManyRequests)
	},
	func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, page)
	},

	func(w http.ResponseWriter) { hangUp(w, true, "") },
	func(w http.ResponseWriter) { hangUp(w, false, "") },
	func(w http.ResponseWriter) {
		hangUp(w, false, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\": ")
	},
	func(w http.ResponseWriter) { http.Error(w, `{"detail": "oops"}`, http.StatusInternalServerError) },
	func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, page)
	},
	func(w http.ResponseWriter) { _, _ = io.WriteString(w, page) },
	func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, `{"id": "r1"}`)
	},
}

const executed = 3

// service answers every request, and some of them with a fault. It counts what
// it has executed by the message of the trigger.
type service struct {
	mu         sync.Mutex
	random     *rand.Rand
	share      float64
	executions map[string]int
	requests   int
	opened     atomic.Int64
	open       atomic.Int64
}

func start(t *testing.T, share float64) (*service, *httptest.Server) {
	t.Helper()
	s := &service{random: rand.New(rand.NewPCG(1, 2)), share: share, executions: make(map[string]int)}
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.opened.Add(1)
			s.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.open.Add(-1)
		default:
		}
	}
	srv.Start()
	return s, srv
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ Message string }
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	s.requests++
	kind := -1
	if s.random.Float64() < s.share {
		kind = s.random.IntN(len(faults))
	}
	if kind < 0 || kind >= executed {
		s.executions[body.Message]++
	}
	s.mu.Unlock()
	if kind >= 0 {
		faults[kind](w)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/missing") {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, page)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id": "r1", "run_id": "r1", "status": "completed", "output": "done"}`)
}

// open is a Limiter that lets everything pass and never pauses: these tests are
// about what a call leaves behind, not about the quota.
type open struct{}

func (open) Acquire(ctx context.Context, _ connic.Admission) (connic.Permit, error) {
	return connic.Permit{}, ctx.Err()
}
func (open) Release(connic.Permit, connic.Outcome) {}
func (open) Status() connic.RateLimitStatus        { return connic.RateLimitStatus{} }

func connect(t *testing.T, srv *httptest.Server) *connic.Client {
	t.Helper()
	c, err := connic.New("p", "cnc_soak_test_key", connic.WithBaseURL(srv.URL), connic.WithLimiter(open{}),
		connic.WithRetry(connic.RetryPolicy{MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond}))
	require.NoError(t, err)
	return c
}

// share has many callers make n calls.
func share(n int, call func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				call(int(i))
			}
		})
	}
	wg.Wait()
}

// heap is what is in use after everything that can go has gone, pools too.
func heap() int64 {
	var stats runtime.MemStats
	debug.FreeOSMemory()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// descriptors are the open files of the process, -1 where that cannot be seen.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

func TestF3TenThousandCallsLeaveNothingBehind(t *testing.T) { //nolint:paralleltest // it measures the process
	s, srv := start(t, faulty)
	c := connect(t, srv)
	share(200, func(int) { _, _ = c.Runs.Get(t.Context(), "r1") }) // pools, the poller, the first connections

	heapBefore, goroutinesBefore, descriptorsBefore := heap(), runtime.NumGoroutine(), descriptors()
	var failed, unknown, cancelled atomic.Int64
	share(calls, func(i int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if i%20 == 0 {
			time.AfterFunc(time.Duration(i%7)*100*time.Microsecond, cancel)
		}
		if i%2 == 0 {
			if _, err := c.Runs.Get(ctx, "r1"); errors.Is(err, context.Canceled) {
				cancelled.Add(1)
			} else if err != nil {
				failed.Add(1)
			}
			return
		}
		message := fmt.Sprint("message ", i)
		_, err := c.Agents.Trigger(ctx, "a", connic.TriggerRequest{Message: message})
		s.mu.Lock()
		n := s.executions[message]
		s.mu.Unlock()
		switch {
		case errors.Is(err, connic.ErrOutcomeUnknown):
			unknown.Add(1)
			assert.LessOrEqual(t, n, 1, "%v", err)
		case err != nil:
			assert.Zero(t, n, "it was executed and the error does not say that it may: %v", err)
		default:
			assert.Equal(t, 1, n)
		}
	})
	// A read fails when 4 attempts in a row do, with all of the budget spent in
	// the odd case: 0.2 to the fourth.
	assert.Less(t, failed.Load(), int64(calls/2/100), "reads that failed")
	// A trigger is unknown when its first attempt that is not refused meets one of
	// nine of the ten faults.
	assert.InDelta(t, faulty*0.9*calls/2, unknown.Load(), calls/2*0.04, "triggers of unknown outcome")

	assert.InDelta(t, heapBefore, heap(), 5<<20, "bytes of heap")
	assert.LessOrEqual(t, runtime.NumGoroutine(), goroutinesBefore+3*callers, "goroutines, three for each connection that is kept")
	t.Logf("%d requests on %d connections, %d reads failed, %d were cancelled, %d triggers of unknown outcome, heap %+d KiB",
		s.requests, s.opened.Load(), failed.Load(), cancelled.Load(), unknown.Load(), (heap()-heapBefore)>>10)

	require.NoError(t, c.Close())
	srv.Close()
	require.Eventually(t, func() bool { return s.open.Load() == 0 }, 10*time.Second, time.Millisecond, "connections stay open")
	if descriptorsBefore >= 0 {
		assert.LessOrEqual(t, descriptors(), descriptorsBefore)
	}
}

func TestF3ConnectionsAreReused(t *testing.T) { //nolint:paralleltest // it measures the process
	for name, test := range map[string]struct { //nolint:paralleltest // one after the other, as above
		run   string
		reuse float64
	}{
		"without faults":         {"r1", 0.95},
		"after errors of 64 KiB": {"missing", 0.90},
	} {
		t.Run(name, func(t *testing.T) {
			s, srv := start(t, 0)
			defer srv.Close()
			c := connect(t, srv)
			defer c.Close()
			const n = 2000
			share(n, func(int) {
				if _, err := c.Runs.Get(t.Context(), test.run); test.run == "r1" {
					assert.NoError(t, err)
				} else {
					assert.ErrorIs(t, err, connic.ErrNotFound)
				}
			})
			assert.Equal(t, n, s.requests)
			reuse := 1 - float64(s.opened.Load())/n
			assert.GreaterOrEqual(t, reuse, test.reuse)
			t.Logf("%d connections for %d requests: %.1f %% reuse", s.opened.Load(), n, 100*reuse)
		})
	}
}

// TestF5AThousandGoroutines is for the race detector.
func TestF5AThousandGoroutines(t *testing.T) { //nolint:paralleltest // it measures the process
	s, srv := start(t, 0)
	defer srv.Close()
	c, err := connic.New("p", "cnc_soak_test_key", connic.WithBaseURL(srv.URL), connic.WithRateLimit(500, 100*time.Millisecond),
		connic.WithRetry(connic.RetryPolicy{MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond}),
		connic.WithObserver(func(context.Context, connic.Event) {}))
	require.NoError(t, err)
	defer c.Close()
	var wg sync.WaitGroup
	begin := make(chan struct{})
	var done atomic.Int64
	for i := range 1000 {
		wg.Go(func() {
			<-begin
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			switch i % 4 {
			case 0:
				_, _ = c.Runs.Get(ctx, "r1")
			case 1:
				_, _ = c.Agents.Trigger(ctx, "a", connic.TriggerRequest{Message: fmt.Sprint(i)})
			case 2:
				time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
				_, _ = c.Runs.Get(ctx, "r1")
			default:
				_, _ = c.Runs.Wait(ctx, "r1")
				assert.GreaterOrEqual(t, c.RateLimit().Limit, 0)
			}
			done.Add(1)
		})
	}
	close(begin)
	wg.Wait()
	assert.Equal(t, int64(1000), done.Load())
	s.mu.Lock()
	defer s.mu.Unlock()
	for message, n := range s.executions {
		if message != "" {
			assert.Equal(t, 1, n, message)
		}
	}
}
