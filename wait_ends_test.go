package connic

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// cutting ends a context as soon as an attempt is admitted.
type cutting struct {
	Limiter
	Reserver
	cut context.CancelFunc
}

func (l *cutting) Acquire(ctx context.Context, a Admission) (Permit, error) {
	p, err := l.Limiter.Acquire(ctx, a)
	l.cut()
	return p, err
}

// A context that ends in the instant of the admission of a trigger leaves no slot
// reserved.
func TestNoSlotStaysReserved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(60, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		c := newTestClient(t, running(func(id string) bool { return true }), WithLimiter(&cutting{l, l.(Reserver), cancel}))
		_, err := c.Agents.TriggerAndWait(ctx, "a", TriggerRequest{Message: "x"})
		synctest.Wait()
		if s := l.Status(); s.Reserved != 0 {
			t.Errorf("%v: %+v", err, s)
		}
	})
}

// A client outlives the bubble of virtual time in which it first waited.
func TestWatchInTwoBubbles(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, running(func(id string) bool { return true }))
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			ch := make(chan string)
			go func() { ch <- "a"; close(ch) }()
			n := 0
			for range c.Runs.Watch(t.Context(), ch) {
				n++
			}
			if n != 1 {
				t.Errorf("%d runs", n)
			}
		})
	}
}

// A slow progress function misses polls that fail, and does not hold up the ends
// of runs.
func TestSlowProgressInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		const outage = 20 * time.Minute
		ids := []string{"a", "b", "c", "d", "e"}
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			if time.Since(start) < outage {
				return respond(503, `{}`), nil
			}
			var rows []string
			for _, id := range ids {
				rows = append(rows, fmt.Sprintf(`{"id":%q,"status":"completed","output":"x"}`, id))
			}
			return respond(200, `{"runs":[`+strings.Join(rows, ",")+`]}`), nil
		})
		for _, err := range c.Runs.WaitAll(t.Context(), ids, WithProgress(func(WaitEvent) { time.Sleep(time.Minute) })) {
			if err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(start); took > outage+10*time.Minute {
			t.Errorf("the runs end at %v, the wait at %v", outage, took)
		}
	})
}

// What is captured of a response that is no success is masked.
func TestCapturedResponsesThatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		return respond(200, `<html>you sent `+r.Header.Get("Authorization")), nil
	})
	var resp Response
	_, err := c.Runs.Get(t.Context(), "r", CaptureResponse(&resp))
	if err == nil || strings.Contains(string(resp.Body), string(testKey)) {
		t.Errorf("%v: captured %s", err, resp.Body)
	}
}
