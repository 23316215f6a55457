// Package many has the tests of many callers under one quota that take long: in
// virtual time because they are many, or in real time over loopback.
package many

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// R8: 10,000 waits on one client.
func TestR8TenThousandWaits(t *testing.T) { //nolint:paralleltest // it measures the heap
	const n = 10_000
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.RateLimit(0, 0, connictest.FixedWindow)
		srv.Agent("a", func(ctx context.Context, _ connictest.Input) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		setup := srv.Client(connic.WithoutRateLimit())
		ids := make([]string, n)
		for i := range ids {
			result, err := setup.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})
			require.NoError(t, err)
			ids[i] = result.RunID
		}
		srv.RateLimit(60, time.Minute, connictest.SlidingWindow)
		client := srv.Client()
		var heap runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&heap)
		heapBefore, before, requests := heap.HeapAlloc, runtime.NumGoroutine(), len(srv.Requests())

		ctx, cancel := context.WithCancel(t.Context())
		early, cancelEarly := context.WithCancel(ctx)
		var waits sync.WaitGroup
		gone := make(chan time.Time, 1)
		for i, id := range ids {
			waits.Go(func() {
				ctx := ctx
				if i == n/2 {
					ctx = early
				}
				_, err := client.Runs.Wait(ctx, id)
				var wait *connic.WaitError
				if !errors.As(err, &wait) || !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", id, err)
				}
				if i == n/2 {
					gone <- time.Now()
				}
			})
		}
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		assert.LessOrEqual(t, runtime.NumGoroutine()-before-n, 3, "goroutines beside those that wait")
		sent := len(srv.Requests()) - requests
		assert.LessOrEqual(t, sent, 250, "requests in ten minutes")
		runtime.GC()
		runtime.ReadMemStats(&heap)
		t.Logf("%d requests in 10 minutes; %d KiB of heap a wait, with its run", sent, (int64(heap.HeapAlloc)-int64(heapBefore))/n/1024)

		start := time.Now()
		cancelEarly()
		assert.LessOrEqual(t, (<-gone).Sub(start), 50*time.Millisecond)
		cancel()
		waits.Wait()
		synctest.Wait()
		s := client.RateLimit()
		assert.Zero(t, s.InFlight+s.Waiting+s.Polling+s.Reserved, "%+v", s)
		srv.Close()
		time.Sleep(time.Second)
		assert.LessOrEqual(t, runtime.NumGoroutine()-before, 2)
	})
}

// A backend that serves people: 200 requests at once, each triggers an agent and
// waits, over loopback and in real time, at 60 requests in 6 s.
func TestTwoHundredRequestsAtOnce(t *testing.T) { //nolint:paralleltest // it takes real time
	const callers, window = 200, 6 * time.Second
	srv := connictest.NewServer(t)
	srv.RateLimit(60, window, connictest.SlidingWindow)
	srv.Agent("a", func(ctx context.Context, in connictest.Input) (any, error) {
		select {
		case <-time.After(300 * time.Millisecond):
			return in.Message, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	client := srv.Client(connic.WithRateLimit(60, window))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		run, err := client.Agents.TriggerAndWait(r.Context(), "a", connic.TriggerRequest{Message: r.URL.RawQuery},
			connic.WithPoll(500*time.Millisecond, 2*time.Second))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, run.Output)
	}))
	defer backend.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/?%d", backend.URL, i), nil)
			if !assert.NoError(t, err) {
				return
			}
			resp, err := http.DefaultClient.Do(r)
			if !assert.NoError(t, err) {
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, fmt.Sprint(i), string(body))
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(start))
		})
	}
	all.Wait()
	http.DefaultClient.CloseIdleConnections()
	slices.Sort(took)
	refused := 0
	for _, r := range srv.Requests() {
		if r.Status == http.StatusTooManyRequests {
			refused++
		}
	}
	require.Len(t, took, callers)
	assert.Equal(t, callers, srv.Executions("agents.trigger"))
	assert.LessOrEqual(t, len(srv.Requests())-callers-refused, 30, "requests beside the triggers")
	t.Logf("first %v, median %v, last %v; ideally the last trigger goes after %v; %d other requests, %d of them refused",
		took[0].Round(time.Millisecond), took[callers/2].Round(time.Millisecond), took[callers-1].Round(time.Millisecond), 3*window,
		len(srv.Requests())-callers, refused)
}
