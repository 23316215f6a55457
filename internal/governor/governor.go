// Package governor decides when an attempt may be sent, so that one process, or
// several independent ones, use up a quota without exceeding it.
//
// A Governor has a queue per lane, one mutex and one timer. No slot is reserved
// in advance: a waiter takes its slot when it can actually go.
package governor

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Lane is a priority class of attempts.
type Lane uint8

// The lanes. The values are those of the public type.
const (
	Call   Lane = iota // in order of arrival
	Poll               // polls: ahead of calls, up to half of the window
	Cancel             // ahead of all others, at most three in a row
	Low                // behind all others, but not forever
	lanes
)

// Reason says why an attempt waits or is refused.
type Reason string

// The reasons.
const (
	Paused   Reason = "the service requested a pause"
	Window   Reason = "the quota of this window is used up"
	Reserved Reason = "the rest of this window is reserved for polls of what was started"
	Share    Reason = "this process has used its share of a quota that others use too"
	Outage   Reason = "the service is failing, and requests are spread out until it recovers"
	Flight   Reason = "enough requests are in flight"
	Line     Reason = "others are first in line"
	Late     Reason = "the deadline leaves no time to see the result"
)

// Admission describes an attempt that asks for admission.
type Admission struct {
	Lane   Lane
	Again  bool // refused with a 429 before: goes to the head of its lane
	NoWait bool
	// Spare is the time that must remain before the deadline of the context
	// when the attempt is admitted.
	Spare time.Duration
	// Follow is the number of slots reserved for polls from the moment of
	// admission, as by Reserve.
	Follow int
	// Queued is called if the attempt has to wait. It may panic, call Goexit,
	// block and call the Governor.
	Queued func(Reason, time.Duration)
}

// Refusal is the error of an attempt that is not admitted.
type Refusal struct {
	Wait     time.Duration // minimum time until its turn
	Reason   Reason
	Deadline bool // its turn comes too late
}

func (r *Refusal) Error() string { return string(r.Reason) }

// Kind classifies how an attempt ended.
type Kind uint8

// The kinds. The values are those of the public type.
const (
	Answered Kind = iota
	Refused
	Failed
	NotSent
	Abandoned
)

// Status is a snapshot of the state.
type Status struct {
	Limit                   int
	Window                  time.Duration
	Used, InFlight          int
	Waiting, Polling        int
	Reserved                int
	PausedUntil             time.Time
	Shared                  bool
	ShareOfWindow, Refusals int
}

const (
	// margin is added to the window to allow for inexact clocks. Network delays
	// need no margin: an attempt counts from the end of its round trip.
	margin = 20 * time.Millisecond

	// After outageStreak failures in a row, attempts are spread over the
	// window, so that the end of an outage is noticed soon rather than when the
	// next window opens.
	outageStreak = 10

	// MinPause is the shortest pause after a 429, so that "Retry-After: 0" does
	// not cause a busy loop.
	MinPause = time.Second

	// MaxPause is the longest pause. A longer Retry-After is a mistake or a
	// ban, either of which may be corrected: one attempt asks again after this
	// time.
	MaxPause = 10 * time.Minute
)

// A Governor admits attempts. Create one with New.
type Governor struct {
	n            int
	window, hold time.Duration // a round trip counts for hold after its end
	slow         time.Duration // see flights

	mu sync.Mutex
	flights
	trips

	lines   [lanes]line
	waiting int       // in all lanes
	soonest time.Time // no waiter has to go earlier; zero if none has a deadline
	timer   *time.Timer

	reserved  int       // slots of the window reserved for polls
	contended time.Time // when a call last waited while polls had used their half
	cancels   int       // admitted in a row while others waited
	lowAt     time.Time // when the low lane last went ahead of the others

	answers     int // limits the initial burst; at most n
	refusals    int
	pausedUntil time.Time
	probing     bool // after a pause, one attempt goes first

	failures int // in a row
	pace     *rate.Limiter

	sharing sharing
}

// New returns a Governor for n attempts per window. If n is 0, it only honors
// 429s.
func New(n int, window time.Duration) *Governor {
	if n <= 0 || window <= 0 {
		n, window = 0, max(window, time.Second)
	}
	hold := max(window+min(margin, window/50),
		// the longest windows
		window)
	return &Governor{
		n: n, window: window, hold: hold, slow: max(window/30, 50*time.Millisecond),
		sharing: sharing{n: n, soon: window / soonest},
	}
}

