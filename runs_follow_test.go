package connic_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

// runLog is a service with runs that appear, end and are deleted by the local
// clock. Their timestamps are those of another one.
type runLog struct {
	runs     []*loggedRun // newest first
	skew     time.Duration
	statuses string // what becomes of the parameter status: "", "ignored" or "refused"
	envelope string
	fails    bool // every seventh request

	requests, gets int
}

// lookTakes is how long a request takes, and so how long after the end of a context
// one in flight may show a run.
const lookTakes = 100 * time.Millisecond

type loggedRun struct {
	id                              string
	created, appears, ends, deleted time.Time // by the local clock; zero ends and deleted mean never
	status                          string    // at its end
}

func (r *loggedRun) state(now time.Time) string {
	switch {
	case r.ends.IsZero() || now.Before(r.ends):
		return "running"
	default:
		return r.status
	}
}

func (r *loggedRun) visible(now time.Time) bool {
	return !r.appears.After(now) && (r.deleted.IsZero() || now.Before(r.deleted))
}

func (l *runLog) text(r *loggedRun, now time.Time) string {
	return fmt.Sprintf(`{"id":%q,"status":%q,"created_at":%q}`, r.id, r.state(now), r.created.Add(l.skew).Format(time.RFC3339Nano))
}

func (l *runLog) RoundTrip(r *http.Request) (*http.Response, error) {
	l.requests++
	time.Sleep(lookTakes)
	now, q := time.Now(), r.URL.Query()
	if l.fails && l.requests%7 == 0 {
		return respondWith(r, http.StatusServiceUnavailable, ""), nil
	}
	if _, id, one := strings.Cut(r.URL.Path, "/runs/"); one {
		l.gets++
		i := slices.IndexFunc(l.runs, func(run *loggedRun) bool { return run.id == id })
		if i < 0 || !l.runs[i].visible(now) {
			return respondWith(r, http.StatusNotFound, `{"detail":"Run not found"}`), nil
		}
		return respondWith(r, http.StatusOK, l.text(l.runs[i], now)), nil
	}
	if l.statuses == "refused" && q.Has("status") {
		return respondWith(r, http.StatusUnprocessableEntity, `{"detail":"status"}`), nil
	}
	var offset, limit int
	_, _ = fmt.Sscan(q.Get("offset"), &offset)
	_, _ = fmt.Sscan(q.Get("limit"), &limit)
	after, _ := time.Parse(time.RFC3339Nano, q.Get("created_after"))
	before, _ := time.Parse(time.RFC3339Nano, q.Get("created_before"))
	total := 0
	var items []string
	for _, run := range l.runs {
		at := run.created.Add(l.skew)
		switch {
		case !run.visible(now), !at.After(after), !before.IsZero() && !at.Before(before):
		case l.statuses == "" && q.Has("status") && !slices.Contains(q["status"], run.state(now)):
		default:
			if total++; total > offset && len(items) < limit {
				items = append(items, l.text(run, now))
			}
		}
	}
	body := strings.NewReplacer("ITEMS", "["+strings.Join(items, ",")+"]", "TOTAL", fmt.Sprint(total), "MORE", fmt.Sprint(offset+len(items) < total)).Replace(l.envelope)
	return respondWith(r, http.StatusOK, body), nil
}

// newRunLog makes runs from forty minutes ago until lasts from now. Most take minutes,
// some days, some never end, and some are deleted. One of ten appears late.
func newRunLog(r *rand.Rand, perMinute int, lasts time.Duration) *runLog {
	const history = 40 * time.Minute
	l := &runLog{envelope: []string{"ITEMS", `{"items":ITEMS,"total":TOTAL}`, `{"items":ITEMS,"has_more":MORE}`}[r.IntN(3)]}
	start := time.Now().Add(-history)
	add := func(at time.Time) {
		run := &loggedRun{id: fmt.Sprint("r", len(l.runs)), created: at.Add(time.Duration(len(l.runs))), status: "completed"}
		run.appears = run.created
		if r.IntN(10) == 0 {
			run.appears = run.created.Add(time.Duration(r.Int64N(int64(2 * time.Minute))))
		}
		takes := time.Duration(r.Int64N(int64(3 * time.Minute)))
		switch r.IntN(20) {
		case 0:
			takes *= 20
		case 1:
			run.status = "failed"
		case 2:
			takes = 0
		}
		run.ends = run.appears.Add(takes)
		if r.IntN(20) == 0 {
			run.deleted = run.appears.Add(time.Duration(r.Int64N(int64(10 * time.Minute))))
		}
		l.runs = append(l.runs, run)
	}
	for i := range 5 { // active for days
		add(start.Add(-time.Duration(i*24) * time.Hour))
		run := l.runs[i]
		run.appears, run.deleted, run.status = run.created, time.Time{}, "completed"
		run.ends = time.Now().Add(time.Duration(1+2*i) * time.Minute)
	}
	for range perMinute * int((history+lasts)/time.Minute) {
		add(start.Add(time.Duration(r.Int64N(int64(history + lasts)))))
	}
	slices.SortFunc(l.runs, func(a, b *loggedRun) int { return b.created.Compare(a.created) })
	return l
}

