package connic_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

const bothEvents = connic.FollowStarted | connic.FollowEnded

// add adds a run that takes a time.
func (l *runLog) add(at time.Time, takes time.Duration) *loggedRun {
	r := &loggedRun{id: fmt.Sprint("r", len(l.runs)), created: at, appears: at, ends: at.Add(takes), status: "completed"}
	l.runs = append(l.runs, r)
	return r
}

// TestFollowResumesBetweenStartAndEnd: whichever event was the last one, also the
// start of a run that has ended, another Follow yields all that follow it.
func TestFollowResumesBetweenStartAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &runLog{envelope: "ITEMS"}
		now := time.Now()
		for i := range 60 { // which make the point a recent one
			l.add(now.Add(-time.Duration(i)*time.Second), 0)
		}
		for i := range 3 {
			l.add(now.Add(-time.Duration(30+i)*time.Minute), time.Minute)
		}
		client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: l})))
		for last := range 2 * len(l.runs) {
			var point time.Time
			n, ends := 0, make(map[string]bool)
			for e, err := range client.Runs.Follow(t.Context(), bothEvents, &connic.RunListParams{CreatedAfter: now.Add(-time.Hour)}) {
				if err != nil {
					t.Fatal(err)
				}
				if ends[e.Run.ID] = e.Ended; n == last {
					point = e.Resume
					break
				}
				n++
			}
			rest := l.follow(t, 30*time.Second, bothEvents, &connic.RunListParams{CreatedAfter: point})
			for _, r := range l.runs {
				if !ends[r.id] && rest.ended[r.id] != 1 {
					t.Errorf("after event %d the end of %s is lost", last, r.id)
				}
			}
		}
	})
}

// TestFollowForgetsOnce: runs that were forgotten long ago are not new when the list
// shows them again, because those above were deleted.
func TestFollowForgetsOnce(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{0, time.Hour, -time.Hour} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &runLog{envelope: "ITEMS", skew: skew}
				begin := time.Now()
				for i := range 300 {
					r := l.add(begin.Add(time.Minute+time.Duration(300-i)*2*time.Second), 10*time.Second)
					if i < 110 {
						r.deleted = begin.Add(40 * time.Minute)
					}
				}
				seen := l.follow(t, time.Hour, bothEvents, nil)
				for _, r := range l.runs {
					if seen.started[r.id] != 1 || seen.ended[r.id] != 1 {
						t.Errorf("%s starts %d times and ends %d times", r.id, seen.started[r.id], seen.ended[r.id])
					}
				}
			})
		})
	}
}

// TestFollowYieldsTheOldestFirst also where runs are fetched individually.
func TestFollowYieldsTheOldestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &runLog{envelope: "ITEMS", statuses: "refused"}
		now := time.Now()
		for i := range 200 {
			l.add(now.Add(time.Minute-time.Duration(i)*time.Millisecond), 0)
		}
		for i := range 20 {
			age := time.Duration(i+1) * time.Minute
			l.add(now.Add(-age), age+10*time.Minute).id = fmt.Sprint("old", 99-i)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: l})))
		var last time.Time
		ends := 0
		for e, err := range client.Runs.Follow(ctx, connic.FollowEnded, &connic.RunListParams{CreatedAfter: now.Add(-time.Hour)}) {
			switch {
			case err != nil:
				continue
			case time.Since(now) < 5*time.Minute: // the short ones
				continue
			case e.Run.CreatedAt.Before(last):
				t.Errorf("%s comes after a younger one", e.Run.ID)
			}
			last = e.Run.CreatedAt
			ends++
		}
		if ends != 20 {
			t.Errorf("%d ends", ends)
		}
	})
}

// TestFollowBoundsWhatItRemembers: a service that never shows more than 10,000 new
// runs, and more than 100,000 within ten minutes.
func TestFollowBoundsWhatItRemembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const every = 4 * time.Millisecond
		begin := time.Now()
		client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Millisecond)
			var offset int
			_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &offset)
			newest := int(time.Since(begin) / every)
			var items []string
			for i := newest - offset; i > max(0, newest-offset-100); i-- {
				items = append(items, fmt.Sprintf(`{"id":"r%d","status":"completed","created_at":%q}`, i, begin.Add(time.Duration(i)*every).Format(time.RFC3339Nano)))
			}
			return respondWith(r, http.StatusOK, fmt.Sprintf(`{"items":[%s],"total":%d}`, strings.Join(items, ","), newest)), nil
		})})))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		starts := 0
		for _, err := range client.Runs.Follow(ctx, connic.FollowStarted, nil) {
			if err != nil {
				if !errors.Is(err, connic.ErrPartial) || !strings.Contains(err.Error(), "remembered") {
					t.Error(err)
				}
				break
			}
			starts++
		}
		if starts < 100_000 || starts > 110_000 {
			t.Errorf("it ends after %d starts, %v", starts, cmp.Or(ctx.Err(), errors.New("in time")))
		}
	})
}
