package bulk

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// hook is a sync connector that responds at once.
func hook(t testing.TB) (*connector.Connector, *atomic.Int64) {
	t.Helper()
	calls := new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, `{"run_id":"run-%d","agent_name":"a","status":"completed","output":"done"}`, calls.Add(1))
	}))
	t.Cleanup(srv.Close)
	c, err := connector.New(srv.URL, "a secret of its own")
	if err != nil {
		t.Fatal(err)
	}
	return c, calls
}

func numbers(n int) func(func(string, connector.Input) bool) {
	return func(yield func(string, connector.Input) bool) {
		for i := range n {
			if !yield("order-"+strconv.Itoa(i), connector.Input{Message: "number " + strconv.Itoa(i)}) {
				return
			}
		}
	}
}

// byHand is what a program does without a bulk call: a pool of goroutines, without
// a journal. It calls each for each result.
func byHand(n int, call func(number string) error, each func()) (failed error) {
	jobs, errs := make(chan string), make(chan error)
	var pool sync.WaitGroup
	for range 256 {
		pool.Go(func() {
			for number := range jobs {
				errs <- call(number)
			}
		})
	}
	go func() {
		for i := range n {
			jobs <- strconv.Itoa(i)
		}
		close(jobs)
		pool.Wait()
		close(errs)
	}()
	for err := range errs {
		failed = cmp.Or(err, failed)
		each()
	}
	return failed
}

func callByHand(ctx context.Context, c *connector.Connector, n int, each func()) error {
	return byHand(n, func(number string) error {
		_, err := c.Call(ctx, connector.Input{Message: "number " + number})
		return err
	}, each)
}

func callAll(ctx context.Context, c *connector.Connector, n int, j connic.Journal, each func()) (failed error) {
	for _, err := range c.CallAll(ctx, numbers(n), j) {
		failed = cmp.Or(err, failed)
		each()
	}
	return failed
}

// used returns the bytes and the allocations of f for each of n, and its time.
func used(n int, f func() error) (bytes, allocs float64, took time.Duration, err error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	err = f()
	took = time.Since(start)
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / float64(n), float64(after.Mallocs-before.Mallocs) / float64(n), took, err
}

// TestTenThousandInputs calls a connector with 10,000 inputs: with a pool written
// by hand, with CallAll, and with a journal. It fails if CallAll allocates much
// more, or if memory grows with the number of inputs.
//
//nolint:paralleltest // what others allocate would count
func TestTenThousandInputs(t *testing.T) {
	const n = 10_000
	c, calls := hook(t)
	if err := callByHand(t.Context(), c, 1000, func() {}); err != nil { // connections
		t.Fatal(err)
	}
	journal := filepath.Join(t.TempDir(), "journal")
	var floor float64
	for _, way := range []struct {
		name string
		most float64 // bytes beside the pool
		call func() error
	}{
		{"by hand", 1, func() error { return callByHand(t.Context(), c, n, func() {}) }},
		{"CallAll", 1.35, func() error { return callAll(t.Context(), c, n, nil, func() {}) }},
		{"CallAll with a FileJournal", 1.9, func() error { return callAll(t.Context(), c, n, connic.FileJournal(journal), func() {}) }},
	} {
		from := calls.Load()
		bytes, allocs, took, err := used(n, way.call)
		if err != nil || calls.Load()-from != n {
			t.Errorf("%s: %d calls, %v", way.name, calls.Load()-from, err)
		}
		if floor == 0 {
			floor = bytes
		}
		t.Logf("%-28s %6.0f bytes (%.2f), %4.0f allocations, %4.0f us an input", way.name, bytes, bytes/floor, allocs, float64(took.Microseconds())/n)
		if bytes > way.most*floor {
			t.Errorf("%s: %.0f bytes an input, %.2f of the pool's", way.name, bytes, bytes/floor)
		}
	}
	// What is done is skipped, and takes little.
	from := calls.Load()
	bytes, _, took, err := used(n, func() error { return callAll(t.Context(), c, n, connic.FileJournal(journal), func() {}) })
	if err != nil || calls.Load() != from {
		t.Errorf("again: %d calls, %v", calls.Load()-from, err)
	}
	t.Logf("again, all done: %.0f bytes, %.1f us an input", bytes, float64(took.Microseconds())/n)
}

// BenchmarkTenThousandInputs compares bulk calls, with and without a journal, with
// a pool written by hand: the time, the bytes and the allocations of 10,000 inputs,
// and the live heap after half of them. That of triggers is mostly the runs that the
// fake keeps, and varies with how many have ended.
func BenchmarkTenThousandInputs(b *testing.B) {
	const n = 10_000
	c, _ := hook(b)
	if err := callByHand(b.Context(), c, 1000, func() {}); err != nil { // connections
		b.Fatal(err)
	}
	journal := func() connic.Journal { return connic.FileJournal(filepath.Join(b.TempDir(), "journal")) }
	for _, way := range []struct {
		name string
		call func(client *connic.Client, each func()) error
	}{
		{"connector/by hand", func(_ *connic.Client, each func()) error { return callByHand(b.Context(), c, n, each) }},
		{"connector/CallAll", func(_ *connic.Client, each func()) error { return callAll(b.Context(), c, n, nil, each) }},
		{"connector/with a FileJournal", func(_ *connic.Client, each func()) error { return callAll(b.Context(), c, n, journal(), each) }},
		{"agent/by hand", func(client *connic.Client, each func()) error {
			return byHand(n, func(number string) error {
				_, err := client.Agents.TriggerAndWait(b.Context(), "echo", connic.TriggerRequest{Message: "number " + number}, often)
				return err
			}, each)
		}},
		{"agent/TriggerAll", func(client *connic.Client, each func()) error { return triggerAll(b.Context(), client, n, nil, each) }},
		{"agent/with a FileJournal", func(client *connic.Client, each func()) error {
			return triggerAll(b.Context(), client, n, journal(), each)
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			var live float64
			for range b.N {
				b.StopTimer()
				fake := connictest.New()
				fake.Agent("echo", func(context.Context, connictest.Input) (any, error) { return "done", nil })
				fake.RateLimit(0, 0, connictest.FixedWindow)
				client := fake.Client(connic.WithRateLimit(1_000_000, time.Minute)) // polls share the limit, and are rare without one
				before, results := heap(), 0
				b.StartTimer()
				err := way.call(client, func() {
					if results++; results == n/2 {
						b.StopTimer()
						live += heap() - before
						b.StartTimer()
					}
				})
				b.StopTimer()
				_ = client.Close()
				fake.Close()
				if err != nil || results != n {
					b.Fatalf("%d results, %v", results, err)
				}
				b.StartTimer()
			}
			b.ReportMetric(live/float64(b.N)/1024, "live-KiB")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "us/input")
		})
	}
}

func triggerAll(ctx context.Context, client *connic.Client, n int, j connic.Journal, each func()) (failed error) {
	inputs := func(yield func(string, connic.TriggerRequest) bool) {
		for i := range n {
			if !yield("order-"+strconv.Itoa(i), connic.TriggerRequest{Message: "number " + strconv.Itoa(i)}) {
				return
			}
		}
	}
	for _, err := range client.Agents.TriggerAll(ctx, "echo", inputs, j, connic.WithBulkWait(often)) {
		failed = cmp.Or(err, failed)
		each()
	}
	return failed
}

// often polls as often as a process that does not leave the machine can.
var often = connic.WithPoll(10*time.Millisecond, 50*time.Millisecond)

// heap returns the bytes that are reachable.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what was in a sync.Pool
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
