package connic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/list"
)

const (
	// followLate is how late an item may appear: they are written by several
	// machines.
	followLate = 2 * time.Minute
	// followSettled is how many items in a row, all older than that, end a poll.
	// Some that are dated in the future may stand above newer ones.
	followSettled = 25
	// followKept is how long an item is remembered after a poll has listed it.
	followKept    = 5 * followLate
	followInitial = 5 * time.Second
	followMax     = 30 * time.Second
)

// A follower polls a list that grows. What is new it decides by what it has
// listed before, and when that was by the local clock: the timestamp of an item
// says nothing about the others.
type follower[T any] struct {
	listing listing[T] // whose id identifies every item
	at      func(*T) time.Time
	open    func(*T) bool // whether an item may change yet; nil if none does
	most    int           // new items of a poll; 0 means no limit
	conf    waitConfig
	begin   time.Time         // items with earlier timestamps are not reported
	edge    time.Time         // the items before are not known, by the timestamps of the others
	last    time.Time         // when the last poll that succeeded began
	deep    time.Time         // when the last one began that read back to followLate
	known   map[string]listed // by id
	whole   bool              // it has read the list to its end, all of which is known
	longest int               // see list.Walk
	ahead   []time.Duration   // of the local clock: the timestamps of the latest items
}

// listed is an item with its timestamp, and when it was first and last listed.
type listed struct {
	timestamp, first, last time.Time
	open                   bool // see follower
	gone                   bool // it was not found when it was fetched
}

// A changed item is new, or has changed for the last time.
type changed[T any] struct {
	item         *T
	fresh, ended bool
}

// newFollower returns a follower that begins at a time, or with the current end
// of the list if that is zero.
func newFollower[T any](l listing[T], begin time.Time, at func(*T) time.Time, opts []WaitOption) follower[T] {
	l.request.lane = LaneLow
	return follower[T]{
		listing: l, at: at, begin: begin, known: make(map[string]listed),
		conf: newWaitConfig(append([]WaitOption{WithPoll(followInitial, followMax)}, opts...)),
	}
}

// run polls with look until the context ends, yield returns false, or nothing
// helps; then it calls end with the error. The changes of look are the newest
// first.
func (f *follower[T]) run(ctx context.Context, look func(context.Context) ([]changed[T], error), yield func([]changed[T]) bool, end func(error)) {
	if ctx == nil {
		end(&ArgumentError{Op: api.Table[f.listing.request.op].Name, Arg: "context", Reason: "is nil"})
		return
	}
	active := &f.listing.scope.activity
	ctx, stop := active.until(ctx, &active.closing)
	defer stop()
	interval, failures := f.conf.initial, 0
	var refused time.Time // since when all polls were refused
	for {
		changes, err := look(ctx)
		if len(changes) > 0 {
			interval = f.conf.initial
			if !yield(changes) {
				return
			}
		}
		switch {
		case ctx.Err() != nil:
			end(contextError(ctx))
			return
		case err == nil:
			failures, refused = 0, time.Time{}
		default:
			failures++
			v := verdict(err, 0)
			if !v.Refused && !errors.Is(err, ErrPageLoop) {
				refused = time.Time{}
			} else if refused.IsZero() {
				refused = time.Now()
			}
			if v.Hopeless || failures == f.conf.failures || errors.Is(err, ErrPartial) || !refused.IsZero() && time.Since(refused) >= missingFor {
				end(err)
				return
			}
		}
		if err := sleep(ctx, jitter(interval)); err != nil {
			end(contextError(ctx))
			return
		}
		interval = min(time.Duration(float64(interval)*pollGrowth), f.conf.max)
	}
}

