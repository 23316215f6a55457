package connic

import (
	"context"
	"errors"
	"time"

	"github.com/connic-go/connic/internal/governor"
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
// own. An implementation must be safe for concurrent use. If it is a [Reserver]
// too, it learns how many places waits need.
type Limiter interface {
	// Acquire waits until one attempt may be sent. It returns early with the
	// context's error, or with a *LimitError when the attempt's turn cannot come
	// before the context's deadline. After a Release with [OutcomeRefused] it
	// admits nobody until RetryAfter has passed; one that is very long it may cut
	// short, to ask again.
	Acquire(ctx context.Context, a Admission) (Permit, error)
	// Release tells how an admitted attempt ended. It is called exactly once for
	// each Permit, as soon as the service must have seen the request: when its
	// answer's headers are there, or when the attempt failed.
	Release(p Permit, o Outcome)
	// Status describes the current state.
	Status() RateLimitStatus
}

// A Reserver is a [Limiter] that keeps places of its quota for the looks of
// waits, so that what was started is seen to its end although calls stand in
// line. The Limiter of [NewLimiter] is one.
type Reserver interface {
	// Reserve keeps so many more places from all lanes but [LanePoll]; a negative
	// number gives places back. Each Client gives back what it took when it waits
	// for nothing any more.
	Reserve(places int)
}

// Admission is the request of one attempt to be sent.
type Admission struct {
	Lane Lane
	// Again is set when the service refused this attempt with 429: it goes back
	// to the head of its lane.
	Again bool
	// NoWait asks for a *LimitError instead of a wait.
	NoWait bool
	// Spare is how much time must be left before the context's deadline when the
	// attempt goes; else it is refused with a *LimitError. 0 is the rule.
	Spare time.Duration
	// Follow is how many places a [Reserver] keeps for looks at what the attempt
	// starts, from its admission on and until Reserve gives them back.
	Follow int
	// Queued, if not nil, is called when the attempt has to wait: with the reason
	// and the time until its turn, as far as it can be told. It runs on the
	// goroutine of Acquire.
	Queued func(reason Reason, wait time.Duration)
}

// Lane is a priority class of attempts. No lane can keep another from going for
// ever: each has a part of the quota that the others do not get while it waits.
type Lane uint8

const (
	// LaneCall is for calls that somebody is waiting for. They keep the order of
	// their arrival.
	LaneCall Lane = iota
	// LanePoll is for the looks of waits. They go before calls, and take half of
	// the quota at most while calls wait.
	LanePoll
	// LaneCancel is for [RunsService.Cancel]: the head of the line. At most three
	// go in a row while others wait.
	LaneCancel
	// LaneLow is for background calls: they go when nobody else waits, or, once
	// they have waited for a window, at six attempts per window.
	LaneLow
)

// Reason says why an attempt waits for its turn, or is refused.
type Reason string

// The reasons of [NewLimiter]'s Limiter.
const (
	ReasonPaused   Reason = Reason(governor.Paused)   // the service answered 429
	ReasonWindow   Reason = Reason(governor.Window)   // the window's quota is used up
	ReasonReserved Reason = Reason(governor.Reserved) // what is left is kept for the looks of waits
	ReasonShare    Reason = Reason(governor.Share)    // others use the quota too
	ReasonOutage   Reason = Reason(governor.Outage)   // the service has failed many times in a row
	ReasonInFlight Reason = Reason(governor.Flight)   // answers under way have to come first
	ReasonInLine   Reason = Reason(governor.Line)     // others wait already
	ReasonTooLate  Reason = Reason(governor.Late)     // see Admission.Spare
)

// Permit is the permission to send one attempt. It belongs to the Limiter that
// gave it.
type Permit struct {
	// ID is the Limiter's own; a Client only hands it back.
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
	// OutcomeAbandoned is an attempt that the caller's context ended before an
	// answer came. It costs quota, and says nothing about the service.
	OutcomeAbandoned
)

// RateLimitStatus is the state of a [Limiter] at one instant.
type RateLimitStatus struct {
	Limit  int           // attempts per window; 0 means no limit of the client's own
	Window time.Duration // the window
	// Used is how many attempts of this Limiter count against the window now,
	// those in flight included. Other processes' attempts are not known.
	Used     int
	InFlight int
	// Waiting and Polling are the attempts in line: of [LanePoll], and all others.
	Waiting, Polling int
	// Reserved is how many places of the window are kept for looks.
	Reserved int
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

// minPause is the shortest wait after a 429.
const minPause = governor.MinPause

// NewLimiter returns a Limiter for n attempts per window, to be passed to
// [WithLimiter] of every Client that shares the quota. n of 0 makes one without
// a window of its own, which only honors the service's 429s.
//
// It never lets more than n attempts reach the service within a window: an
// attempt counts until a window after the end of its round trip, so neither the
// network nor a slow upload can bunch arrivals. Nothing is paced beyond that: a
// burst of n on an unused quota goes out as fast as answers to its first few
// show that the quota is really there.
//
// A 429 stops everybody until its Retry-After has passed; the refused attempt
// goes back to the head of its lane. After that the Limiter looks for the share
// of the quota that other processes leave, and wins back the rest when they
// stop. Of a Retry-After longer than 10 minutes it waits for 10, and then lets
// one attempt ask again: neither a wrong clock nor a ban of a day keeps a process
// from noticing that it is over.
//
// A *LimitError for a deadline takes those ahead in line, and the places kept for
// looks, to be needed, and attempts in flight to be able to end unsent.
func NewLimiter(n int, window time.Duration) Limiter {
	return limiter{governor.New(n, window)}
}

// limiter is the Limiter of this package: it translates the governor's types.
type limiter struct{ governor *governor.Governor }

// Acquire implements [Limiter].
func (l limiter) Acquire(ctx context.Context, a Admission) (Permit, error) {
	in := governor.Admission{Lane: governor.Lane(a.Lane), Again: a.Again, NoWait: a.NoWait, Spare: a.Spare, Follow: a.Follow}
	if queued := a.Queued; queued != nil {
		in.Queued = func(reason governor.Reason, wait time.Duration) { queued(Reason(reason), wait) }
	}
	id, err := l.governor.Acquire(ctx, in)
	if err != nil {
		var refusal *governor.Refusal
		if errors.As(err, &refusal) {
			err = &LimitError{Wait: refusal.Wait, Reason: Reason(refusal.Reason), Deadline: refusal.Deadline}
		}
		return Permit{}, err
	}
	return Permit{ID: id}, nil
}

// Release implements [Limiter].
func (l limiter) Release(p Permit, o Outcome) {
	l.governor.Release(p.ID, governor.Kind(o.Kind), o.RetryAfter)
}

// Reserve implements [Reserver].
func (l limiter) Reserve(places int) { l.governor.Reserve(places) }

// Status implements [Limiter].
func (l limiter) Status() RateLimitStatus {
	s := l.governor.Status()
	return RateLimitStatus{
		Limit: s.Limit, Window: s.Window, Used: s.Used, InFlight: s.InFlight, Waiting: s.Waiting, Polling: s.Polling,
		Reserved: s.Reserved, PausedUntil: s.PausedUntil, Shared: s.Shared, Share: s.ShareOfWindow, Refusals: s.Refusals,
	}
}
