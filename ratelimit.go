package connic

import (
	"context"
	"errors"
	"time"

	"github.com/connic-go/connic/internal/governor"
	"github.com/connic-go/connic/internal/watch"
)

// The service's documented quota.
const (
	defaultQuota  = 60
	defaultWindow = time.Minute
)

// A Limiter admits the attempts of one or more Clients. Every request,
// including retries and polls, must be admitted before it is sent. [NewLimiter]
// returns one.
//
// Share one Limiter between the Clients of a project within a process. To share
// the quota between processes, implement the interface on top of a common
// store. An implementation must be safe for concurrent use. If it also
// implements [Reserver], it is told how many slots waits need.
type Limiter interface {
	// Acquire blocks until one attempt may be sent. It returns early with the
	// context's error, or with a *LimitError if the attempt's turn cannot come
	// before the context's deadline. After a Release with [OutcomeRefused],
	// Acquire admits no attempt until RetryAfter has passed. It may cut a very
	// long RetryAfter short in order to ask the service again.
	Acquire(ctx context.Context, a Admission) (Permit, error)
	// Release reports how an admitted attempt ended. It is called exactly once
	// for each Permit, as soon as the service must have seen the request: when
	// the response headers arrive, or when the attempt fails.
	Release(p Permit, o Outcome)
	// Status returns the current state.
	Status() RateLimitStatus
}

// A Reserver is a [Limiter] that can reserve slots of its quota for the polls
// of waits, so that work that was started is followed to its end even while
// calls are queued. The Limiter returned by [NewLimiter] is a Reserver.
type Reserver interface {
	// Reserve reserves that many additional slots for the next polls in
	// [LanePoll]; a negative number releases slots. Slots are reserved as long as
	// they and those that polls have used in this window are at most half of the
	// quota. Each Client releases the slots it reserved once it is no longer
	// waiting for anything. Calls may arrive in any order: only their sum counts.
	Reserve(slots int)
}

// Admission describes an attempt that asks a [Limiter] for admission.
type Admission struct {
	Lane Lane
	// Again is set if the service refused this attempt with a 429. The attempt
	// then returns to the head of its lane.
	Again bool
	// NoWait requests a *LimitError instead of a wait. The Limiter of
	// [NewLimiter] then admits the attempt if a slot is free that no queued
	// attempt needs.
	NoWait bool
	// Spare is how much time must remain before the context's deadline when the
	// attempt is admitted. If less would remain, the attempt is refused with a
	// *LimitError. It is usually 0.
	Spare time.Duration
	// Follow is how many slots a [Reserver] reserves for polls of the work that
	// the attempt starts, from the admission until Reserve releases them. The
	// Limiter of [NewLimiter] admits no attempt with a deadline within the window
	// whose polls would have no slot.
	Follow int
	// Queued, if not nil, is called if the attempt has to wait, with the reason
	// and the estimated time until its turn. It is called on the goroutine of
	// Acquire.
	Queued func(reason Reason, wait time.Duration)
}

// A Lane is a priority class of attempts. No lane can starve another: each has
// a part of the quota that the others cannot use while it has attempts waiting.
type Lane uint8

const (
	// LaneCall is for calls that someone is waiting for, in order of arrival.
	// It is the default.
	LaneCall Lane = iota
	// LanePoll is for the polls of waits. They take precedence over calls, and
	// use at most half of the quota while calls are queued, and for a window
	// after that.
	LanePoll
	// LaneCancel is for [RunsService.Cancel], which goes to the head of the
	// queue. At most three in a row are admitted while other attempts wait.
	LaneCancel
	// LaneLow is for background calls. They are admitted when no other attempt
	// waits or, once they have waited for a window, at six attempts per window.
	LaneLow
)

// A Reason says why an attempt waits for its turn or is refused, as a phrase for
// people.
type Reason string

// The reasons given by the Limiter of [NewLimiter].
const (
	ReasonPaused   Reason = "the service requested a pause"
	ReasonWindow   Reason = "the quota of this window is used up"
	ReasonReserved Reason = "the rest of this window is reserved for polls of what was started"
	ReasonShare    Reason = "this process has used its share of a quota that others use too"
	ReasonOutage   Reason = "the service is failing, and requests are spread out until it recovers"
	ReasonInFlight Reason = "enough requests are in flight"
	ReasonInLine   Reason = "others are first in line"
	ReasonTooLate  Reason = "the deadline leaves no time to see the result" // see Admission.Spare
)

// A Permit is the permission to send one attempt. It belongs to the Limiter
// that issued it.
type Permit struct {
	// ID is meaningful only to the Limiter. A Client passes it back unchanged.
	ID uint64
}

