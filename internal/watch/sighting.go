package watch

import (
	"slices"
	"time"
)

// A Sighting is the result of a poll for one wait.
type Sighting[T any] struct {
	ID    string
	Value *T // as the poll saw it, shared; or what the wait ends with, its own
	State State
	Polls int
	After time.Duration // since the wait began
	Next  time.Duration // until the next poll; 0 if there is none
	Err   error         // of a failed poll
	Done  bool          // the item has ended
	Ended *Pending      // the item, or the whole wait, ended without it
	All   bool          // the whole wait
	Own   *T            // what the wait ends with

	part *part[T]
}

// take returns the sightings since it was last called.
func (x *Wait[T]) take() []Sighting[T] {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	ready := x.ready
	x.ready = nil
	for i := range ready {
		if ready[i].part != nil {
			ready[i].part.queued = 0
		}
	}
	return ready
}

// deliver adds a sighting to its wait.
func (x *Wait[T]) deliver(s Sighting[T]) {
	ends := s.Done || s.Ended != nil
	if !ends && !x.terms.Every {
		return
	}
	if s.part != nil {
		if i := s.part.queued; i > 0 {
			x.ready[i-1] = s
		} else {
			x.ready = append(x.ready, s)
			s.part.queued = len(x.ready)
		}
		if ends {
			x.watch.drop(s.part)
		}
	} else {
		x.ready = append(x.ready, s)
	}
	select {
	case x.signal <- struct{}{}:
	default:
	}
}

// covered sets the time of the next poll of every wait after a poll of all
// items.
func (w *Watch[T]) covered(now time.Time) {
	for x := range w.waits {
		x.looked(now)
	}
}

// see records the state of an item.
func (w *Watch[T]) see(t *thing[T], value *T, now time.Time) {
	t.seen = value
	state := w.kind.State(value)
	for _, p := range slices.Clone(t.parts) {
		x := p.wait
		p.failed = failing{}
		x.polls++
		s := w.sighting(p, now)
		s.State, s.Value, s.Done = state, value, state.Done || x.terms.StopAtPause && state.Pause
		if s.Done {
			s.Next, s.Own = 0, w.own(t)
		}
		x.deliver(s)
	}
}

func (w *Watch[T]) sighting(p *part[T], now time.Time) Sighting[T] {
	x := p.wait
	return Sighting[T]{ID: p.thing.id, part: p, Polls: x.polls, After: now.Sub(x.start), Next: x.due.Sub(now)}
}

// own returns the item as last seen, for one of its waits: callers must not share
// the same value.
func (w *Watch[T]) own(t *thing[T]) *T {
	if t.seen == nil {
		return nil
	}
	return w.kind.Copy(t.seen)
}

// fail records a failed poll of an item.
func (w *Watch[T]) fail(t *thing[T], err error, now time.Time) {
	for _, p := range slices.Clone(t.parts) {
		x := p.wait
		x.polls++
		v := w.Judge(err)
		if len(x.parts) == 1 {
			x.postpone(v.Pause, now)
		}
		s := w.sighting(p, now)
		s.Err = err
		if p.failed.ends(v, x.terms.Failures, now) {
			s.Next, s.Own = 0, w.own(t)
			s.Ended = &Pending{IDs: []string{t.id}, LastStatus: w.lastStatus(t), Polls: x.polls, Err: err}
		}
		x.deliver(s)
	}
}

// postpone sets the time of the next poll after a response that asks for a
// pause. The limiter does not know of one that is no 429.
func (x *Wait[T]) postpone(pause time.Duration, now time.Time) {
	if until := now.Add(jitter(pause)); pause > 0 && until.After(x.due) {
		x.due = until
	}
}

// failAll records a poll that failed as a whole.
func (w *Watch[T]) failAll(err error, now time.Time, ends bool) {
	for x := range w.waits {
		if len(x.parts) == 0 {
			continue
		}
		x.polls++
		v := w.Judge(err)
		x.postpone(v.Pause, now)
		over := ends
		for _, p := range x.parts {
			over = p.failed.ends(v, x.terms.Failures, now) || over
		}
		e := x.pending(err)
		s := w.sighting(x.parts[e.IDs[0]], now)
		s.part, s.Err = nil, err
		if over {
			s.Next, s.Ended, s.All = 0, e, true
			if len(e.IDs) == 1 {
				s.Own = w.own(x.parts[e.IDs[0]].thing)
			}
			for _, p := range x.parts {
				w.drop(p)
			}
		}
		x.deliver(s)
	}
}
