package redisquota

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
)

// advance does what is due, and sets the timer for what comes next. The mutex is
// held.
func (l *limiter) advance(now time.Time) {
	l.expire(now)
	l.promote(now)
	var at time.Time
	switch {
	case l.alone != nil:
		at = l.dispatch(now)
	case l.busy && !l.late:
		if at = l.due; !now.Before(at) {
			l.late = true
			l.fall(now, l.noAnswer())
			at = l.dispatch(now)
		}
	default:
		if at = l.stepAt(now); !now.Before(at) {
			l.start(now)
			at = l.due
		}
	}
	if at.Equal(never) {
		return
	}
	if wait := max(0, at.Sub(now)); l.timer == nil {
		l.timer = time.AfterFunc(wait, l.tick)
	} else {
		l.timer.Reset(wait)
	}
}

func (l *limiter) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(time.Now())
}

// promote makes calls of what has waited in the low lane for long.
func (l *limiter) promote(now time.Time) {
	for w := l.lines[lows].first; w != nil && now.Sub(w.since) >= lowWindows*l.window; w = l.lines[lows].first {
		w.line.remove(w)
		l.lines[calls].insert(w, true)
	}
}

// stepAt is when the next step is due.
func (l *limiter) stepAt(now time.Time) time.Time {
	at := never
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	waiting := l.waiting() > 0
	if waiting {
		sooner(l.askAt)
	}
	if len(l.open) > 0 {
		sooner(l.stepped.Add(l.lease / 2))
	}
	if l.told < len(l.ended) {
		sooner(l.ended[l.told].ended.Add(l.lazy))
		if waiting && len(l.open) == 0 {
			sooner(now)
		}
	}
	if l.lost || l.urgent {
		sooner(now)
	}
	if l.kept > 0 && l.reserved <= 0 { // others may use them
		sooner(l.stepped.Add(l.lazy))
	}
	return at
}

// start begins a step.
func (l *limiter) start(now time.Time) {
	l.number++
	st := &step{
		number: l.number, quota: l.n, hold: l.hold, lease: l.lease, reserve: min(max(0, l.reserved), l.n),
		settle: l.lost, processes: max(l.known, l.assumed), first: l.last + 1, sent: now,
		open: make([]trip, 0, len(l.open)),
	}
	if l.alone == nil { // and not to see whether the store is back
		for i := range l.lines {
			for w := l.lines[i].first; w != nil && st.want[i] < l.n; w = w.next {
				w.asked = true
				st.want[i]++
			}
			l.last += uint64(st.want[i])
		}
	}
	for _, t := range l.open {
		st.open = append(st.open, t)
	}
	from := l.told
	if l.lost {
		from = 0
		st.pause = max(0, l.paused.Sub(now))
	}
	st.ends = append(st.ends, l.ended[from:]...)
	if now.Sub(l.asked) < l.hold {
		st.asked, st.seen = l.asked, l.seen
	}
	l.told, l.urgent = len(l.ended), false
	l.busy, l.late, l.due = true, false, now.Add(l.budget)
	l.kept = st.reserve
	go l.exchange(st)
}

// errHook is a hook of the user's Redis client that did not return.
var errHook = errors.New("a hook of the Redis client panicked")

// exchange sends a step and takes the answer. It may last longer than the budget;
// nobody waits for it then.
func (l *limiter) exchange(st *step) {
	r, err := (*reply)(nil), errHook
	defer func() {
		// A panic here would be that of a hook, on a goroutine where nobody can
		// recover it.
		_ = recover()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.receive(st, r, err)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), l.budget)
	defer cancel()
	r, err = l.store.run(ctx, st)
}

func (l *limiter) noAnswer() error { return fmt.Errorf("no answer within %v", l.budget) }

// receive takes the answer of a step. The mutex is held.
func (l *limiter) receive(st *step, r *reply, err error) {
	now := time.Now()
	l.busy, l.stepped = false, now
	switch {
	case err == nil && now.Sub(st.sent) > l.budget:
		err = fmt.Errorf("an answer took %v", now.Sub(st.sent).Round(time.Millisecond))
	case errors.Is(err, context.DeadlineExceeded):
		err = l.noAnswer()
	default:
		err = l.safe(err)
	}
	switch {
	case err != nil:
		l.told = 0 // whether it was executed is not known
		if l.alone == nil {
			l.fall(now, err)
		} else {
			l.alone.failed(now, err, l.hold)
		}
	case l.alone != nil:
		l.take(st, r, now)
		l.lost = true
		if l.alone.answered(now, l.hold) {
			l.rise()
		}
	case l.forgotten(r, now):
		// What was granted is not used: the store did not know what counts.
		l.lost, l.told = true, 0
		l.epoch, l.asked = r.epoch, st.sent
		l.events.add(l.observer, Event{Kind: EventLost, Processes: l.processes})
	default:
		l.lost = false
		l.take(st, r, now)
		l.deliver(st, r, now)
	}
	l.advance(now)
}

// forgotten reports whether the store lost what it knew, or counts it for too short
// a time because its clock was set forward and another process asked before this one
// could tell. After a hold without an answer, it had
// nothing to know.
func (l *limiter) forgotten(r *reply, now time.Time) bool {
	switch {
	case l.lost || l.epoch == "":
		return false
	case r.epoch != l.epoch:
		return now.Sub(l.seen) < l.hold+l.lease
	case r.since == 0:
		return now.Sub(l.asked) < l.hold // it forgets nobody so soon
	}
	// The store executed the previous step no earlier than it was sent, and this one
	// by now.
	return now.Sub(l.asked) < l.hold && r.since > now.Sub(l.asked)+l.hold/100
}

func (l *limiter) take(st *step, r *reply, now time.Time) {
	l.epoch, l.pauses, l.asked, l.seen, l.answer, l.processes = r.epoch, r.pauses, st.sent, now, *r, r.processes
	// Processes that were quiet for longer than the store remembers may come back: a
	// lower number is taken over gradually.
	switch {
	case r.known >= l.known:
		l.known, l.knownAt = min(r.known, maxProcesses), now
	case now.Sub(l.knownAt) >= 10*l.hold:
		l.known, l.knownAt = max(r.known, l.known-max(1, l.known/4)), now
	}
	if end := now.Add(r.pause); r.pause > 0 && end.After(l.paused) {
		l.paused = end
	}
}

// deliver hands out what a step was granted.
func (l *limiter) deliver(st *step, r *reply, now time.Time) {
	id := st.first
	l.askAt = now.Add(r.wait)
	for lane, n := range r.give {
		l.left[lane] = st.want[lane] - n
		for range min(n, st.want[lane]) {
			t := trip{id: id, lane: lane, pauses: r.pauses}
			id++
			if !l.grant(lane, t, now) {
				// Whoever asked is gone; what is not named as open is free again.
				l.urgent = true
			}
		}
		if l.left[lane] == 0 && l.lines[lane].len > 0 {
			l.askAt = now // they came after the step began
		}
	}
	l.refuse(now)
	reason := connic.ReasonWindow
	if now.Before(l.paused) {
		reason = connic.ReasonPaused
	}
	for i := range l.lines {
		for w := l.lines[i].first; w != nil; {
			following := w.next
			switch {
			case w.noWait && w.asked:
				l.end(w, &connic.LimitError{Wait: r.wait, Reason: reason})
			case !w.noWait:
				w.tell(reason, r.wait)
			}
			w = following
		}
	}
}