// Outcome tells a [Limiter] how an attempt ended.
type Outcome struct {
	Kind OutcomeKind
	// RetryAfter is the wait that the service asked for with a refusal, or 0.
	RetryAfter time.Duration
}

// OutcomeKind classifies an [Outcome].
type OutcomeKind uint8

const (
	// OutcomeAnswered is any response other than a 429 or a server error.
	OutcomeAnswered OutcomeKind = iota
	// OutcomeRefused is a response with status 429.
	OutcomeRefused
	// OutcomeFailed is a server error, or an attempt without a response.
	OutcomeFailed
	// OutcomeNotSent is an attempt of which no byte reached the service. It
	// does not count against the quota.
	OutcomeNotSent
	// OutcomeAbandoned is an attempt whose context ended before a response
	// arrived. It counts against the quota, and says nothing about the health
	// of the service.
	OutcomeAbandoned
)

// RateLimitStatus is a snapshot of the state of a [Limiter].
type RateLimitStatus struct {
	Limit  int           // attempts per window; 0 means that the client has no limit of its own
	Window time.Duration // the length of the window
	// Used is how many of this Limiter's attempts count against the window now,
	// including those in flight. Attempts by other processes are not known.
	Used     int
	InFlight int
	// Waiting and Polling are the numbers of queued attempts: Polling those in
	// [LanePoll], and Waiting all others.
	Waiting, Polling int
	// Reserved is how many slots of the window are reserved for polls.
	Reserved int
	// PausedUntil is the end of the pause that the service requested with a
	// 429, or the zero time if there is none.
	PausedUntil time.Time
	// Shared is set while 429s indicate that other programs use the quota.
	// Share is then the estimate of this Limiter's part of a window.
	Shared bool
	Share  int
	// Refusals counts the 429s since the Limiter was created.
	Refusals int
	// Fallback says why a Limiter that is shared by several processes currently
	// works alone: its store is unreachable or slow. It is empty otherwise.
	Fallback string
}

// Available returns how many attempts could be sent now, by this Limiter's own
// count. It returns -1 if there is no limit.
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

// NewLimiter returns a Limiter for n attempts per window. Pass it to
// [WithLimiter] for every Client that shares the quota. If n is 0, the Limiter
// has no window of its own and only honors the 429s of the service.
//
// The Limiter never lets more than n attempts reach the service within a
// window: an attempt counts until one window after the end of its round trip,
// so neither the network nor a slow upload can bunch arrivals. There is no
// pacing beyond that: a burst of n on an unused quota is sent as fast as the
// responses to its first few attempts confirm that the quota is available. Attempts
// with [Admission.NoWait] do not wait for that.
//
// A 429 pauses all attempts until its Retry-After has passed; the refused
// attempt returns to the head of its lane. Afterwards the Limiter probes for
// the share of the quota that other processes leave, and regains the rest when
// they stop. If Retry-After is longer than 10 minutes, the Limiter waits for 10
// minutes and then lets one attempt ask again, so that a process recovers from
// a wrong clock or from a ban that has been lifted.
//
// Before it returns a *LimitError because of a deadline, the Limiter assumes
// that all attempts queued ahead and all slots reserved for polls are needed,
// and that attempts in flight may still end unsent.
func NewLimiter(n int, window time.Duration) Limiter {
	return limiter{governor.New(n, window)}
}

// limiter implements Limiter and Reserver. It translates between the public
// types and those of the governor.
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
func (l limiter) Reserve(slots int) { l.governor.Reserve(slots) }

// Status implements [Limiter].
func (l limiter) Status() RateLimitStatus {
	s := l.governor.Status()
	return RateLimitStatus{
		Limit: s.Limit, Window: s.Window, Used: s.Used, InFlight: s.InFlight, Waiting: s.Waiting, Polling: s.Polling,
		Reserved: s.Reserved, PausedUntil: s.PausedUntil, Shared: s.Shared, Share: s.ShareOfWindow, Refusals: s.Refusals,
	}
}

// quota is the limiter as a watch sees it.
type quota struct{ limiter Limiter }

// Limits implements [watch.Quota].
func (q quota) Limits() watch.Limits {
	s := q.limiter.Status()
	return watch.Limits{Limit: s.Limit, Window: s.Window, Waiting: s.Waiting}
}

// Reserve implements [watch.Quota].
func (q quota) Reserve(slots int) {
	if r, ok := q.limiter.(Reserver); ok {
		r.Reserve(slots)
	}
}
