package connic

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A run that is given several times is canceled once.
func TestCancelAfterOfDuplicates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cancels atomic.Int32
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			if r.Method == "POST" || strings.HasSuffix(r.URL.Path, "cancel") {
				cancels.Add(1)
				return respond(200, `{}`), nil
			}
			return running(func(string) bool { return false })(r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range c.Runs.WaitAll(ctx, []string{"a", "a", "a"}, CancelAfter(10*time.Second)) {
		}
		if cancels.Load() != 1 {
			t.Errorf("%d cancels", cancels.Load())
		}
	})
}

// A cancellation that finds no run is repeated: the run may not be visible yet.
func TestACancellationOfARunThatIsNotVisible(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cancels atomic.Int32
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "cancel") {
				if cancels.Add(1) == 1 {
					return respond(404, `{}`), nil
				}
				return respond(200, `{}`), nil
			}
			return running(func(string) bool { return cancels.Load() > 1 })(r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		_, err := c.Runs.Wait(ctx, "a", CancelAfter(3*time.Second))
		if err != nil {
			t.Errorf("%d cancels, %v", cancels.Load(), err)
		}
	})
}
