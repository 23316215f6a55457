package redisquota

import (
	"math/rand/v2"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/governor"
)

// alone is the state of a limiter whose store is unreachable.
type alone struct {
	cause   error
	cancels int // admitted in a row

	local *governor.Governor // shares the quota by learning from 429s
	most  int                // the process's part of a window
	gap   time.Duration      // at least between two attempts
	last  time.Time          // when an attempt last began or ended
	learn bool               // the gap follows from refusals: the number of processes is not known

	reserved int // what the local limiter reserves for polls

	probeAt time.Time
	backoff time.Duration
	good    int // answers in a row
}

// careful is the fraction of the quota that processes divide among themselves
// while they cannot see each other: their last responses may date from
// different instants.
const careful = 0.9

// fall makes the limiter work alone. The mutex is held.
func (l *limiter) fall(now time.Time, cause error) {
	a := &alone{cause: cause, most: l.n, backoff: l.hold / 120, learn: true}
	if len(l.ended) > 0 {
		a.last = l.ended[len(l.ended)-1].ended
	}
	if k := max(l.known, l.assumed); k > 1 {
		part := careful * float64(l.n) / float64(k)
		a.most, a.learn = max(1, int(part)), false
		if part < 1 {
			// Not all at once.
			a.gap = time.Duration(float64(l.hold) / part)
			if at := now.Add(-rand.N(a.gap)); at.After(a.last) { //nolint:gosec // spreads load, guards nothing
				a.last = at
			}
		}
	}
	a.local = governor.New(a.most, l.window)
	a.failed(now, cause, l.hold)
	l.alone, l.lost, l.told, l.left = a, true, 0, [lanes]int{}
	l.events.add(l.observer, Event{Kind: EventFallback, Err: cause, Processes: l.processes})
}

// rise returns to the store, which has been told everything.
func (l *limiter) rise() {
	l.alone, l.askAt, l.left = nil, time.Time{}, [lanes]int{}
	l.lost = false
	l.events.add(l.observer, Event{Kind: EventBack, Processes: l.processes})
}

// failed postpones the next probe of the store: by a sixtieth of a window at
// first, and a sixth at most.
func (a *alone) failed(now time.Time, cause error, hold time.Duration) {
	a.cause, a.good = cause, 0
	a.backoff = min(2*a.backoff, hold/6)
	a.probeAt = now.Add(a.backoff/2 + rand.N(a.backoff)) //nolint:gosec // spreads load, guards nothing
}

// answered reports whether the store is back: it responded twice in time.
func (a *alone) answered(now time.Time, hold time.Duration) bool {
	a.good++
	a.probeAt = now.Add(hold / 600)
	return a.good >= 2
}

// dispatch admits waiters without the store, probes whether it is back, and
// returns when to continue. The mutex is held.
func (l *limiter) dispatch(now time.Time) time.Time {
	a := l.alone
	next := l.admitAlone(now)
	// Probe the store only while it may be needed.
	if needed := l.waiting() > 0 || len(l.open) > 0 || len(l.ended) > 0; needed && !l.busy {
		if !now.Before(a.probeAt) {
			l.start(now)
		} else if a.probeAt.Before(next) {
			next = a.probeAt
		}
	}
	return next
}

// admitAlone admits as many waiters as the process's part allows, and returns
// when to try again.
func (l *limiter) admitAlone(now time.Time) time.Time {
	a := l.alone
	a.local.Reserve(l.reserved - a.reserved)
	a.reserved = l.reserved
	for {
		candidates := l.candidates()
		if len(candidates) == 0 {
			return never
		}
		reason, at := reasonAlone, l.partAt(now)
		if at.Before(l.paused) {
			reason, at = connic.ReasonPaused, l.paused
		}
		if !now.Before(at) {
			admitted := false
			at = never
			for _, lane := range candidates {
				permit, again, why, ok := a.local.Try(governor.Lane(l.lines[lane].first.lane), l.lines[calls].len > 0)
				if ok {
					l.last++
					a.last = now
					if a.cancels++; lane != cancels {
						a.cancels = 0
					}
					t := trip{id: l.last, lane: lane, pauses: l.pauses, permit: permit, by: a.local}
					if !l.grant(lane, t, now) { // its deadline had passed
						a.local.Release(permit, governor.NotSent, 0)
					}
					admitted = true
					break
				}
				reason = connic.Reason(why)
				if soon := now.Add(l.hold / 200); again.Before(soon) {
					again = soon
				}
				if again.Before(at) {
					at = again
				}
			}
			if admitted {
				continue
			}
		}
		l.waitAlone(now, at, reason)
		return at
	}
}

// waitAlone notifies the queued attempts that they wait.
func (l *limiter) waitAlone(now, at time.Time, reason connic.Reason) {
	for i := range l.lines {
		for w := l.lines[i].first; w != nil; {
			following := w.next
			if w.noWait {
				l.end(w, &connic.LimitError{Wait: at.Sub(now), Reason: reason})
			} else {
				w.tell(reason, at.Sub(now))
			}
			w = following
		}
	}
}

// inARow is the number of cancels that go before another lane has a turn.
const inARow = 3

// candidates returns the lanes that have waiters, in order of precedence. Polls and
// calls are in order of arrival if they cannot have half of the part each.
func (l *limiter) candidates() (waiting []int) {
	order := [lanes]int{cancels, polls, calls, lows}
	if p, c := l.lines[polls].first, l.lines[calls].first; l.alone.most < 2 && p != nil && c != nil && c.since.Before(p.since) {
		order[1], order[2] = calls, polls
	}
	if l.alone.cancels >= inARow {
		copy(order[:], order[1:])
		order[lanes-1] = cancels
	}
	for _, lane := range order {
		if l.lines[lane].first != nil {
			waiting = append(waiting, lane)
		}
	}
	return waiting
}

// partAt returns when the process's part allows another admission.
func (l *limiter) partAt(now time.Time) time.Time {
	a := l.alone
	at := a.last.Add(a.gap)
	if l.counting(now) >= a.most {
		freed := now.Add(l.hold / 60) // all in flight: a Release comes first
		for i := range l.ended {
			if t := &l.ended[i]; t.kind != connic.OutcomeNotSent && now.Sub(t.ended) < l.hold {
				freed = t.ended.Add(l.hold)
				break
			}
		}
		if freed.After(at) {
			at = freed
		}
	}
	return at
}

// ended takes the end of an attempt into account. Where slots of the quota are
// returned one by one, many processes that each ask for the next one exceed it:
// the gap grows with refusals that name a short wait, and shrinks with answers.
func (a *alone) ended(now time.Time, o connic.Outcome, n int, hold time.Duration) {
	if o.Kind != connic.OutcomeNotSent {
		a.last = now
	}
	if !a.learn {
		return
	}
	unit := hold / time.Duration(n)
	switch {
	case o.Kind == connic.OutcomeRefused && o.RetryAfter < hold/12:
		a.gap = min(max(2*a.gap, unit), hold/2)
	case o.Kind == connic.OutcomeAnswered:
		if a.gap -= a.gap / 8; a.gap < unit/2 {
			a.gap = 0
		}
	}
}
