package governor

import "time"

// flights holds the attempts in flight, in order of admission.
//
// All of them count against the window. The other limits on attempts in flight
// (the initial burst, the share of a quota that others use too, the single
// attempt after a pause) only count fresh ones: those admitted since the last
// pause began and no longer than slow ago. An upload that takes minutes
// therefore delays no other attempt.
type flights struct {
	all         []flight
	unused      []int32 // indexes into all
	inFlight    int
	fresh       int
	polling     int    // number in the lane Poll
	first, last int32  // the fresh ones, as indexes plus one; 0 if none
	epoch       uint32 // counts the pauses
}

// flight is one attempt in flight.
type flight struct {
	at         time.Time
	serial     uint32 // distinguishes successive users of a slot; odd while in flight
	epoch      uint32
	lane       Lane
	fresh      bool
	prev, next int32
}

// launch adds an attempt and returns the number of its permit.
func (s *flights) launch(now time.Time, lane Lane) uint64 {
	var i int32
	if n := len(s.unused); n > 0 {
		i = s.unused[n-1]
		s.unused = s.unused[:n-1]
	} else {
		i = int32(len(s.all))
		s.all = append(s.all, flight{})
	}
	f := &s.all[i]
	*f = flight{at: now, serial: f.serial + 1, epoch: s.epoch, lane: lane, fresh: true, prev: s.last}
	if s.last > 0 {
		s.all[s.last-1].next = i + 1
	} else {
		s.first = i + 1
	}
	s.last = i + 1
	s.inFlight++
	if lane == Poll {
		s.polling++
	}
	s.fresh++
	return uint64(f.serial)<<32 | uint64(i)
}

// land removes an attempt. current reports that no pause began since its
// admission.
func (s *flights) land(permit uint64) (f flight, current, ok bool) {
	i := permit & (1<<32 - 1)
	if i >= uint64(len(s.all)) || s.all[i].serial != uint32(permit>>32) || s.all[i].serial%2 == 0 {
		return flight{}, false, false
	}
	s.stale(int32(i))
	s.all[i].serial++
	s.inFlight--
	if s.all[i].lane == Poll {
		s.polling--
	}
	s.unused = append(s.unused, int32(i))
	return s.all[i], s.all[i].epoch == s.epoch, true
}

// stale removes an attempt from the fresh ones.
func (s *flights) stale(i int32) {
	f := &s.all[i]
	if !f.fresh {
		return
	}
	if f.prev > 0 {
		s.all[f.prev-1].next = f.next
	} else {
		s.first = f.next
	}
	if f.next > 0 {
		s.all[f.next-1].prev = f.prev
	} else {
		s.last = f.prev
	}
	f.fresh = false
	s.fresh--
}

// mature marks attempts as stale that were admitted slow ago or earlier. It
// returns when the next one becomes stale, or the zero time.
func (s *flights) mature(now time.Time, slow time.Duration) time.Time {
	for s.first > 0 {
		at := s.all[s.first-1].at.Add(slow)
		if now.Before(at) {
			return at
		}
		s.stale(s.first - 1)
	}
	return time.Time{}
}

// newEpoch starts a pause.
func (s *flights) newEpoch() {
	s.epoch++
	for s.first > 0 {
		s.stale(s.first - 1)
	}
}
