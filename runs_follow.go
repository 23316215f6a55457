package connic

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/list"
)

// FollowEvents says which events [RunsService.Follow] yields. The values can be
// combined.
type FollowEvents uint8

// The events of a run.
const (
	FollowStarted FollowEvents = 1 << iota // it was created
	FollowEnded                            // it has ended, in whatever status
)

// A FollowedRun is an event of a run.
type FollowedRun struct {
	Run   *Run // as the list shows it, which may lack long fields: see RunsService.Get
	Ended bool // whether the run has ended; otherwise it has started
	// Resume is the CreatedAfter with which another Follow misses nothing that
	// follows this event. It yields some earlier events again. Resume is zero if the
	// service gives no times.
	Resume time.Time
}

const (
	// followRuns limits the new runs of a look, all of which are held in memory,
	// and ten times that number the runs that are remembered.
	followRuns = 10_000
	// followGets limits the runs that are fetched individually every followMax.
	followGets = 25
)

// Follow iterates over runs as they start, or as they end, or both: each event is
// yielded once. It begins with the runs created after p.CreatedAfter, including
// those that have ended since. If p is nil or p.CreatedAfter is zero, it begins
// now: with the runs that start after its first request, and with the ends of all
// that were active then. It ends when the context ends, whose error is in the last
// pair.
//
// The other fields of p select runs. Status applies to the run at the moment of
// the event; CreatedBefore, Limit and Offset are ignored. A status that this
// version of the package does not know counts as an end. The events of a look are
// yielded oldest run first, and a run's start precedes its end. Runs that are
// deleted before Follow has seen an event are not yielded.
//
// A run must become visible within two minutes of its creation. The clock of the
// service may differ from the local one. To continue in another process, store
// [FollowedRun.Resume].
//
// Follow looks 5 s after an event, and then at growing intervals of up to 30 s (see
// [WithPoll]). A look costs one request, plus one per 100 runs since the last one.
// Every 30 s it reads back two minutes, at one request per 100 runs. Active runs
// further down the list, perhaps for days, are looked for 30 s after one of them
// has ended, and then at growing intervals of up to 2 minutes: that costs one
// request per 100 of them, and one for each that has ended. 1,000 runs of a minute
// each cost 1,200 requests if 10 start in a minute, 170 if 100 do, and 75 if 1,000
// do. Requests use [LaneLow].
//
// Failures are treated as by [AuditLogsService.Follow]. More than 10,000 new runs
// in one look, and more than 100,000 remembered ones, end the iteration with
// [ErrPartial]: those are the runs that are active, and those listed within the
// last ten minutes, at about 200 bytes each.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) Follow(ctx context.Context, events FollowEvents, p *RunListParams, opts ...WaitOption) iter.Seq2[*FollowedRun, error] {
	var params RunListParams
	if p != nil {
		params = *p
	}
	statuses := slices.Clone(params.Status)
	params.CreatedBefore, params.Limit, params.Offset, params.Status = time.Time{}, pageLimit, 0, nil
	return func(yield func(*FollowedRun, error) bool) {
		if events&(FollowStarted|FollowEnded) == 0 {
			yield(nil, &ArgumentError{Op: api.Table[api.RunsList].Name, Arg: "events", Reason: "are none of FollowStarted and FollowEnded"})
			return
		}
		f := runFollower{
			follower: newFollower(runListing(s, &params), params.CreatedAfter, runTime, opts),
			service:  s, params: params,
		}
		f.most = followRuns
		if events&FollowEnded != 0 {
			f.open = func(r *Run) bool { return !r.finished() }
		}
		selected := func(r *Run) bool { return len(statuses) == 0 || slices.Contains(statuses, r.effectiveStatus()) }
		f.run(ctx, f.look, func(changes []changed[Run]) bool {
			points := f.resume(changes)
			for i, c := range slices.Backward(changes) {
				for _, ended := range []bool{false, true} {
					wanted := c.fresh && !ended && events&FollowStarted != 0 || c.ended && ended && events&FollowEnded != 0
					point, created := points[i], c.item.CreatedAt
					if !ended && c.ended && !point.IsZero() && !created.IsZero() { // its end may follow
						point = earlier(point, created.Add(-time.Second))
					}
					if wanted && selected(c.item) && !yield(&FollowedRun{c.item, ended, point}, nil) {
						return false
					}
				}
			}
			return true
		}, func(err error) { yield(nil, err) })
	}
}

func runTime(r *Run) time.Time { return r.CreatedAt }

// A runFollower also follows runs that are active where polls do not reach.
type runFollower struct {
	follower[Run]
	service  *RunsService
	params   RunListParams // without a status
	unlisted bool          // runs from before edge may be active
	blind    bool          // the service refuses lists by status
	due      time.Time     // when to look for active runs that polls do not show
	pause    time.Duration // from one such look to the next
}

