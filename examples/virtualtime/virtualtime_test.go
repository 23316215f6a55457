package virtualtime

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// newService returns a fake whose agent takes some time. It is created inside the
// bubble of synctest, and uses its clock.
func newService(t *testing.T, takes time.Duration) *connictest.Server {
	t.Helper()
	srv := connictest.New(t)
	srv.Agent("research", func(ctx context.Context, _ connictest.Input) (any, error) {
		select {
		case <-time.After(takes):
			return "found", nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return srv
}

func TestAnAnswerInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newService(t, 50*time.Minute)
		began := time.Now()
		out, err := Research(t.Context(), srv.Client(), "What is it?")
		if took := time.Since(began); err != nil || out != "found" || took < 50*time.Minute || took > 51*time.Minute {
			t.Errorf("%q, %v after %v", out, err, took)
		}
	})
}

func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newService(t, 2*time.Hour)
		began := time.Now()
		_, err := Research(t.Context(), srv.Client(), "What is it?")
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took < time.Hour || took > time.Hour+10*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if n := srv.Executions("runs.cancel"); n != 1 {
			t.Errorf("%d cancellations", n)
		}
	})
}

func TestAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newService(t, 10*time.Minute)
		srv.Fault(connictest.Fault{Op: "runs.get", Status: http.StatusServiceUnavailable, For: 30 * time.Minute})
		began := time.Now()
		out, err := Research(t.Context(), srv.Client(), "What is it?")
		if took := time.Since(began); err != nil || out != "found" || took < 30*time.Minute {
			t.Errorf("%q, %v after %v", out, err, took)
		}
	})
}

func TestTheQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newService(t, time.Second)
		client, began := srv.Client(), time.Now()
		var all sync.WaitGroup
		for range 70 { // 10 more than the service allows in a minute
			all.Go(func() {
				if _, err := client.Agents.Trigger(t.Context(), "research", connic.TriggerRequest{Message: "What?"}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began).Truncate(time.Second); took != time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}