// Acquire waits until an attempt may be sent, and returns the number of its
// permit. It fails with the context's error, or with a *Refusal.
func (g *Governor) Acquire(ctx context.Context, a Admission) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if a.Lane >= lanes {
		a.Lane = Call
	}
	now := time.Now()
	w := waiter{lane: a.Lane, again: a.Again, follow: a.Follow}
	if deadline, ok := ctx.Deadline(); ok {
		if w.latest = deadline.Add(-a.Spare); a.NoWait && now.After(w.latest) {
			return 0, &Refusal{Reason: Late, Deadline: true}
		}
	}
	first := w.attempt(now, g.hold)
	first.noWait = a.NoWait
	var id uint64
	var err error
	g.mu.Lock()
	ok := a.NoWait
	if ok {
		id, err = g.try(now, first)
	} else if g.waiting == 0 && a.Spare == 0 {
		if _, _, ok = g.turn(now, first); ok {
			id = g.admit(now, a.Lane)
		}
	}
	if ok && err == nil {
		g.reserved += a.Follow
	}
	g.mu.Unlock()
	if ok {
		return id, err
	}
	return g.queue(ctx, a, w.latest)
}

// Try admits an attempt if one that can wait may go now. If not, it returns why,
// and when to ask again; the zero time means after the next Release. It is for
// callers that keep a queue of their own; calls says whether it has calls.
func (g *Governor) Try(lane Lane, calls bool) (permit uint64, at time.Time, reason Reason, ok bool) {
	if lane >= lanes {
		lane = Call
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, reason, ok = g.turn(now, attempt{lane: lane, calls: calls}); ok {
		permit = g.admit(now, lane)
	}
	return permit, at, reason, ok
}

// queue waits for the turn of an attempt.
func (g *Governor) queue(ctx context.Context, a Admission, latest time.Time) (uint64, error) {
	w := &waiter{lane: a.Lane, again: a.Again, follow: a.Follow, latest: latest, ready: make(chan struct{})}
	reason, wait := g.join(w, a.Queued != nil)
	// Whatever the caller's code does, do not lose the waiter or its permit.
	taken := false
	defer func() {
		if !taken {
			g.leave(w)
		}
	}()
	if !w.settled() && a.Queued != nil {
		a.Queued(reason, wait)
		g.told(w)
	}
	var late <-chan time.Time
	if a.Spare > 0 && !w.latest.IsZero() {
		timer := time.NewTimer(time.Until(w.latest))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-w.ready:
	case <-late:
		g.giveUp(w, reason)
		<-w.ready
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	taken = true
	if w.refusal != nil {
		return 0, w.refusal
	}
	return w.permit, nil
}

// Release reports how an admitted attempt ended. A permit that is unknown, or
// was already released, is ignored.
func (g *Governor) Release(permit uint64, kind Kind, retryAfter time.Duration) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	f, current, ok := g.land(permit)
	if !ok {
		return
	}
	if g.n > 0 && kind != NotSent {
		g.ended(trip{end: now, refused: kind == Refused, poll: f.lane == Poll})
	}
	switch kind {
	case Answered:
		g.failures = 0
		g.answers = min(g.answers+1, g.n)
		if current {
			g.probing = false
		}
		g.sharing.answered(current)
	case Refused:
		g.failures = 0
		g.refused(now, current, retryAfter)
	case Failed:
		g.failures++
		if current {
			g.probing = false
		}
		if g.failures == outageStreak && g.n > 0 {
			g.pace = rate.NewLimiter(rate.Limit(float64(g.n)/g.window.Seconds()), 1)
		}
	case NotSent, Abandoned: // says nothing about the service
	}
	g.dispatch(now)
}

// refused starts a pause.
func (g *Governor) refused(now time.Time, current bool, wait time.Duration) {
	g.refusals++
	long := wait >= g.window/12
	wait = min(max(wait, MinPause), MaxPause)
	if end := now.Add(wait); end.After(g.pausedUntil) {
		g.pausedUntil = end
	}
	if !current { // sent before a pause that is already known
		g.sweep(now)
		return
	}
	g.newEpoch()
	g.probing = true
	if g.n > 0 {
		g.expire(now)
		g.sharing.refused(now, long, g.served, g.pausedUntil, g.hold)
	}
	// Refuse those that cannot wait that long.
	g.sweep(now)
}

// Reserve reserves that many additional slots of the window for polls; a
// negative number releases slots. Those reserved and those that polls have used
// are at most half of the window. Calls may arrive in any order: only their sum
// counts.
func (g *Governor) Reserve(slots int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reserved += slots
	if slots < 0 {
		g.dispatch(time.Now())
	}
}

// Status returns the current state.
func (g *Governor) Status() Status {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire(now)
	s := Status{
		Limit: g.n, Window: g.window, Used: g.used + g.inFlight, InFlight: g.inFlight,
		Waiting: g.waiting - g.lines[Poll].len, Polling: g.lines[Poll].len,
		Reserved: g.keep(attempt{}), Refusals: g.refusals,
	}
	if g.sharing.active && !g.sharing.over(now, g.hold) {
		s.Shared, s.ShareOfWindow = true, g.sharing.share
	}
	if now.Before(g.pausedUntil) {
		s.PausedUntil = g.pausedUntil
	}
	return s
}
