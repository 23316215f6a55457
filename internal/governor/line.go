package governor

import "time"

// waiter is a queued attempt.
type waiter struct {
	next, prev *waiter
	line       *line
	lane       Lane
	again      bool
	telling    bool // its Queued callback is running, which may block or wait for others: it keeps its position but is not admitted
	follow     int
	since      time.Time
	latest     time.Time     // the latest time to go; zero if any
	ready      chan struct{} // closed under the mutex, after permit or refusal is set
	permit     uint64
	refusal    *Refusal
}

func (w *waiter) attempt(now time.Time, hold time.Duration) attempt {
	return attempt{lane: w.lane, collect: w.follow > 0 && !w.latest.IsZero() && w.latest.Before(now.Add(hold))}
}

func (w *waiter) settled() bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// line is a list of waiters.
type line struct {
	first, last *waiter
	len         int
}

// front returns the first waiter that can go.
func (l *line) front() *waiter {
	w := l.first
	for w != nil && w.telling {
		w = w.next
	}
	return w
}

// insert inserts w before the waiter at, or at the end if at is nil.
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

// join queues w behind the others of its lane or, if it was refused before,
// ahead of all that were not. It returns why w waits and the minimum wait. If
// tell is set, w does not go before told is called.
func (g *Governor) join(w *waiter, tell bool) (reason Reason, wait time.Duration) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	w.since = now
	l := &g.lines[w.lane]
	ahead, at := l.len, (*waiter)(nil)
	if w.again {
		ahead = 0
		for at = l.first; at != nil && at.again; at = at.next {
			ahead++
		}
	}
	l.insert(w, at)
	g.waiting++
	if !w.latest.IsZero() && (g.soonest.IsZero() || w.latest.Before(g.soonest)) {
		g.soonest = w.latest
	}
	g.dispatch(now)
	if w.line == nil {
		return "", 0
	}
	_, reason, ok := g.turn(now, w.attempt(now, g.hold))
	if ok {
		reason = Line
	}
	first := g.earliest(now, w.attempt(now, g.hold), ahead)
	wait = first.Sub(now)
	w.telling = tell
	if late := w.tooLate(now, first, reason); late != nil {
		g.refuse(w, late)
	}
	return reason, wait
}

// try admits an attempt that does not wait, to a slot that is free beyond what
// those in the queue need.
func (g *Governor) try(now time.Time, a attempt) (uint64, error) {
	_, reason, ok := g.turn(now, a)
	ahead := g.waiting
	if a.lane == Cancel {
		ahead = g.lines[Cancel].len
	}
	if ok && g.n > 0 && ahead >= g.n-g.used-g.inFlight-g.keep(a) {
		reason, ok = Line, false
	}
	if !ok {
		return 0, &Refusal{Wait: max(0, g.earliest(now, a, g.lines[a.lane].len).Sub(now)), Reason: reason}
	}
	return g.admit(now, a.lane), nil
}

// told allows a waiter to go once its Queued callback has returned.
func (g *Governor) told(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.telling = false
	g.dispatch(time.Now())
}

// tooLate returns the refusal of a waiter whose turn cannot come in time.
func (w *waiter) tooLate(now, first time.Time, reason Reason) *Refusal {
	if w.latest.IsZero() || !first.After(w.latest) {
		return nil
	}
	return &Refusal{Wait: max(0, first.Sub(now)), Reason: reason, Deadline: true}
}

// out removes a waiter from its queue.
func (g *Governor) out(w *waiter) {
	w.line.remove(w)
	if g.waiting--; g.waiting == 0 {
		g.soonest = time.Time{}
	}
}

func (g *Governor) refuse(w *waiter, r *Refusal) {
	g.out(w)
	w.refusal = r
	close(w.ready)
}

// leave removes a waiter whose caller has gone, whether it is queued or was
// just admitted.
func (g *Governor) leave(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case w.line != nil:
		g.out(w)
	case w.refusal == nil:
		g.land(w.permit)
		g.reserved -= w.follow
	}
	g.dispatch(time.Now())
}

