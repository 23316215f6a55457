package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// simulation is many callers of TriggerAndWait at once, over a round trip of 100 ms,
// under 60 requests a minute.
type simulation struct {
	callers  int
	clients  int
	agent    time.Duration // what each run takes
	deadline time.Duration // of each caller; 0: none
	noList   int           // the status that the list operation answers with; 0: it is there
}

// jobs is what came of a simulation.
type jobs struct {
	collected []time.Duration // when the callers had their runs, in order
	failed    []error
	lateFail  time.Duration // when the last caller was told that nothing was sent
	started   int
	extra     int // requests beside the triggers
	refused   int
}

func (c simulation) run(t *testing.T, window connictest.Window) (j jobs) {
	t.Helper()
	srv := newFake(window)
	srv.Agent("a", lasting(c.agent))
	if c.noList != 0 {
		srv.Fault(connictest.Fault{Op: "runs.list", Times: -1, Status: c.noList})
	}
	hundred := withDelay(func(*http.Request) (there, back time.Duration) { return 50 * time.Millisecond, 50 * time.Millisecond })
	clients := newClients(srv, max(1, c.clients), hundred)
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for i := range c.callers {
		wg.Go(func() {
			ctx := t.Context()
			if c.deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			want := fmt.Sprint("done: ", i)
			run, err := clients[i%len(clients)].Agents.TriggerAndWait(ctx, "a", connic.TriggerRequest{Message: fmt.Sprint(i)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && run.Output == want:
				j.collected = append(j.collected, time.Since(start))
			case err == nil:
				t.Errorf("caller %d got %+v", i, run)
			default:
				j.failed = append(j.failed, err)
				j.lateFail = time.Since(start)
			}
		})
	}
	wg.Wait()
	synctest.Wait()
	j.started, j.refused = srv.Executions("agents.trigger"), refusals(srv)
	j.extra = len(srv.Requests()) - j.started
	slices.Sort(j.collected)
	srv.Close()
	return j
}

func (j jobs) String() string {
	if len(j.collected) == 0 {
		return fmt.Sprintf("%d started, none collected; %d failed", j.started, len(j.failed))
	}
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
	return fmt.Sprintf("%d started, %d collected: first %v, median %v, last %v; %d failed within %v; %d other requests, %d refused",
		j.started, len(j.collected), round(j.collected[0]), round(j.median()), round(j.collected[len(j.collected)-1]),
		len(j.failed), round(j.lateFail), j.extra, j.refused)
}

func (j jobs) median() time.Duration { return j.collected[len(j.collected)/2] }

// bounds of a simulation; zero ones are not asked for.
type bounds struct {
	first, median, last time.Duration
	extra               int
	collected           int
	failedWithin        time.Duration
}

func (b bounds) check(t *testing.T, j jobs) {
	t.Helper()
	t.Log(j)
	if j.started != len(j.collected) {
		t.Errorf("%d runs were started and %d collected", j.started, len(j.collected))
	}
	if len(j.collected) < max(1, b.collected) {
		t.Fatalf("%d runs were collected, want at least %d", len(j.collected), b.collected)
	}
	for _, d := range []struct {
		name      string
		got, most time.Duration
	}{
		{"first", j.collected[0], b.first},
		{"median", j.median(), b.median},
		{"last", j.collected[len(j.collected)-1], b.last},
		{"failures", j.lateFail, b.failedWithin},
	} {
		if d.most > 0 && d.got > d.most {
			t.Errorf("%s: after %v, want %v", d.name, d.got, d.most)
		}
	}
	if b.extra > 0 && j.extra > b.extra {
		t.Errorf("%d requests beside the triggers, want at most %d", j.extra, b.extra)
	}
	for _, err := range j.failed {
		var limit *connic.LimitError
		if !errors.As(err, &limit) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("a caller failed with %v", err)
		}
	}
}

func TestP11ManyCallers(t *testing.T) {
	t.Parallel()
	const s = time.Second
	short := 300 * time.Millisecond
	for name, test := range map[string]struct {
		simulation
		bounds
	}{
		"60":                     {simulation{callers: 60, agent: short}, bounds{first: 3 * s, median: 4 * s, last: 66 * s, collected: 60}},
		"200":                    {simulation{callers: 200, agent: short}, bounds{first: 3 * s, median: 70 * s, last: 200 * s, extra: 30, collected: 200}},
		"200, slow agents":       {simulation{callers: 200, agent: 20 * s}, bounds{last: 215 * s, collected: 200}},
		"60, 30 s each":          {simulation{callers: 60, agent: short, deadline: 30 * s}, bounds{collected: 50, failedWithin: s}},
		"200 of two clients":     {simulation{callers: 200, clients: 2, agent: short}, bounds{last: 240 * s, collected: 200}},
		"60, no list (403)":      {simulation{callers: 60, agent: short, noList: 403}, bounds{first: 3 * s, last: 130 * s, collected: 60}},
		"200, no list (404)":     {simulation{callers: 200, agent: short, noList: 404}, bounds{first: 3 * s, last: 440 * s, collected: 200}},
		"60, 30 s, no list, 405": {simulation{callers: 60, agent: short, deadline: 30 * s, noList: 405}, bounds{collected: 28, failedWithin: s}},
	} {
		for window, w := range windows {
			t.Run(name+"/"+window, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { test.check(t, test.run(t, w)) })
			})
		}
	}
}
