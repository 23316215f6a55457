package governor

import (
	"math/rand/v2"
	"time"
)

// Processes that share a quota learn about each other only from 429s. Each of them
// therefore
//
//   - claims, in every window, a little less than its yield of the last window;
//   - then probes for more, one attempt at a time, until it is refused. This uses up
//     the quota. What each process yielded goes to whichever comes first, which
//     evens out unequal shares within a few windows;
//   - waits, once refused, for the next window.
//
// A probe costs one refusal, so most are skipped if the queue is long and the share
// is not small: then a probe makes little difference to the queue, and the processes
// with small shares need the room to catch up.
const (
	// sharedFlight is the maximum number of attempts in flight while the quota
	// is shared.
	sharedFlight = 3
	// keep is the fraction of its last yield that a limiter claims before it
	// probes for more.
	keep = 0.8
	// A limiter that has at least 1/small of the quota, and more than backlog
	// times its share queued, probes in only this fraction of the windows.
	probeRate = 0.1
	small     = 6
	backlog   = 2
	// With less than a share queued, it also probes within a window: first
	// after window/soonest, then after twice as long, and so on.
	soonest = 8
)

// sharing is what a limiter knows about a shared quota. Times and counts come
// from the governor, whose mutex guards it.
type sharing struct {
	n      int
	active bool
	// rolling is set if windows do not open all at once, because the quota is a
	// sliding window or a token bucket. An attempt then goes when one of the
	// limiter's own stops counting, which keeps all limiters in step with what
	// they release.
	rolling bool
	share   int           // the yield of the last window
	claim   int           // remainder to claim before the next probe
	skip    bool          // makes no probe in this window
	opened  time.Time     // when a window last opened all at once
	got     int           // responses since then
	claimed time.Time     // when an attempt within the share was last admitted
	since   time.Time     // when to probe for more
	soon    time.Duration // or this soon after a pause
}

// over reports whether two windows passed without a refusal despite probes:
// nobody else uses the quota any more.
func (s *sharing) over(now time.Time, hold time.Duration) bool {
	return now.Sub(s.since) >= 2*hold
}

func (s *sharing) stop(window time.Duration) {
	*s = sharing{n: s.n, soon: window / soonest}
}

// within reports whether the next attempt is within the share, given the number
// of attempts that count and the number of slots to leave for others.
func (s *sharing) within(counting, keep int) bool {
	turned := counting+keep < s.share
	return s.claim > keep && (turned || !s.rolling) || s.skip && turned
}

// probe returns when to probe for more than the share.
func (s *sharing) probe(waiting int, pausedUntil time.Time, hold time.Duration) time.Time {
	if s.skip && waiting > backlog*s.share {
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

// answered counts an attempt that was not refused, either in this window or, if
// it is late, from before the last refusal.
func (s *sharing) answered(current bool) {
	switch {
	case current:
		s.got++
	case s.active:
		s.share++
		s.claim++
	}
}

// refused learns from a refusal after served responses in a window. A long
// pause means that a window has to open; after a short one there is room for an
// attempt or two.
func (s *sharing) refused(now time.Time, long bool, served int, pausedUntil time.Time, hold time.Duration) {
	if s.active && s.claim > 0 && !s.rolling && pausedUntil.Sub(now) < hold/2 {
		// The window had not opened all at once after all.
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
	s.skip = served >= s.n/small && rand.Float64() >= probeRate //nolint:gosec // spreads load, guards nothing
	s.share = max(served, least)
	s.claim = s.share
	if !s.skip {
		s.claim = max(int(keep*float64(served)), least)
	}
	if s.rolling {
		s.since, s.opened = s.claimed.Add(hold), time.Time{}
	} else {
		s.since, s.opened, s.got = pausedUntil, pausedUntil, 0
	}
}