// giveUp refuses a queued waiter that has too little time left.
func (g *Governor) giveUp(w *waiter, reason Reason) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.line != nil {
		wait := g.earliest(now, w.attempt(now, g.hold), 0).Sub(now)
		g.refuse(w, &Refusal{Wait: max(0, wait), Reason: reason, Deadline: true})
		g.dispatch(now)
	}
}

// sweep refuses all waiters whose turn cannot come in time.
func (g *Governor) sweep(now time.Time) {
	g.expire(now)
	g.soonest = time.Time{}
	for lane := range g.lines {
		ahead := 0
		_, reason, _ := g.turn(now, attempt{lane: Lane(lane)})
		for w := g.lines[lane].first; w != nil; {
			following := w.next
			if late := w.tooLate(now, g.earliest(now, w.attempt(now, g.hold), ahead), reason); late != nil {
				g.refuse(w, late)
			} else {
				ahead++
				if !w.latest.IsZero() && (g.soonest.IsZero() || w.latest.Before(g.soonest)) {
					g.soonest = w.latest
				}
			}
			w = following
		}
	}
}

const (
	// inARow is the number of cancels that go before another lane has a turn.
	inARow = 3
	// One attempt of the low lane per window/lowShare goes ahead of calls once
	// it has waited for a window.
	lowShare = 6
)

// candidates returns the first waiter of each lane, in order of precedence.
func (g *Governor) candidates(now time.Time) (order [lanes]*waiter) {
	n := 0
	add := func(w *waiter) {
		if w != nil {
			order[n] = w
			n++
		}
	}
	call, poll := g.lines[Call].front(), g.lines[Poll].front()
	low, cancel := g.lines[Low].front(), g.lines[Cancel].front()
	yield := g.cancels >= inARow
	aged := low != nil && now.Sub(low.since) >= g.window && now.Sub(g.lowAt) >= g.window/lowShare
	if !yield {
		add(cancel)
	}
	if aged {
		add(low)
	}
	// Polls come first: beside calls they have at most half of the window.
	first, second := poll, call
	if g.n < 2 && poll != nil && call != nil && call.since.Before(poll.since) { // it cannot be halved
		first, second = call, poll
	}
	add(first)
	add(second)
	if yield {
		add(cancel)
	}
	if !aged {
		add(low)
	}
	return order
}

// dispatch admits waiters as long as they can go.
func (g *Governor) dispatch(now time.Time) {
	for g.waiting > 0 {
		var next time.Time
		var blocked Reason
		went := false
		for _, w := range g.candidates(now) {
			if w == nil {
				continue
			}
			if !w.latest.IsZero() && now.After(w.latest) {
				g.refuse(w, &Refusal{Reason: Late, Deadline: true})
				went = true
				break
			}
			at, reason, ok := g.turn(now, w.attempt(now, g.hold))
			if ok {
				g.went(w, now)
				went = true
				break
			}
			if blocked == "" || w.lane == Call {
				blocked = reason
			}
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		if went {
			continue
		}
		if (blocked == Window || blocked == Reserved) && g.late(now) {
			g.sweep(now)
		}
		g.arm(now, next)
		return
	}
}

// late reports whether a sweep could find a waiter to refuse.
func (g *Governor) late(now time.Time) bool {
	if g.soonest.IsZero() {
		return false
	}
	for lane := range g.lines {
		if n := g.lines[lane].len; n > 0 && g.earliest(now, attempt{lane: Lane(lane), collect: true}, n-1).After(g.soonest) {
			return true
		}
	}
	return false
}

// went admits a waiter.
func (g *Governor) went(w *waiter, now time.Time) {
	g.out(w)
	if w.lane == Call && g.polls() <= 0 {
		g.contended = now
	}
	switch {
	case w.lane == Cancel && g.waiting > g.lines[Cancel].len:
		g.cancels++
	case w.lane == Low && g.lines[Call].len > 0:
		g.lowAt = now
		g.cancels = 0
	default:
		g.cancels = 0
	}
	w.permit = g.admit(now, w.lane)
	g.reserved += w.follow
	close(w.ready)
}

// arm sets the timer. The zero time needs none: a Release will follow.
func (g *Governor) arm(now, at time.Time) {
	switch wait := max(0, at.Sub(now)); {
	case at.IsZero() || g.waiting == 0:
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
