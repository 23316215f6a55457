package governor

import (
	"math/rand/v2"
	"time"
)

// Several processes that use one quota know nothing of each other but the 429s
// they get. Each of them therefore
//
//   - claims, in every window, a little less than the last window gave it,
//   - then looks for more, one attempt at a time, until it is refused: so the
//     quota is used to its end, and what each gave up goes to whoever comes
//     first, which makes unequal shares equal in a few windows,
//   - waits, when it was refused, until the window comes round again.
//
// Such a look costs one refusal, so it is left out often where the line is long
// and the share is not small: then looking makes little difference to those in
// line, and the small ones need it to catch up.
const (
	// sharedFlight bounds the attempts in flight while the quota is shared.
	sharedFlight = 3
	// keep is the part of its last yield that a limiter claims before it looks
	// for more.
	keep = 0.8
	// A limiter with at least a small-th of the quota, and more than patience
	// times its share in line, looks in so many windows only.
	looking  = 0.1
	small    = 6
	patience = 2
	// With less than a share in line, it looks for more within a window as well:
	// first after window/soonest, then after twice as long, and so on.
	soonest = 8
)

// sharing is what a limiter knows of a quota that others use too. Times and
// counts come from the governor, whose mutex guards it.
type sharing struct {
	n      int
	active bool
	// rolling is set when windows do not open as a whole: the quota is a sliding
	// window or a token bucket. Then an attempt goes when one of the limiter's own
	// has stopped to count, which keeps everybody in step with what they free.
	rolling bool
	share   int // the yield of the last window
	claim   int // what is left to claim of it before the next look
	patient bool
	opened  time.Time     // when a window last opened as a whole
	got     int           // answers since then
	claimed time.Time     // when an attempt within the share was last admitted
	since   time.Time     // when to look for more
	soon    time.Duration // or sooner, after a pause
}

// over reports whether two windows went by without a refusal, although the end
// of the quota was looked for: nobody else is there any more.
func (s *sharing) over(now time.Time, hold time.Duration) bool {
	return now.Sub(s.since) >= 2*hold
}

func (s *sharing) stop(window time.Duration) {
	*s = sharing{n: s.n, soon: window / soonest}
}

// within reports whether the next attempt is within the share, with so many that
// count already, if it leaves so many places to others.
func (s *sharing) within(counting, keep int) bool {
	turned := counting+keep < s.share
	return s.claim > keep && (turned || !s.rolling) || s.patient && turned
}

// look is when to look for more than the share.
func (s *sharing) look(waiting int, pausedUntil time.Time, hold time.Duration) time.Time {
	if s.patient && waiting > patience*s.share {
		return s.since.Add(hold)
	}
	if soon := pausedUntil.Add(s.soon); waiting <= s.share && soon.Before(s.since) {
		return soon
	}
	return s.since
}

func (s *sharing) admitted(now time.Time, counting int) {
	if !s.active || s.within(counting, 0) {
		s.claimed = now
	}
	if s.claim > 0 {
		s.claim--
	}
}

// answered counts an attempt that was not refused: one of this window, or a late
// one from before the last refusal.
func (s *sharing) answered(current bool) {
	switch {
	case current:
		s.got++
	case s.active:
		s.share++
		s.claim++
	}
}

// refused learns from a refusal at the end of served answers in a window. A long
// pause is one until a window opens; after a short one there is room for an
// attempt or two.
func (s *sharing) refused(now time.Time, long bool, served int, pausedUntil time.Time, hold time.Duration) {
	if s.active && s.claim > 0 && !s.rolling && pausedUntil.Sub(now) < hold/2 {
		// The window had not opened as a whole after all.
		s.rolling, s.opened = true, time.Time{}
		s.since = pausedUntil.Add(hold / 12)
		return
	}
	if s.active && now.Before(s.since) {
		s.soon = min(2*s.soon, hold)
	}
	if now.Sub(s.opened) < hold {
		served = s.got
	}
	least := max(s.n/10, 1)
	s.active = true
	s.rolling = s.rolling || !long
	s.patient = served >= s.n/small && rand.Float64() >= looking //nolint:gosec // spreads load, guards nothing
	s.share = max(served, least)
	s.claim = s.share
	if !s.patient {
		s.claim = max(int(keep*float64(served)), least)
	}
	if s.rolling {
		s.since, s.opened = s.claimed.Add(hold), time.Time{}
	} else {
		s.since, s.opened, s.got = pausedUntil, pausedUntil, 0
	}
}