// look returns the events since the last look, newest run first.
func (f *runFollower) look(ctx context.Context) ([]changed[Run], error) {
	start, first := time.Now(), f.last.IsZero()
	changes, err := f.poll(ctx)
	if err == nil && len(f.known) > 10*followRuns {
		err = f.tooMany("remembered", 10*followRuns)
	}
	if err != nil || f.open == nil {
		return changes, err
	}
	if first {
		f.unlisted = !f.edge.IsZero()
	}
	if !f.unlisted && (!f.deep.Equal(f.last) || start.Before(f.due)) {
		return changes, nil
	}
	more, err := f.rest(ctx, start)
	if f.pause = min(max(f.pause*2, followMax), 4*followMax); len(more) > 0 {
		f.pause = followMax
	}
	f.due = start.Add(f.pause - followInitial) // looks have jitter
	slices.SortStableFunc(more, func(a, b changed[Run]) int { return b.item.CreatedAt.Compare(a.item.CreatedAt) })
	return append(changes, more...), err
}

// rest returns the ends of active runs that a poll did not show.
func (f *runFollower) rest(ctx context.Context, start time.Time) (changes []changed[Run], err error) {
	missing := make(map[string]time.Time) // when they were last listed
	params := f.params
	dated := !f.unlisted
	for id, k := range f.known {
		if !k.open || !k.last.Before(start) {
			continue
		}
		missing[id] = k.last
		dated = dated && !k.timestamp.IsZero()
		if at := k.timestamp.Add(-time.Second); len(missing) == 1 || at.Before(params.CreatedAfter) {
			params.CreatedAfter = at
		}
		if at := k.timestamp.Add(time.Second); at.After(params.CreatedBefore) {
			params.CreatedBefore = at
		}
	}
	if !dated {
		params.CreatedAfter, params.CreatedBefore = f.params.CreatedAfter, time.Time{}
	}
	// seen notes the present state of a run.
	seen := func(r *Run) {
		switch k, known := f.known[r.ID]; {
		case known && k.open:
			f.note(r.ID, f.open(r), time.Now())
			delete(missing, r.ID)
			if !f.open(r) {
				changes = append(changes, changed[Run]{item: r, ended: true})
			}
		case !known && f.unlisted && f.open(r) && !r.CreatedAt.IsZero() && r.CreatedAt.Before(f.edge):
			f.known[r.ID] = listed{timestamp: r.CreatedAt, last: start, open: true}
		}
	}
	if !f.blind && (f.unlisted || len(missing) > 0) {
		if err := f.active(ctx, params, missing, seen); err != nil {
			if v := verdict(err, 0); !v.Refused || v.Hopeless {
				return changes, err
			}
			f.blind = true
		}
	}
	f.unlisted = false
	// What a list of active runs does not show has ended, or was deleted.
	ids := slices.SortedFunc(maps.Keys(missing), func(a, b string) int {
		return cmp.Or(missing[a].Compare(missing[b]), cmp.Compare(a, b))
	})
	for _, id := range ids[:min(len(ids), followGets)] {
		run, err := f.service.Get(ctx, id, append([]RequestOption{WithLane(LaneLow)}, f.conf.request...)...)
		switch {
		case err == nil:
			seen(run)
		case !errors.Is(err, ErrNotFound):
			return changes, err
		default: // it is given up the second time
			k := f.known[id]
			f.known[id] = listed{timestamp: k.timestamp, first: k.first, last: time.Now(), open: !k.gone, gone: true}
		}
	}
	return changes, nil
}

// active lists active runs until all that are missing were seen. A service that
// ignores the status is asked for few pages.
func (f *runFollower) active(ctx context.Context, params RunListParams, missing map[string]time.Time, seen func(*Run)) error {
	params.Status = []RunStatus{RunScheduled, RunQueued, RunRunning, RunAwaitingApproval}
	l := runListing(f.service, &params)
	l.request.lane = LaneLow
	all, ignored := f.unlisted, false
	pages, most := 0, 2+len(missing)/followSettled
	if all {
		most = 10
	}
	err := l.pages(ctx, list.NewWalk(l.id, list.Position{}), f.conf.request, func(items []*Run) bool {
		pages++
		for _, r := range items {
			ignored = ignored || !f.open(r)
			seen(r)
		}
		return len(f.known) <= 10*followRuns && (all || len(missing) > 0) && (!ignored || pages < most)
	})
	if errors.Is(err, ErrPageLoop) {
		return nil // runs are fetched individually
	}
	return err
}

// resume returns the point to resume from after each of the changes, of which the
// last comes first.
func (f *runFollower) resume(changes []changed[Run]) []time.Time {
	points := make([]time.Time, len(changes))
	if len(f.ahead) == 0 {
		return points
	}
	point := f.last.Add(middle(f.ahead) - followLate).Round(0).UTC()
	for _, k := range f.known {
		if k.open && !k.timestamp.IsZero() {
			point = earlier(point, k.timestamp)
		}
	}
	for i, c := range changes {
		points[i] = point.Add(-time.Second)
		if at := c.item.CreatedAt; !at.IsZero() {
			point = earlier(point, at)
		}
	}
	return points
}
