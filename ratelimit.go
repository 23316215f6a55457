package connic

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The service's documented quota.
const (
	defaultQuota  = 60
	defaultWindow = time.Minute
)

// A Limiter admits the attempts of one or more Clients: every request that is
// sent, retries and polls included, asks it first. [NewLimiter] makes one.
//
// Share one Limiter between the Clients of one project in a process. Implement
// the interface to share the quota between processes through a store of your
// own. An implementation must be safe for concurrent use.
type Limiter interface {
	// Acquire waits until one attempt may be sent. It returns early with the
	// context's error, or with a *LimitError when the attempt's turn cannot come
	// before the context's deadline. After a Release with [OutcomeRefused] it
	// admits nobody until RetryAfter has passed.
	Acquire(ctx context.Context, a Admission) (Permit, error)
	// Release tells how an admitted attempt ended. It is called exactly once for
	// each Permit, as soon as the service must have seen the request: when its
	// answer's headers are there, or when the attempt failed.
	Release(p Permit, o Outcome)
	// Status describes the current state.
	Status() RateLimitStatus
}

// Admission is the request of one attempt to be sent.
type Admission struct {
	Lane Lane
	// Again is set when the service refused this attempt with 429: it goes back
	// to the head of the line.
	Again bool
	// NoWait asks for a *LimitError instead of a wait.
	NoWait bool
	// Queued, if not nil, is called when the attempt has to wait: with the reason
	// and the time until its turn, as far as it can be told. It must be quick and
	// must not call the Limiter.
	Queued func(reason Reason, wait time.Duration)
}

// Lane is a priority class of attempts.
type Lane uint8

const (
	// LaneCall is for calls that somebody is waiting for.
	LaneCall Lane = iota
	// LanePoll is for the polls of Wait and WaitAll. They go when no call waits,
	// or when they have waited for half a window.
	LanePoll
	// LaneCancel is for what stops a run: it goes to the head of the line.
	LaneCancel
	// LaneLow is for the caller's own background calls. They go last.
	LaneLow
)

// Permit is the leave to send one attempt. It belongs to the Limiter that gave it.
type Permit struct {
	// ID is the Limiter's own, and means nothing to anybody else.
	ID uint64
}

// Outcome tells a [Limiter] how an attempt ended.
type Outcome struct {
	Kind OutcomeKind
	// RetryAfter is the wait that the service named with a refusal, 0 if none.
	RetryAfter time.Duration
}

// OutcomeKind classifies outcomes.
type OutcomeKind uint8

const (
	// OutcomeAnswered is any answer but 429 and the server errors.
	OutcomeAnswered OutcomeKind = iota
	// OutcomeRefused is an answer with status 429.
	OutcomeRefused
	// OutcomeFailed is a server error, or an attempt without an answer.
	OutcomeFailed
	// OutcomeNotSent is an attempt of which not a byte reached the service. It
	// costs no quota.
	OutcomeNotSent
)

// RateLimitStatus is the state of a [Limiter] at one instant.
type RateLimitStatus struct {
	Limit  int           // attempts per window; 0 means no limit of the client's own
	Window time.Duration // the window
	// Used is how many attempts of this Limiter count against the window now,
	// those in flight included. Other processes' attempts are not known.
	Used     int
	InFlight int
	// Waiting and Polling are the attempts that wait in the two lanes.
	Waiting, Polling int
	// PausedUntil is the end of the pause that the service asked for with a 429;
	// the zero time when there is none.
	PausedUntil time.Time
	// Shared is set while 429s show that others use the quota too; Share is then
	// this Limiter's part of a window, as far as it has found out.
	Shared bool
	Share  int
	// Refusals counts the 429s since the Limiter was made.
	Refusals int
	// Fallback says why a Limiter that several processes share works on its own
	// for the moment: its store cannot be reached, or is slow. "" means that it
	// does not.
	Fallback string
}

// Available is how many attempts could be sent at once, going by this Limiter's
// own count: -1 without a limit.
func (s RateLimitStatus) Available() int {
	switch {
	case !s.PausedUntil.IsZero():
		return 0
	case s.Limit == 0:
		return -1
	}
	return max(0, s.Limit-s.Used)
}

// Reason says why an attempt waits, or was refused by the client itself.
type Reason string

// Why an attempt waits.
const (
	reasonPause  Reason = "the service asked for a pause"
	reasonWindow Reason = "the quota of this window is used up"
	reasonShare  Reason = "this process has had its share of a quota that others use too"
	reasonOutage Reason = "the service fails, and requests are spread out until it recovers"
	reasonFlight Reason = "enough requests are in flight"
	reasonLine   Reason = "others are first in line"
)