// poll returns what has changed. It records that only if the whole poll succeeds,
// so that nothing is lost. Most polls end at the items that are known; every 30 s
// one reads back as far as an item that is late may stand.
func (f *follower[T]) poll(ctx context.Context) ([]changed[T], error) {
	start, begin := time.Now(), f.begin
	first := f.last.IsZero()
	skip := first && begin.IsZero() // the items that there are
	latest := start                 // the timestamps of most items are earlier
	if n := len(f.ahead); n > 0 {
		latest = start.Add(slices.Sorted(slices.Values(f.ahead))[n/10])
	}
	settled, deep := start, start.Sub(f.deep) >= followMax
	if deep {
		settled = f.deep.Add(-followLate)
	}
	var fresh, again []*T
	var changes []changed[T]
	var failed error
	row, stopped := 0, false
	w := list.NewWalk(f.listing.id, list.Position{})
	w.Longest = f.longest
	err := f.listing.pages(ctx, w, f.conf.request, func(items []*T) bool {
		opens := 0
		for _, item := range items {
			timestamp := f.at(item)
			k, known := f.known[f.listing.id(item)]
			// Below those that settle the list stand some that were forgotten.
			early := stopped || !timestamp.IsZero() && timestamp.Before(begin)
			open := f.open != nil && f.open(item)
			switch {
			case known:
				again = append(again, item)
				if open {
					opens++
				}
				if k.open && !open {
					changes = append(changes, changed[T]{item: item, ended: true})
				}
			case skip && !stopped || !early:
				fresh = append(fresh, item)
				changes = append(changes, changed[T]{item: item, fresh: true, ended: !open})
			}
			if known && !k.first.After(settled) && !timestamp.After(latest) || !known && early {
				row++
			} else {
				row = 0
			}
			// The first page settles when the list begins, if nobody says so.
			if skip && len(fresh) == pageLimit {
				if ahead := f.leads(fresh, start); len(ahead) > 0 {
					begin = start.Add(middle(ahead) - followLate)
					for row < pageLimit && f.at(fresh[pageLimit-1-row]).Before(begin) {
						row++
					}
				} else {
					stopped = true
				}
			}
			stopped = stopped || row >= followSettled
		}
		if f.most > 0 && len(fresh) > f.most {
			failed = f.tooMany("new", f.most)
			return false
		}
		if stopped { // further pages may show how many others went on
			return deep && opens >= followSettled
		}
		return row == 0 || !f.whole || len(again) < len(f.known)
	})
	if err = cmp.Or(failed, err); err != nil {
		return nil, err
	}
	f.record(fresh, again, start)
	if stopped && skip {
		f.edge, f.begin = begin, earlier(begin, start.Add(-followLate))
	}
	f.last, f.longest, f.whole = start, w.Longest, !stopped
	if deep {
		f.deep = start
	}
	if skip {
		return nil, nil
	}
	return changes, nil
}

func (f *follower[T]) tooMany(what string, most int) error {
	return fmt.Errorf("connic: %s: %w: more than %d %s are %s", api.Table[f.listing.request.op].Name, ErrPartial, most, f.listing.name, what)
}

// record notes the items of a poll, and forgets those that polls have not reached
// for a while.
func (f *follower[T]) record(fresh, again []*T, start time.Time) {
	now := time.Now()
	latest := f.leads(fresh[:min(len(fresh), pageLimit)], start)
	for _, item := range fresh {
		timestamp := f.at(item)
		k := listed{timestamp: timestamp, first: now, last: now, open: f.open != nil && f.open(item)}
		if f.last.IsZero() { // they are older than the poll
			k.first = start.Add(-followLate)
			age := middle(latest) - timestamp.Sub(start)
			switch {
			case timestamp.IsZero():
			case age < 0:
				k.first = now
			default:
				k.first = start.Add(-age)
			}
		}
		f.known[f.listing.id(item)] = k
	}
	slices.Reverse(latest)
	f.ahead = append(f.ahead, latest...)
	f.ahead = slices.Clone(f.ahead[max(0, len(f.ahead)-2*followSettled):])
	for _, item := range again {
		f.note(f.listing.id(item), f.open != nil && f.open(item), now)
	}
	// What is forgotten is not new if the list shows it again, because others were
	// deleted. The clock of the service may be ahead.
	settled := start.Add(max(0, middle(f.ahead)) - followLate)
	for id, k := range f.known {
		if k.open || now.Sub(k.last) < followKept {
			continue
		}
		delete(f.known, id)
		if at := earlier(k.timestamp, settled); at.After(f.begin) {
			f.begin = at
		}
	}
}

// note records that a known item was listed.
func (f *follower[T]) note(id string, open bool, now time.Time) {
	k := f.known[id]
	k.last, k.open, k.gone = now, k.open && open, false
	f.known[id] = k
}

// leads returns how far timestamps are ahead of the local clock.
func (f *follower[T]) leads(items []*T, now time.Time) (all []time.Duration) {
	for _, item := range items {
		if at := f.at(item); !at.IsZero() {
			all = append(all, at.Sub(now))
		}
	}
	return all
}

// middle returns the median, 0 if there is none.
func middle(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
