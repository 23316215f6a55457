package connic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// standIn answers polls of runs that complete after some time, but for what odd
// answers in its place: nil for nothing.
func standIn(took time.Duration, odd func(list bool, since time.Duration) *http.Response) roundTripper {
	start := time.Now()
	return func(r *http.Request) (*http.Response, error) {
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		since := time.Since(start)
		if resp := odd(id == "runs", since); resp != nil {
			return resp, nil
		}
		status := RunRunning
		if since >= took {
			status = RunCompleted
		}
		one := fmt.Sprintf(`{"id": %q, "status": %q, "output": "x"}`, id, status)
		if id == "runs" {
			one = `{"items": []}`
		}
		return respond(200, one), nil
	}
}

// oddStatuses are those that proxies, gateways and portals answer with in place of
// the service, or that it refuses a request with.
var oddStatuses = []int{301, 302, 307, 400, 404, 405, 406, 407, 409, 410, 413, 418, 421, 422, 431, 451, 501}

// A wait outlives what stands in for the service for a few seconds, and ends if it
// stays: nothing tells it from the service then.
func TestWaitsOutliveWhatStandsInForTheService(t *testing.T) {
	t.Parallel()
	for _, status := range oddStatuses {
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, standIn(time.Minute, func(_ bool, since time.Duration) *http.Response {
				if since > time.Second && since < 12*time.Second {
					return respond(status, "{}")
				}
				return nil
			}))
			if run, err := c.Runs.Wait(t.Context(), "r1"); err != nil || run.Status != RunCompleted {
				t.Errorf("%d for a while: %v", status, err)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, standIn(0, func(bool, time.Duration) *http.Response { return respond(status, "{}") }))
			start := time.Now()
			_, err := c.Runs.Wait(t.Context(), "r1")
			var wait *WaitError
			var answer *Error
			if took := time.Since(start); !errors.As(err, &wait) || !errors.As(err, &answer) || answer.StatusCode != status || took < 15*time.Second || took > 30*time.Second {
				t.Errorf("%d for good: %v after %v", status, err, took)
			}
		})
	}
	for _, status := range []int{401, 403} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, standIn(0, func(bool, time.Duration) *http.Response { return respond(status, "{}") }))
			start := time.Now()
			if _, err := c.Runs.Wait(t.Context(), "r1"); err == nil || time.Since(start) > 0 {
				t.Errorf("%d: %v after %v", status, err, time.Since(start))
			}
		})
	}
}

// A list that refuses a request ends no wait: the runs can be asked for one by one.
// What may be another's answer is not taken for the list's for good.
func TestListsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, status := range append(oddStatuses, 403) {
		synctest.Test(t, func(t *testing.T) {
			lists := 0
			c := newTestClient(t, standIn(3*time.Minute, func(list bool, _ time.Duration) *http.Response {
				if !list {
					return nil
				}
				lists++
				return respond(status, "{}")
			}))
			ended := 0
			for run, err := range c.Runs.WaitAll(t.Context(), []string{"a", "b", "c", "d"}) {
				if err != nil || run.Status != RunCompleted {
					t.Errorf("%d: %v", status, err)
				}
				ended++
			}
			least, most := 2, 5 // one a minute
			if status == 403 || status == 404 || status == 405 {
				least, most = 1, 1
			}
			if ended != 4 || lists < least || lists > most {
				t.Errorf("%d: %d runs ended, and the list was asked for %d times", status, ended, lists)
			}
		})
	}
}

// A Retry-After of a failing service holds the polls too, for as long as it would
// hold a call.
func TestPollsHeedRetryAfter(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 4} {
		for asked, bounds := range map[string][2]time.Duration{"100": {100 * time.Second, 115 * time.Second}, "86400": {2 * time.Minute, 135 * time.Second}} {
			synctest.Test(t, func(t *testing.T) {
				var polls []time.Duration
				c := newTestClient(t, standIn(time.Second, func(_ bool, since time.Duration) *http.Response {
					if polls = append(polls, since); len(polls) > 2 {
						return nil
					}
					resp := respond(503, "{}")
					resp.Header.Set("Retry-After", asked)
					return resp
				}))
				ids := []string{"a", "b", "c", "d"}[:n]
				for _, err := range c.Runs.WaitAll(t.Context(), ids) {
					if err != nil {
						t.Error(err)
					}
				}
				for i, least := range []time.Duration{bounds[0], 2 * bounds[0]} {
					if at := polls[i+1]; at < least || at > time.Duration(i+1)*bounds[1] {
						t.Errorf("%d runs, Retry-After %s: polls at %v", n, asked, polls)
					}
				}
			})
		}
	}
}

// A wait that ends because its key is refused returns the run as last seen, tells
// its progress so, and returns none of several.
func TestWaitsWhoseKeyIsRefused(t *testing.T) {
	t.Parallel()
	for _, ids := range [][]string{{"a"}, {"a", "b", "c", "d"}} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.Header.Get("Authorization"), "revoked") {
					return respond(401, "{}"), nil
				}
				one := func(id string) string {
					return fmt.Sprintf(`{"id": %q, "status": "running", "agent_name": "seen"}`, id)
				}
				if strings.HasSuffix(r.URL.Path, "/runs") {
					return respond(200, fmt.Sprintf(`{"items": [%s, %s, %s, %s]}`, one("a"), one("b"), one("c"), one("d"))), nil
				}
				return respond(200, one("a")), nil
			}, WithKeySource(revoked(10*time.Second)))
			var last WaitEvent
			pairs := 0
			for run, err := range c.Runs.WaitAll(t.Context(), ids, WithProgress(func(e WaitEvent) { last = e })) {
				pairs++
				var wait *WaitError
				if !errors.As(err, &wait) || !errors.Is(err, ErrUnauthorized) || len(wait.Pending) != len(ids) || wait.LastStatus != "running" {
					t.Errorf("%d runs: %v", len(ids), err)
				}
				if alone := len(ids) == 1; alone != (run != nil && run.AgentName == "seen") {
					t.Errorf("%d runs: %+v", len(ids), run)
				}
			}
			if pairs != 1 || last.Next != 0 || !errors.Is(last.Err, ErrUnauthorized) {
				t.Errorf("%d runs: %d pairs, and the last poll was %+v", len(ids), pairs, last)
			}
		})
	}
}

// revoked is a source of a key that is revoked after a time.
func revoked(after time.Duration) KeySource {
	var once sync.Once
	var start time.Time
	return KeySourceFunc(func(context.Context) (APIKey, error) {
		once.Do(func() { start = time.Now() })
		if time.Since(start) > after {
			return "cnc_revoked", nil
		}
		return testKey, nil
	})
}

// A run whose id comes late is looked at 2 s later, however seldom the others are
// looked at by then.
func TestIDsThatComeLateAreLookedAtSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var late, seen time.Time
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
			status := RunRunning
			if id == "late" {
				status, seen = RunCompleted, time.Now()
			}
			return respond(200, fmt.Sprintf(`{"id": %q, "status": %q, "output": "x"}`, id, status)), nil
		})
		ids := make(chan string)
		go func() {
			ids <- "first"
			time.Sleep(2*time.Minute + 100*time.Millisecond)
			late = time.Now()
			ids <- "late"
		}()
		for run, err := range c.Runs.Watch(t.Context(), ids) {
			if err != nil || run.ID != "late" {
				t.Errorf("%+v, %v", run, err)
			}
			break
		}
		// It may be sooner: a poll for the first run takes it along.
		if took := seen.Sub(late); took > pollInitial+pollInitial/10 {
			t.Errorf("it is looked at after %v", took)
		}
	})
}