const (
	// margin is added to the window against clocks that are not exact. The delays
	// of the network need none: an attempt counts from the end of its round trip.
	margin = 20 * time.Millisecond

	// outageStreak failures in a row spread the attempts over the window, so that
	// the end of an outage is seen soon and not when the next window opens.
	outageStreak = 10

	// minPause is the shortest pause after a 429: "Retry-After: 0" is no excuse
	// for spinning.
	minPause = time.Second
	// maxPause bounds what a Retry-After can do to the whole client.
	maxPause = 24 * time.Hour
	// maxQueuePause is the longest pause that attempts wait for in line. In a
	// longer one they are refused at once.
	maxQueuePause = 2 * time.Minute
)

// NewLimiter returns a Limiter for n attempts per window, to be passed to
// [WithLimiter] of every Client that shares the quota. n of 0 makes one without
// a window of its own, which only honours the service's 429s.
//
// It never lets more than n attempts reach the service within a window: an
// attempt counts until a window after the end of its round trip, so neither the
// network nor a slow upload can bunch arrivals. Nothing is paced beyond that: a
// burst of n on an unused quota goes out as fast as answers to its first few
// show that the quota is really there.
//
// A 429 stops everybody until its Retry-After has passed; the refused attempt
// goes back to the head of the line. After that the Limiter looks for the share
// of the quota that other processes leave, and wins back the rest when they stop.
func NewLimiter(n int, window time.Duration) Limiter { return newGovernor(n, window) }

func newGovernor(n int, window time.Duration) *governor {
	if n <= 0 || window <= 0 {
		n, window = 0, max(window, time.Second)
	}
	return &governor{
		n: n, window: window, hold: window + min(margin, window/50),
		sharing: sharing{n: n, soon: window / soonest},
	}
}

// governor is the Limiter of this package: one mutex, one line of waiters per
// lane, one timer. A waiter takes its turn when it really can go; nothing is
// reserved beforehand.
type governor struct {
	n            int
	window, hold time.Duration // a round trip counts for hold after its end

	mu       sync.Mutex
	inFlight int
	// trips is a ring of the round trips that count, oldest first. It grows to n.
	trips      []trip
	head, used int
	served     int // those of them that were not refused

	calls, polls line
	timer        *time.Timer

	answers     int // bounds the burst of the beginning; at most n
	refusals    int
	pauses      uint64
	pausedUntil time.Time
	probing     bool // after a pause one attempt goes first

	failures int // in a row
	pace     *rate.Limiter

	sharing sharing
}

// trip is a round trip that ended.
type trip struct {
	end     time.Time
	refused bool
}

// waiter is an attempt in line.
type waiter struct {
	next, prev *waiter
	line       *line
	ready      chan struct{} // closed under the mutex, after permit or err is set
	permit     Permit
	err        error
	since      time.Time
	deadline   time.Time // zero: none
}

// line is a list of waiters.
type line struct {
	first, last *waiter
	len         int
}

