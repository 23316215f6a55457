package connic_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestLanesOfCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		lanes := make(map[string]connic.Lane)
		client := srv.Client(connic.WithObserver(func(_ context.Context, e connic.Event) { lanes[e.Op] = e.Lane }))
		ctx := t.Context()
		_, _ = client.Project.Get(ctx, connic.WithLane(connic.LaneLow))
		_ = client.Runs.Cancel(ctx, "r1")
		_, _ = client.Runs.Get(ctx, "r1")
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = client.Judges.Get(ctx, "j1")
		for op, want := range map[string]connic.Lane{
			"project.get": connic.LaneLow, "runs.cancel": connic.LaneCancel, "runs.get": connic.LaneCall, "judges.get": connic.LaneCall,
		} {
			if got, ok := lanes[op]; !ok || got != want {
				t.Errorf("%s goes in lane %d, want %d", op, got, want)
			}
		}
		_, _ = client.Runs.Wait(short, "r1")
		if lanes["runs.get"] != connic.LanePoll {
			t.Errorf("a look goes in lane %d", lanes["runs.get"])
		}
		var argument *connic.ArgumentError
		if _, err := client.Project.Get(ctx, connic.WithLane(9)); !errors.As(err, &argument) {
			t.Errorf("a lane that there is not: %v", err)
		}
	})
}

// Defect 5 of the hostile reading: sixty waits kept a trigger from being sent.
func TestWaitsDoNotHoldUpATrigger(t *testing.T) {
	t.Parallel()
	for _, list := range []int{0, 403} {
		synctest.Test(t, func(t *testing.T) {
			srv := newFake(connictest.SlidingWindow)
			defer srv.Close()
			srv.RateLimit(0, 0, connictest.FixedWindow)
			srv.Agent("slow", lasting(time.Hour))
			srv.Agent("fast", lasting(time.Second))
			setup := srv.Client(connic.WithoutRateLimit())
			client := srv.Client()
			if list != 0 {
				srv.Fault(connictest.Fault{Op: "runs.list", Times: -1, Status: list})
			}
			ctx, cancel := context.WithCancel(t.Context())
			for range 60 {
				id := trigger(t, setup, "slow", "x")
				go func() { _, _ = client.Runs.Wait(ctx, id) }()
			}
			srv.RateLimit(60, time.Minute, connictest.SlidingWindow)
			for range 5 {
				time.Sleep(3 * time.Minute)
				start := time.Now()
				trigger(t, client, "fast", "x")
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("list %d: a trigger takes %v", list, took)
				}
			}
			cancel()
			synctest.Wait()
		})
	}
}

func TestASlowQueueIsLogged(t *testing.T) {
	t.Parallel()
	for threshold, want := range map[time.Duration]int{0: 2, time.Minute * 2: 0} {
		synctest.Test(t, func(t *testing.T) {
			srv := newFake(connictest.FixedWindow)
			defer srv.Close()
			var text bytes.Buffer
			opts := []connic.Option{connic.WithLogger(slog.New(slog.NewTextHandler(&text, nil)))} // info and above
			if threshold > 0 {
				opts = append(opts, connic.WithSlowQueue(threshold))
			}
			client := srv.Client(opts...)
			for range 61 {
				if err := getProject(t.Context(), client); err != nil {
					t.Fatal(err)
				}
			}
			if n := strings.Count(text.String(), "level=INFO"); n != want {
				t.Errorf("with %v it logs %d lines, want %d:\n%s", threshold, n, want, text.String())
			}
			if want > 0 && (!strings.Contains(text.String(), "queued=1m0.0") || !strings.Contains(text.String(), `wait=1m0.0`)) {
				t.Errorf("it does not say how long it took:\n%s", text.String())
			}
		})
	}
}

func TestRefusalsAreWaitedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Fault(connictest.Fault{Op: "project.get", Times: 50, Status: http.StatusTooManyRequests, RetryAfter: "3"})
		start := time.Now()
		if err := getProject(t.Context(), srv.Client()); err != nil {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		srv.Fault(connictest.Fault{Op: "project.get", Times: -1, Status: http.StatusTooManyRequests, RetryAfter: "3"})
		before := count(srv, "project.get")
		err := getProject(t.Context(), srv.Client(connic.WithRetry(connic.RetryPolicy{MaxRefusals: 4})))
		if n := count(srv, "project.get") - before; !errors.Is(err, connic.ErrRateLimited) || n != 5 {
			t.Errorf("with a bound of 4 it sends %d: %v", n, err)
		}
	})
	// MaxRetryAfter above two minutes is waited for, and one above ten too.
	for named, most := range map[string]time.Duration{"180": 5 * time.Minute, "1200": time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New()
			defer srv.Close()
			srv.Fault(connictest.Fault{Op: "project.get", Times: 1, Status: http.StatusTooManyRequests, RetryAfter: named})
			wait, _ := time.ParseDuration(named + "s")
			client := srv.Client(connic.WithRetry(connic.RetryPolicy{MaxRetryAfter: most}))
			start := time.Now()
			if err := getProject(t.Context(), client); err != nil || time.Since(start) < wait || time.Since(start) > wait+time.Minute {
				t.Errorf("%s: after %v: %v", named, time.Since(start), err)
			}
		})
	}
	// A day is not waited for, and locks nobody out.
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Fault(connictest.Fault{Op: "project.get", Times: 1, Status: http.StatusTooManyRequests, RetryAfter: "86400"})
		client := srv.Client()
		var answer *connic.Error
		if err := getProject(t.Context(), client); !errors.As(err, &answer) || answer.RetryAfter != 24*time.Hour {
			t.Errorf("%v", err)
		}
		start := time.Now()
		if err := getProject(t.Context(), client); err != nil || time.Since(start) > 10*time.Minute {
			t.Errorf("another call: %v after %v", err, time.Since(start))
		}
	})
}

func TestATriggerThatCannotBeCollectedIsNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(0))
		client := srv.Client()
		for timeout, want := range map[time.Duration]int{time.Second: 0, 5 * time.Second: 1} {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			before := srv.Executions("agents.trigger")
			run, err := client.Agents.TriggerAndWait(ctx, "a", connic.TriggerRequest{Message: "x"})
			cancel()
			var limit *connic.LimitError
			if got := srv.Executions("agents.trigger") - before; got != want || (err == nil) != (want == 1) || err != nil && (!errors.As(err, &limit) || run != nil) {
				t.Errorf("with %v it sends %d triggers: %v", timeout, got, err)
			}
		}
		if s := client.RateLimit(); s.Reserved != 0 {
			t.Errorf("%d places are kept for nobody", s.Reserved)
		}
	})
}