// seenRuns counts the events of runs by id.
type seenRuns struct{ started, ended map[string]int }

// follow follows a log for a time.
func (l *runLog) follow(t *testing.T, lasts time.Duration, events connic.FollowEvents, p *connic.RunListParams) (seen seenRuns) {
	t.Helper()
	client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: l})))
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	seen = seenRuns{make(map[string]int), make(map[string]int)}
	for e, err := range client.Runs.Follow(ctx, events, p) {
		switch {
		case err != nil:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it ended with %v", err)
			}
			return seen
		case e.Ended:
			seen.ended[e.Run.ID]++
			if e.Run.Status == connic.RunRunning {
				t.Errorf("%s is running at its end", e.Run.ID)
			}
		default:
			seen.started[e.Run.ID]++
			if seen.ended[e.Run.ID] > 0 {
				t.Errorf("%s starts after its end", e.Run.ID)
			}
		}
	}
	return seen
}

// TestFollowRuns follows services under clocks that differ, quiet and busy, whose
// lists of a status are right, unfiltered or refused. Each start and each end is
// yielded once.
func TestFollowRuns(t *testing.T) {
	t.Parallel()
	const lasts = 12 * time.Minute
	for i, skew := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour, 90 * time.Second} {
		for j, perMinute := range []int{0, 1, 10, 60} {
			for k, statuses := range []string{"", "ignored", "refused"} {
				for _, since := range []bool{false, true} {
					seed := uint64(100*i + 10*j + k)
					if perMinute == 60 && (i+k)%4 != 0 || perMinute == 10 && (i+k)%2 != 0 {
						continue // it takes a second
					}
					t.Run(fmt.Sprintf("%v, %d a minute, statuses %q, since %v", skew, perMinute, statuses, since), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							l := newRunLog(rand.New(rand.NewPCG(seed, 7)), perMinute, lasts)
							l.skew, l.statuses, l.fails = skew, statuses, seed%2 == 0
							begin := time.Now()
							var p connic.RunListParams
							if since {
								p.CreatedAfter = begin.Add(skew - 30*time.Minute)
							}
							seen := l.follow(t, lasts, connic.FollowStarted|connic.FollowEnded, &p)
							l.check(t, seen, begin, begin.Add(lasts), since)
							t.Logf("%d requests, %d of single runs, for %d starts and %d ends", l.requests, l.gets, len(seen.started), len(seen.ended))
						})
					})
				}
			}
		}
	}
}

// check compares what was yielded with what happened.
func (l *runLog) check(t *testing.T, seen seenRuns, begin, end time.Time, since bool) {
	t.Helper()
	const slack, endSlack = 45 * time.Second, 3 * time.Minute // between looks, and those that fail
	var lost, twice, early int
	for _, r := range l.runs {
		started, ended := seen.started[r.id], seen.ended[r.id]
		if started > 1 || ended > 1 {
			twice++
		}
		within := since && r.created.After(begin.Add(-30*time.Minute))
		deleted := !r.deleted.IsZero()
		stays := !deleted || r.deleted.After(r.appears.Add(2*slack))
		if started == 0 && stays && r.appears.Before(end.Add(-slack)) && (within || r.appears.After(begin.Add(slack))) && (!deleted || r.deleted.After(begin.Add(slack))) {
			lost++
		}
		// Whether the list shows all that are active depends on the service.
		known := within || r.created.After(begin) || !since && l.statuses == "" && r.appears.Before(begin) && r.ends.After(begin.Add(slack))
		if ended == 0 && !deleted && known && r.ends.Before(end.Add(-endSlack)) {
			lost++
		}
		if started > 0 && !within && r.appears.Before(begin) || ended > 0 && (r.ends.After(end.Add(lookTakes)) || !within && r.ends.Before(begin)) {
			early++
		}
	}
	if lost > 0 || twice > 0 || early > 0 {
		t.Errorf("of %d runs %d are lost, %d came twice, and %d do not belong", len(l.runs), lost, twice, early)
	}
}