// insert puts w before the waiter at, or at the end if at is nil.
func (l *line) insert(w, at *waiter) {
	w.line, w.next, w.prev = l, at, l.last
	if at != nil {
		w.prev, at.prev = at.prev, w
	} else {
		l.last = w
	}
	if w.prev != nil {
		w.prev.next = w
	} else {
		l.first = w
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

// Acquire implements [Limiter].
func (g *governor) Acquire(ctx context.Context, a Admission) (Permit, error) {
	if err := ctx.Err(); err != nil {
		return Permit{}, err
	}
	now := time.Now()
	g.mu.Lock()
	at, reason, ok := g.turn(now)
	if ok && (a.Again || g.calls.len == 0 && (a.Lane == LaneCall || g.polls.len == 0)) {
		p := g.admit(now)
		g.mu.Unlock()
		return p, nil
	}
	if ok {
		reason = reasonLine
	}
	if a.NoWait {
		wait := max(0, g.earliest(now, g.calls.len).Sub(now))
		g.mu.Unlock()
		return Permit{}, &LimitError{Wait: wait, Reason: reason}
	}
	w := &waiter{ready: make(chan struct{}), since: now}
	w.deadline, _ = ctx.Deadline()
	ahead := g.calls.len
	switch {
	case a.Again:
		g.calls.insert(w, g.calls.first)
		ahead = 0
	case a.Lane == LanePoll:
		ahead += g.polls.len
		g.polls.insert(w, nil)
	default:
		g.calls.insert(w, nil)
	}
	earliest := g.earliest(now, ahead)
	if err := g.futile(w, now, earliest, reason); err != nil {
		w.line.remove(w)
		g.mu.Unlock()
		return Permit{}, err
	}
	g.arm(now, at)
	g.mu.Unlock()

	if a.Queued != nil {
		a.Queued(reason, earliest.Sub(now))
	}
	select {
	case <-w.ready:
		return w.permit, w.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.line != nil {
		w.line.remove(w)
	} else if w.err == nil { // it was admitted in this very moment
		g.inFlight--
		g.dispatch(time.Now())
	}
	return Permit{}, ctx.Err()
}

// futile returns the error of a waiter whose turn cannot come in time.
func (g *governor) futile(w *waiter, now, earliest time.Time, reason Reason) error {
	wait := max(0, earliest.Sub(now))
	if !w.deadline.IsZero() && earliest.After(w.deadline) {
		return &LimitError{Wait: wait, Reason: "the deadline comes first; " + reason, Deadline: true}
	}
	if g.pausedUntil.Sub(now) > maxQueuePause {
		return &LimitError{Wait: wait, Reason: Reason(fmt.Sprintf("the service asked for a pause of more than %v", maxQueuePause))}
	}
	return nil
}

// turn reports whether an attempt may go now. If not it says why, and when to
// ask again: the zero time means after the next Release.
func (g *governor) turn(now time.Time) (at time.Time, reason Reason, ok bool) {
	g.expire(now)
	if now.Before(g.pausedUntil) {
		return g.pausedUntil, reasonPause, false
	}
	if g.n > 0 && g.used+g.inFlight >= g.n {
		return g.oldest(), reasonWindow, false
	}
	bound := g.burst()
	if s := &g.sharing; s.active {
		if s.over(now, g.hold) {
			s.stop(g.window)
			g.answers = 0
		} else {
			bound = sharedFlight
			if !s.within(g.served + g.inFlight) {
				if at = s.look(g.calls.len, g.pausedUntil, g.hold); now.Before(at) {
					if first := g.oldest(); !first.IsZero() && first.Before(at) {
						at = first
					}
					return at, reasonShare, false
				}
				bound = 1
			}
		}
	}
	if g.probing {
		bound = 1
	}
	if g.inFlight >= bound {
		return time.Time{}, reasonFlight, false
	}
	if g.outage() {
		if missing := 1 - g.pace.TokensAt(now); missing > 0 {
			wait := time.Duration(missing / float64(g.pace.Limit()) * float64(time.Second))
			return now.Add(wait + time.Millisecond), reasonOutage, false
		}
	}
	return now, "", true
}

// admit counts one attempt as in flight. It follows a turn that said ok.
func (g *governor) admit(now time.Time) Permit {
	if g.outage() {
		g.pace.AllowN(now, 1)
	}
	g.sharing.admitted(now, g.served+g.inFlight)
	g.inFlight++
	return Permit{ID: g.pauses}
}

// outage reports whether attempts are spread out because the service fails.
func (g *governor) outage() bool { return g.pace != nil && g.failures >= outageStreak }

// expire forgets the round trips that do not count any more.
func (g *governor) expire(now time.Time) {
	for g.used > 0 && now.Sub(g.trips[g.head].end) >= g.hold {
		if !g.trips[g.head].refused {
			g.served--
		}
		g.head = (g.head + 1) % len(g.trips)
		g.used--
	}
}

// oldest is when the oldest round trip stops to count; the zero time if none does.
func (g *governor) oldest() time.Time {
	if g.used == 0 {
		return time.Time{}
	}
	return g.trips[g.head].end.Add(g.hold)
}

// burst bounds the attempts in flight while nobody else is seen: a few at first,
// and soon all, as answers show that there is quota to be had. So a few requests
// are refused, and not a window of them, when several processes start into one
// quota.
func (g *governor) burst() int {
	if g.n == 0 {
		return math.MaxInt
	}
	n, c := float64(g.n), float64(g.answers)
	return max(4, int(math.Ceil(0.07*n+0.85*c*c/n)))
}

// earliest is a lower bound of the instant at which a waiter with so many others
// ahead of it can go.
func (g *governor) earliest(now time.Time, ahead int) time.Time {
	at := now
	if free := g.n - g.used - g.inFlight; g.n > 0 && ahead >= free {
		// Slots return in the order in which the round trips ended, those in
		// flight last and not before a full window from now, and so on round.
		place := ahead - max(free, 0)
		rounds := place / g.n
		if place %= g.n; place < g.used {
			at = g.trips[(g.head+place)%len(g.trips)].end.Add(g.hold)
		} else {
			at = now.Add(g.hold)
		}
		at = at.Add(time.Duration(rounds) * g.hold)
	}
	if at.Before(g.pausedUntil) {
		at = g.pausedUntil
	}
	return at
}

// next is the waiter whose turn it is, nil if nobody waits.
func (g *governor) next(now time.Time) *waiter {
	if p := g.polls.first; p != nil && (g.calls.first == nil || now.Sub(p.since) >= g.window/2) {
		return p
	}
	return g.calls.first
}

// dispatch admits waiters as long as they can go.
func (g *governor) dispatch(now time.Time) {
	for w := g.next(now); w != nil; w = g.next(now) {
		at, _, ok := g.turn(now)
		if !ok {
			g.arm(now, at)
			return
		}
		w.line.remove(w)
		w.permit = g.admit(now)
		close(w.ready)
	}
}

// arm sets the timer. The zero time needs none: a Release will come.
func (g *governor) arm(now, at time.Time) {
	switch wait := max(0, at.Sub(now)); {
	case at.IsZero():
	case g.timer != nil:
		g.timer.Reset(wait)
	default:
		g.timer = time.AfterFunc(wait, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.dispatch(time.Now())
		})
	}
}

// Release implements [Limiter].
func (g *governor) Release(p Permit, o Outcome) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	if g.n > 0 && o.Kind != OutcomeNotSent {
		g.ended(trip{now, o.Kind == OutcomeRefused})
	}
	switch o.Kind {
	case OutcomeAnswered:
		g.failures = 0
		g.answers = min(g.answers+1, g.n)
		if p.ID == g.pauses {
			g.probing = false
		}
		g.sharing.answered(p.ID == g.pauses)
	case OutcomeRefused:
		g.failures = 0
		g.refused(p, now, o.RetryAfter)
	case OutcomeFailed:
		g.failures++
		if p.ID == g.pauses {
			g.probing = false
		}
		if g.failures == outageStreak && g.n > 0 {
			g.pace = rate.NewLimiter(rate.Limit(float64(g.n)/g.window.Seconds()), 1)
		}
	case OutcomeNotSent:
	}
	if g.calls.first != nil || g.polls.first != nil {
		g.dispatch(now)
	}
}

// ended takes note of a round trip.
func (g *governor) ended(t trip) {
	if g.used == len(g.trips) {
		grown := make([]trip, max(16, min(2*len(g.trips), g.n)))
		n := copy(grown, g.trips[g.head:])
		copy(grown[n:], g.trips[:g.head])
		g.trips, g.head = grown, 0
	}
	g.trips[(g.head+g.used)%len(g.trips)] = t
	g.used++
	if !t.refused {
		g.served++
	}
}

// refused starts a pause.
func (g *governor) refused(p Permit, now time.Time, wait time.Duration) {
	g.refusals++
	long := wait >= g.window/12
	wait = min(max(wait, minPause), maxPause)
	if end := now.Add(wait); end.After(g.pausedUntil) {
		g.pausedUntil = end
	}
	if p.ID == g.pauses { // and not sent before a pause that is known already
		g.pauses++
		g.probing = true
		if g.n > 0 {
			g.expire(now)
			g.sharing.refused(now, long, g.served, g.pausedUntil, g.hold)
		}
	}
	// Those who cannot wait that long need not wait at all.
	ahead := 0
	for _, l := range [...]*line{&g.calls, &g.polls} {
		for w := l.first; w != nil; {
			following := w.next
			if err := g.futile(w, now, g.earliest(now, ahead), reasonPause); err != nil {
				l.remove(w)
				w.err = err
				close(w.ready)
			} else {
				ahead++
			}
			w = following
		}
	}
}

// Status implements [Limiter].
func (g *governor) Status() RateLimitStatus {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire(now)
	s := RateLimitStatus{
		Limit: g.n, Window: g.window, Used: g.used + g.inFlight, InFlight: g.inFlight,
		Waiting: g.calls.len, Polling: g.polls.len, Refusals: g.refusals,
	}
	if g.sharing.active && !g.sharing.over(now, g.hold) {
		s.Shared, s.Share = true, g.sharing.share
	}
	if now.Before(g.pausedUntil) {
		s.PausedUntil = g.pausedUntil
	}
	return s
}
