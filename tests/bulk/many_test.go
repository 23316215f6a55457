package bulk

import (
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

// byHand is what a program does without CallAll: a pool of goroutines, without a
// journal.
func byHand(ctx context.Context, c *connector.Connector, n int) error {
	type job struct {
		key string
		in  connector.Input
	}
	jobs, errs := make(chan job), make(chan error)
	var pool sync.WaitGroup
	for range 256 {
		pool.Go(func() {
			for j := range jobs {
				_, err := c.Call(ctx, j.in)
				errs <- err
			}
		})
	}
	go func() {
		for key, in := range numbers(n) {
			jobs <- job{key, in}
		}
		close(jobs)
		pool.Wait()
		close(errs)
	}()
	var failed error
	for err := range errs {
		if err != nil {
			failed = err
		}
	}
	return failed
}

func callAll(ctx context.Context, c *connector.Connector, n int, j connic.Journal) (failed error) {
	for _, err := range c.CallAll(ctx, numbers(n), j) {
		if err != nil {
			failed = err
		}
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
	if err := byHand(t.Context(), c, 1000); err != nil { // connections
		t.Fatal(err)
	}
	journal := filepath.Join(t.TempDir(), "journal")
	var floor float64
	for _, way := range []struct {
		name string
		most float64 // bytes beside the pool
		call func() error
	}{
		{"by hand", 1, func() error { return byHand(t.Context(), c, n) }},
		{"CallAll", 1.35, func() error { return callAll(t.Context(), c, n, nil) }},
		{"CallAll with a FileJournal", 1.9, func() error { return callAll(t.Context(), c, n, connic.FileJournal(journal)) }},
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
	bytes, _, took, err := used(n, func() error { return callAll(t.Context(), c, n, connic.FileJournal(journal)) })
	if err != nil || calls.Load() != from {
		t.Errorf("again: %d calls, %v", calls.Load()-from, err)
	}
	t.Logf("again, all done: %.0f bytes, %.1f us an input", bytes, float64(took.Microseconds())/n)
}
