package connic

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A client that has waited for the evaluations of thousands of judges remembers a few
// of them, and none that is waited for is dropped.
func TestIdleWatchesAreDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			const list = `{"evaluations": [{"id": "e", "status": "completed"}, {"id": "late", "status": "pending"}]}`
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(list)), Request: r}, nil
		}, WithoutRateLimit())
		ctx, cancel := context.WithCancel(t.Context())
		var waits sync.WaitGroup
		for i := range maxIdle {
			waits.Go(func() { _, _ = c.Judges.WaitEvaluation(ctx, fmt.Sprint("waited-", i), "late") })
		}
		synctest.Wait()
		for i := range 3000 {
			if e, err := c.Judges.WaitEvaluation(ctx, fmt.Sprint("judge-", i), "e"); err != nil || e.ID != "e" {
				t.Fatal(e, err)
			}
			if i%10 == 0 {
				synctest.Wait()
			}
		}
		c.watches.mu.Lock()
		n := len(c.watches.of)
		for i := range maxIdle {
			if c.watches.of[watchKey{"evaluation", fmt.Sprint("waited-", i)}] == nil {
				t.Errorf("watch %d is gone while it is waited for", i)
			}
		}
		c.watches.mu.Unlock()
		if n > 2*maxIdle+20 {
			t.Errorf("%d watches", n)
		}
		cancel()
		waits.Wait()
		time.Sleep(time.Second)
		if s := c.RateLimit(); s.InFlight != 0 || s.Reserved != 0 {
			t.Errorf("%+v", s)
		}
	})
}
