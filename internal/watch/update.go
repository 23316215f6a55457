package watch

import (
	"slices"
	"time"
)

// MissingFor is how long a refusal must persist before a wait ends: something
// just created may not be visible yet, and a proxy may stand in for the service.
const MissingFor = 15 * time.Second

// An Update is the result of a poll for one wait.
type Update[T any] struct {
	ID    string
	Value *T // from the response; shared by all waits, and never modified
	Own   *T // what the wait ends with; the caller's
	State State
	Polls int
	After time.Duration // since the wait began
	Next  time.Duration // until the next poll; 0 if there is none
	Err   error         // of a failed poll
	Done  bool          // the item has ended
	Ended *Pending      // the item, or the whole wait, ended without it
	All   bool          // the whole wait

	share *share[T]
}

// Pending describes a wait that ended before its items did.
type Pending struct {
	IDs        []string
	LastStatus string // of the first
	Polls      int
	Err        error
}

// failures counts consecutive failed polls of an item.
type failures struct {
	n       int
	refused time.Time // since when, if the last ones were refused
}

// end records a failed poll and reports whether the wait ends.
func (f *failures) end(v Verdict, most int, now time.Time) bool {
	f.n++
	switch {
	case !v.Refused:
		f.refused = time.Time{}
	case f.refused.IsZero():
		f.refused = now
	case now.Sub(f.refused) >= MissingFor:
		return true
	}
	return v.Hopeless || most > 0 && f.n >= most
}

// take returns the updates since it was last called.
func (x *Wait[T]) take() []Update[T] {
	ready := x.ready
	x.ready = nil
	for i := range ready {
		if s := ready[i].share; s != nil {
			s.queued = 0
		}
	}
	return ready
}

// deliver adds an update to its wait. An item that is not fetched in time has
// only its latest one.
func (x *Wait[T]) deliver(u Update[T]) {
	ends := u.Done || u.Ended != nil
	switch {
	case !ends && !x.terms.Every:
		return
	case u.share == nil && len(x.ready) > 0 && x.ready[len(x.ready)-1].share == nil:
		x.ready[len(x.ready)-1] = u
	case u.share == nil:
		x.ready = append(x.ready, u)
	case u.share.queued > 0:
		x.ready[u.share.queued-1] = u
	default:
		x.ready = append(x.ready, u)
		u.share.queued = len(x.ready)
	}
	if ends && u.share != nil {
		x.watch.drop(u.share)
	}
	x.Wake()
}

func (w *Watch[T]) update(s *share[T], now time.Time) Update[T] {
	u := Update[T]{ID: s.item.id, share: s, Polls: s.wait.polls, After: now.Sub(s.wait.start), Next: s.wait.due.Sub(now)}
	if u.Next <= 0 { // other items of the wait come first
		u.Next = w.pace()
	}
	return u
}

// own returns a copy of an item as last seen, or nil.
func (w *Watch[T]) own(t *item[T]) *T {
	if t.last == nil {
		return nil
	}
	return w.kind.Copy(t.last)
}

// see records a response about an item.
func (w *Watch[T]) see(t *item[T], value *T, now time.Time) {
	resumed := t.last != nil && w.kind.State(t.last).Pause
	t.last, t.ended = value, false
	state := w.kind.State(value)
	resumed = resumed && !state.Pause
	for _, s := range slices.Clone(t.shares) {
		if resumed {
			s.wait.soon()
		}
		s.failed = failures{}
		s.wait.polls++
		u := w.update(s, now)
		u.State, u.Value, u.Done = state, value, state.Done || s.wait.terms.StopAtPause && state.Pause
		if u.Done {
			u.Next, u.Own = 0, w.own(t)
		}
		s.wait.deliver(u)
	}
}

// fail records a failed poll for an item.
func (w *Watch[T]) fail(t *item[T], err error, now time.Time) {
	v := w.conf.Judge(err)
	t.ended = false // until the list shows it again
	for _, s := range slices.Clone(t.shares) {
		x := s.wait
		x.polls++
		if len(x.shares) == 1 {
			x.postpone(v.Pause, now)
		}
		u := w.update(s, now)
		u.Err = err
		if s.failed.end(v, x.terms.Failures, now) {
			u.Next, u.Own = 0, w.own(t)
			u.Ended = &Pending{IDs: []string{t.id}, LastStatus: w.lastStatus(t), Polls: x.polls, Err: err}
		}
		x.deliver(u)
	}
}

// failAll records a poll that failed as a whole. It ends all waits if ends is
// set.
func (w *Watch[T]) failAll(err error, now time.Time, ends bool) {
	v := w.conf.Judge(err)
	for x := range w.waits {
		if len(x.shares) == 0 {
			continue
		}
		x.polls++
		x.postpone(v.Pause, now)
		over := ends
		for _, s := range x.shares {
			over = s.failed.end(v, x.terms.Failures, now) || over
		}
		p := x.pending(err)
		first := x.shares[p.IDs[0]]
		u := w.update(first, now)
		u.share, u.Err = nil, err
		if over {
			u.Next, u.Ended, u.All = 0, p, true
			if len(p.IDs) == 1 {
				u.Own = w.own(first.item)
			}
			for _, s := range x.shares {
				w.drop(s)
			}
		}
		x.deliver(u)
	}
}

// pending describes the wait if it ends now.
func (x *Wait[T]) pending(err error) *Pending {
	p := &Pending{Polls: x.polls, Err: err}
	for _, id := range x.order {
		if x.shares[id] != nil {
			p.IDs = append(p.IDs, id)
		}
	}
	if len(p.IDs) > 0 {
		p.LastStatus = x.watch.lastStatus(x.shares[p.IDs[0]].item)
	}
	return p
}

func (w *Watch[T]) lastStatus(t *item[T]) string {
	if t.last == nil {
		return ""
	}
	return w.kind.State(t.last).Status
}
