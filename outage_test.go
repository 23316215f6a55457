package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// R5: five minutes of 503, with callers that do not give up.
func TestR5AnOutage(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{1, 5, 50} {
		for _, lasting := range []time.Duration{5 * time.Minute, 5*time.Minute + 17*time.Second, 7*time.Minute + 31*time.Second} {
			t.Run(fmt.Sprint(callers, "/", lasting), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					srv := newFake(connictest.SlidingWindow)
					client := srv.Client(withDelay(internet(newDice(5))))
					// The service works for a while first.
					for range 5 {
						if err := getProject(t.Context(), client); err != nil {
							t.Fatal(err)
						}
					}
					before := len(srv.Requests())
					srv.Fault(connictest.Fault{Times: -1, Status: http.StatusServiceUnavailable})
					back := time.Now().Add(lasting)
					time.AfterFunc(lasting, srv.ClearFaults)

					ctx, cancel := context.WithDeadline(t.Context(), back.Add(time.Minute))
					defer cancel()
					var mu sync.Mutex
					var first time.Time
					calls := 0
					saturate(ctx, []*connic.Client{client}, callers, func(ctx context.Context, c *connic.Client) error {
						started := time.Now()
						err := getProject(ctx, c)
						mu.Lock()
						defer mu.Unlock()
						if started.Before(back) {
							calls++
						}
						if err == nil && first.IsZero() {
							first = time.Now()
							cancel()
						}
						return err
					})
					requests := 0
					for _, r := range srv.Requests()[before:] {
						if r.At.Before(back) {
							requests++
						}
					}
					if perCall := float64(requests) / float64(calls); perCall > 1.2 {
						t.Errorf("%.2f requests per call (%d, %d)", perCall, requests, calls)
					}
					if late := first.Sub(back); first.IsZero() || late > 2*time.Second {
						t.Errorf("the first call succeeded %v after the service was back", late)
					}
				})
			})
		}
	}
}

// Retries exist for short disturbances: the budget must not prevent them.
func TestTransientFailuresSpendNoBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.RateLimit(0, time.Minute, connictest.FixedWindow)
		client := srv.Client(connic.WithoutRateLimit())
		for range 100 {
			srv.Fault(connictest.Fault{Op: "project.get", Times: 3, Status: 500})
			if err := getProject(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		// After an outage the budget is restored.
		srv.Fault(connictest.Fault{Op: "project.get", Times: -1, Status: 500})
		for range 20 {
			if err := getProject(t.Context(), client); !errors.Is(err, connic.ErrServer) {
				t.Fatal(err)
			}
		}
		srv.ClearFaults()
		for range 20 {
			if err := getProject(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		srv.Fault(connictest.Fault{Op: "project.get", Times: 3, Status: 500})
		if err := getProject(t.Context(), client); err != nil {
			t.Errorf("after 20 successes there is no budget: %v", err)
		}
	})
}
