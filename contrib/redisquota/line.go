package redisquota

import (
	"time"

	"github.com/connic-go/connic"
)

// The lines, in the order in which they are served.
const (
	cancels = iota
	polls
	calls
	lows
	lanes
)

// waiter is an attempt in line.
type waiter struct {
	next, prev *waiter
	line       *line
	ready      chan struct{} // closed under the mutex, after permit or err is set
	permit     connic.Permit
	err        error
	since      time.Time
	deadline   time.Time // of its admission; zero: none
	follow     int
	noWait     bool
	again      bool
	lane       connic.Lane
	notice     chan notice // nil: nobody wants to know
	told       bool
	asked      bool // a step has asked for it
}

type notice struct {
	reason connic.Reason
	wait   time.Duration
}

// line is a list of waiters.
type line struct {
	first, last *waiter
	len         int
}

// insert puts w at the front, or at the end.
func (l *line) insert(w *waiter, front bool) {
	w.line = l
	switch {
	case l.first == nil:
		l.first, l.last = w, w
	case front:
		w.next, l.first.prev, l.first = l.first, w, w
	default:
		w.prev, l.last.next, l.last = l.last, w, w
	}
	l.len++
}

func (l *line) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.line, w.prev, w.next = nil, nil, nil
	l.len--
}

func lineOf(lane connic.Lane) int {
	switch lane {
	case connic.LaneCancel:
		return cancels
	case connic.LanePoll:
		return polls
	case connic.LaneLow:
		return lows
	default:
		return calls
	}
}

func (l *limiter) waiting() int {
	n := 0
	for i := range l.lines {
		n += l.lines[i].len
	}
	return n
}

// tell lets w know, once, that it has to wait.
func (w *waiter) tell(reason connic.Reason, wait time.Duration) {
	if w.notice != nil && !w.told {
		w.told = true
		w.notice <- notice{reason, max(0, wait)}
	}
}

// futile returns the error of a waiter whose turn cannot come in time, with so
// many of this process ahead of it. Admissions in flight may be given back, so they
// count as free.
func (l *limiter) futile(w *waiter, now time.Time, ahead int) error {
	at, reason := now, connic.ReasonWindow
	if place := ahead - max(0, l.n-l.answer.used) - l.answer.open; l.alone == nil && l.answer.first > 0 && place >= 0 {
		at = l.seen.Add(l.answer.first + time.Duration(place/l.n)*l.hold)
	}
	if l.paused.After(at) {
		at, reason = l.paused, connic.ReasonPaused
	}
	wait := at.Sub(now)
	switch {
	case wait <= 0:
		return nil
	case !w.deadline.IsZero() && at.After(w.deadline):
		return &connic.LimitError{Wait: wait, Reason: reason, Deadline: true}
	case w.noWait:
		return &connic.LimitError{Wait: wait, Reason: reason}
	}
	return nil
}

// refuse ends the waiters that are in line in vain.
func (l *limiter) refuse(now time.Time) {
	ahead := 0
	for i := range l.lines {
		for w := l.lines[i].first; w != nil; {
			following := w.next
			if err := l.futile(w, now, ahead); err != nil {
				l.end(w, err)
			} else {
				ahead++
			}
			w = following
		}
	}
}

func (l *limiter) end(w *waiter, err error) {
	w.line.remove(w)
	w.err = err
	close(w.ready)
}

// grant admits the first of a lane. It reports false if nobody is there.
func (l *limiter) grant(lane int, t trip, now time.Time) bool {
	for w := l.lines[lane].first; w != nil; w = l.lines[lane].first {
		if !w.deadline.IsZero() && now.After(w.deadline) {
			l.end(w, &connic.LimitError{Reason: connic.ReasonTooLate, Deadline: true})
			continue
		}
		w.line.remove(w)
		w.permit = connic.Permit{ID: t.id}
		l.open[t.id] = t
		l.reserved += w.follow
		close(w.ready)
		return true
	}
	return false
}
