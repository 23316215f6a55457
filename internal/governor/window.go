package governor

import (
	"math"
	"time"
)

// trip is a completed round trip.
type trip struct {
	end     time.Time
	refused bool
	poll    bool
}

// trips is a ring of the round trips that count, oldest first. It grows to n.
type trips struct {
	ring       []trip
	head, used int
	served     int // those not refused
	polled     int // those in the lane Poll
}

// ended records a round trip.
func (g *Governor) ended(t trip) {
	if g.used == len(g.ring) {
		grown := make([]trip, max(16, min(2*len(g.ring), g.n)))
		n := copy(grown, g.ring[g.head:])
		copy(grown[n:], g.ring[:g.head])
		g.ring, g.head = grown, 0
	}
	g.ring[(g.head+g.used)%len(g.ring)] = t
	g.used++
	if !t.refused {
		g.served++
	}
	if t.poll {
		g.polled++
	}
}

// expire drops the round trips that no longer count.
func (g *Governor) expire(now time.Time) {
	for g.used > 0 && now.Sub(g.ring[g.head].end) >= g.hold {
		if !g.ring[g.head].refused {
			g.served--
		}
		if g.ring[g.head].poll {
			g.polled--
		}
		g.head = (g.head + 1) % len(g.ring)
		g.used--
	}
}

// freed returns when the ith oldest round trip stops counting.
func (g *Governor) freed(i int) time.Time {
	return g.ring[(g.head+i)%len(g.ring)].end.Add(g.hold)
}

// oldest returns when the oldest round trip stops counting, or the zero time.
func (g *Governor) oldest() time.Time {
	if g.used == 0 {
		return time.Time{}
	}
	return g.freed(0)
}

// polls returns how many more polls the window admits beside calls.
func (g *Governor) polls() int {
	n := g.n
	if g.sharing.active {
		n = min(n, g.sharing.share)
	}
	return max(1, n/2) - g.polled - g.polling
}

// keep returns how many slots an attempt must leave for polls: those reserved, as
// far as polls may still use them.
func (g *Governor) keep(a attempt) int {
	kept := min(g.reserved, g.n/2)
	if !a.collect {
		kept = min(kept, g.polls())
	}
	if g.sharing.active {
		kept = min(kept, g.sharing.share/4)
	}
	kept = max(0, kept)
	switch a.lane {
	case Poll:
		return 0
	case Cancel:
		return kept / 2
	default:
		return kept
	}
}

// attempt is what decides when an attempt may go.
type attempt struct {
	lane Lane
	// noWait attempts are not held back until responses to others confirm that
	// the quota is available.
	noWait bool
	// collect is set if what the attempt starts has to be polled within the
	// window: it takes no slot on which the polls of others rely.
	collect bool
	// calls is set if calls are queued elsewhere.
	calls bool
}

// turn reports whether an attempt may go now. If not, it returns the reason and
// when to ask again; the zero time means after the next Release.
func (g *Governor) turn(now time.Time, a attempt) (at time.Time, reason Reason, ok bool) {
	g.expire(now)
	matures := g.mature(now, g.slow)
	if now.Before(g.pausedUntil) {
		return g.pausedUntil, Paused, false
	}
	keep := g.keep(a)
	if g.n > 0 {
		if free := g.n - g.used - g.inFlight; free <= 0 {
			return g.oldest(), Window, false
		} else if free <= keep {
			return g.oldest(), Reserved, false
		} else if a.lane == Poll && g.polls() <= 0 && (a.calls || g.lines[Call].len > 0 || now.Sub(g.contended) < g.hold) {
			return g.oldest(), Window, false
		}
	}
	bound := g.burst()
	if a.noWait {
		bound = math.MaxInt
	}
	if s := &g.sharing; s.active {
		if s.over(now, g.hold) {
			s.stop(g.window)
			g.answers = 0
		} else {
			if !a.noWait {
				bound = sharedFlight
			}
			if !s.within(g.served+g.fresh, keep) {
				if at = s.probe(g.lines[Call].len, g.pausedUntil, g.hold); now.Before(at) {
					if first := g.oldest(); !first.IsZero() && first.Before(at) {
						at = first
					}
					return at, Share, false
				}
				bound = 1
			}
		}
	}
	if g.probing {
		bound = 1
	}
	if g.fresh >= bound {
		return matures, Flight, false
	}
	if g.outage() {
		if missing := 1 - g.pace.TokensAt(now); missing > 0 {
			wait := time.Duration(missing / float64(g.pace.Limit()) * float64(time.Second))
			return now.Add(wait + time.Millisecond), Outage, false
		}
	}
	return now, "", true
}

// admit counts an attempt as in flight, after turn reported that it may go.
func (g *Governor) admit(now time.Time, lane Lane) uint64 {
	if g.outage() {
		g.pace.AllowN(now, 1)
	}
	g.sharing.admitted(now, g.served+g.fresh)
	return g.launch(now, lane)
}

// outage reports whether attempts are spread out because the service fails.
func (g *Governor) outage() bool { return g.pace != nil && g.failures >= outageStreak }

// burst limits the fresh attempts in flight while no other process has been
// noticed: a few at first, and soon all, as responses show that quota is
// available. If several processes start on one quota at once, only a few
// requests are refused rather than a whole window.
func (g *Governor) burst() int {
	if g.n == 0 {
		return math.MaxInt
	}
	n, c := float64(g.n), float64(g.answers)
	return max(4, int(math.Ceil(0.07*n+0.85*c*c/n)))
}

// earliest returns the earliest time at which an attempt can go if ahead others
// of its lane go first. Attempts in flight may end unsent and
// return their slots at once, so they do not count. All waiters ahead, and the
// slots reserved for polls in this window only, are assumed to be needed.
func (g *Governor) earliest(now time.Time, a attempt, ahead int) time.Time {
	at := now
	if g.n > 0 {
		// Some of the slots that the lane may use are free. The others are
		// returned in the order in which the round trips ended, and so on in
		// each window. Slots reserved for others now may be free in the next
		// window.
		places := max(1, g.n-g.keep(a))
		rounds, place := 0, ahead
		if rest := ahead - places; rest >= 0 {
			rounds, place = 1+rest/g.n, min(rest%g.n, places-1)
		}
		if taken := place - (places - g.used); taken >= 0 {
			at = g.freed(min(taken, g.used-1))
		}
		at = at.Add(saturate(rounds, g.hold))
	}
	if at.Before(g.pausedUntil) {
		at = g.pausedUntil
	}
	return at
}

// saturate returns n times d, or the longest possible duration.
func saturate(n int, d time.Duration) time.Duration {
	if n > 0 && d > math.MaxInt64/2/time.Duration(n) {
		return math.MaxInt64 / 2
	}
	return time.Duration(n) * d
}
