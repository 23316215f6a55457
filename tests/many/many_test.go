// Package many has the tests of many callers under one quota that take long: in
// virtual time because they are many, or in real time over loopback.
package many

import (
	"context"
	"errors"
	"runtime"
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
