package connic

import (
	"slices"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// sighting is the result of a poll for one wait.
type sighting[T any] struct {
	id    string
	value *T
	event WaitEvent
	part  *part[T]
	done  bool
	err   error // of a part, or of the whole wait, that ended without its item
	all   bool  // the whole wait ends
}

// take returns the sightings since it was last called.
func (x *wait[T]) take() []sighting[T] {
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
func (x *wait[T]) deliver(s sighting[T]) {
	ends := s.done || s.err != nil
	if !ends && x.conf.progress == nil {
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
func (w *watch[T]) covered(now time.Time) {
	for x := range w.waits {
		x.looked(now)
	}
}

// see records the state of an item.
func (w *watch[T]) see(t *thing[T], value *T, now time.Time) {
	t.seen = value
	state := w.kind.state(value)
	for _, p := range slices.Clone(t.parts) {
		x := p.wait
		p.failed = failing{}
		x.polls++
		done := state.done || x.conf.stopAtApproval && state.status == string(RunAwaitingApproval)
		e := w.event(p, now)
		e.Status, e.Phase, e.Done = state.status, state.phase, done
		if done {
			e.Next = 0
		}
		if w.kind.show != nil {
			w.kind.show(&e, value)
		}
		if done {
			value = t.own()
		}
		x.deliver(sighting[T]{id: t.id, value: value, event: e, part: p, done: done})
	}
}

func (w *watch[T]) event(p *part[T], now time.Time) WaitEvent {
	x := p.wait
	return WaitEvent{Kind: w.kind.name, ID: p.thing.id, Polls: x.polls, After: now.Sub(x.start), Next: x.due.Sub(now)}
}

// own returns the item as last seen, for one of its waits: callers must not share
// the same value.
func (t *thing[T]) own() *T {
	if t.seen == nil || len(t.parts) < 2 {
		return t.seen
	}
	copied := *t.seen
	return &copied
}

// fail records a failed poll of an item.
func (w *watch[T]) fail(t *thing[T], err error, now time.Time) {
	for _, p := range slices.Clone(t.parts) {
		x := p.wait
		x.polls++
		e := w.event(p, now)
		e.Err = err
		s := sighting[T]{id: t.id, event: e, part: p}
		if p.failed.ends(err, x.conf.failures, now) {
			s.event.Next = 0
			s.value = t.own()
			s.err = &WaitError{
				Kind: w.kind.name, ID: t.id, Pending: []string{t.id}, LastStatus: mask.Line(w.lastStatus(t), maxID), Polls: x.polls, Err: err,
			}
		}
		x.deliver(s)
	}
}

// failAll records a poll that failed as a whole.
func (w *watch[T]) failAll(err error, now time.Time, ends bool) {
	for x := range w.waits {
		if len(x.parts) == 0 {
			continue
		}
		x.polls++
		over := ends
		for _, p := range x.parts {
			over = p.failed.ends(err, x.conf.failures, now) || over
		}
		e := x.pending(err)
		s := sighting[T]{id: e.ID, event: w.event(x.parts[e.ID], now)}
		s.event.Err = err
		if over {
			s.event.Next = 0
			s.err, s.all = e, true
			s.value = x.parts[e.ID].thing.own()
			if len(e.Pending) > 1 {
				s.value = nil
			}
			for _, p := range x.parts {
				w.drop(p)
			}
		}
		x.deliver(s)
	}
}