// TestFollowRunsCost measures requests: of a quiet list with a run that is active
// for days behind a hundred others, and for each 1,000 runs.
func TestFollowRunsCost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		perMinute int
		takes     time.Duration
		days      int // runs that are active for days
		most      int // requests an hour without runs, or for 1,000 runs
	}{
		{0, 0, 0, 120},
		{0, 0, 1, 155},
		{0, 0, 101, 190},
		{1000, time.Minute, 0, 75},
		{100, time.Minute, 0, 170},
		{100, 10 * time.Minute, 0, 400},
		{10, time.Minute, 0, 1250},
		{10, time.Minute, 1, 1300},
	} {
		t.Run(fmt.Sprintf("%d a minute for %v, %d for days", test.perMinute, test.takes, test.days), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &runLog{envelope: `{"items":ITEMS,"total":TOTAL}`}
				now := time.Now()
				add := func(at time.Time, takes time.Duration) {
					l.runs = append(l.runs, &loggedRun{id: fmt.Sprint("r", len(l.runs)), created: at, appears: at, ends: at.Add(takes), status: "completed"})
				}
				lasts := time.Hour
				n := 0
				if test.perMinute > 0 {
					n, lasts = 1000, time.Duration(1000/test.perMinute)*time.Minute+test.takes+time.Minute
				}
				for i := range n {
					add(now.Add(time.Duration(n-i)*time.Minute/time.Duration(test.perMinute)), test.takes)
				}
				for i := range 150 {
					add(now.Add(-time.Duration(i)*time.Minute-time.Hour), time.Minute)
				}
				for i := range test.days {
					add(now.Add(-time.Duration(24*60+i)*time.Minute), 1000*time.Hour)
				}
				seen := l.follow(t, lasts, connic.FollowEnded, nil)
				if len(seen.ended) != n || l.requests > test.most {
					t.Errorf("%d requests for %d ends of %d, want at most %d", l.requests, len(seen.ended), n, test.most)
				}
				t.Logf("%d requests, %d of them for single runs", l.requests, l.gets)
			})
		})
	}
}

// TestFollowRunsAgain ends a Follow somewhere, and another one continues from its
// last point: no end is lost.
func TestFollowRunsAgain(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		if raceDetector && seed > 2 { // there are three clocks
			break
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const lasts = 20 * time.Minute
				l := newRunLog(rand.New(rand.NewPCG(seed, 8)), 10, lasts)
				l.skew = []time.Duration{0, time.Hour, -time.Hour}[seed%3]
				begin := time.Now()
				client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: l})))
				seen := seenRuns{make(map[string]int), make(map[string]int)}
				var point time.Time
				for e, err := range client.Runs.Follow(t.Context(), connic.FollowEnded, nil) {
					if err != nil {
						t.Fatal(err)
					}
					seen.ended[e.Run.ID]++
					if point = e.Resume; len(seen.ended) == 40+10*int(seed) {
						break // among the others of its look, perhaps
					}
				}
				time.Sleep(5 * time.Minute) // nobody follows
				rest := l.follow(t, lasts-time.Since(begin), connic.FollowEnded, &connic.RunListParams{CreatedAfter: point})
				lost := 0
				for _, r := range l.runs {
					late := r.ends.After(begin.Add(lasts - 3*time.Minute))
					if r.deleted.IsZero() && !late && r.ends.After(begin.Add(45*time.Second)) && seen.ended[r.id]+rest.ended[r.id] == 0 {
						lost++
					}
				}
				if lost > 0 || len(rest.ended) < 30 {
					t.Errorf("%d ends are lost, %d follow the point %v", lost, len(rest.ended), point)
				}
			})
		})
	}
}

func TestFollowRunsSelects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newRunLog(rand.New(rand.NewPCG(1, 9)), 10, 10*time.Minute)
		failed := l.follow(t, 10*time.Minute, connic.FollowEnded, &connic.RunListParams{Status: []connic.RunStatus{connic.RunFailed}})
		for id := range failed.ended {
			if i := slices.IndexFunc(l.runs, func(r *loggedRun) bool { return r.id == id }); l.runs[i].status != "failed" {
				t.Errorf("%s is %s", id, l.runs[i].status)
			}
		}
		if len(failed.ended) == 0 || len(failed.started) > 0 {
			t.Errorf("%d failed, %d started", len(failed.ended), len(failed.started))
		}
		if seen := l.follow(t, time.Minute, connic.FollowStarted, nil); len(seen.ended) > 0 {
			t.Errorf("%d ends were not asked for", len(seen.ended))
		}
		client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithHTTPClient(&http.Client{Transport: l})))
		requests := l.requests
		for _, err := range client.Runs.Follow(t.Context(), 0, nil) {
			var argument *connic.ArgumentError
			if !errors.As(err, &argument) || l.requests != requests {
				t.Errorf("%v after %d requests", err, l.requests-requests)
			}
		}
	})
}

// More new runs than are held in memory end the iteration.
func TestFollowRunsIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &runLog{envelope: "ITEMS"}
		now := time.Now()
		for i := range 10_200 {
			at := now.Add(-time.Duration(i) * time.Second)
			l.runs = append(l.runs, &loggedRun{id: fmt.Sprint(i), created: at, appears: at, ends: at, status: "completed"})
		}
		client := must[*connic.Client](t)(connic.New("p", "cnc_clock_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{Transport: l})))
		pairs := 0
		for e, err := range client.Runs.Follow(t.Context(), connic.FollowStarted, &connic.RunListParams{CreatedAfter: now.Add(-24 * time.Hour)}) {
			if pairs++; e != nil || !errors.Is(err, connic.ErrPartial) || l.requests > 110 {
				t.Errorf("%v, %v after %d requests", e, err, l.requests)
			}
		}
		if pairs != 1 {
			t.Errorf("%d pairs", pairs)
		}
	})
}
