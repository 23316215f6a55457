package connictest

import (
	"math"
	"time"
)

// Window is the way a quota counts. Which one the service uses is not known.
type Window int

const (
	// FixedWindow counts from the first request on, and begins again when the
	// window is over.
	FixedWindow Window = iota
	// SlidingWindow counts the accepted requests of the last window.
	SlidingWindow
	// TokenBucket gives tokens back one by one.
	TokenBucket
	// SlidingWindowRejects is a SlidingWindow that counts refused requests too.
	SlidingWindowRejects
)

// RateLimit sets the quota of the project: n requests per window, 60 a minute in
// a FixedWindow by default. An n of 0 lifts it.
func (s *Server) RateLimit(n int, per time.Duration, w Window) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota = quota{n: n, per: per, window: w, tokens: float64(n), last: time.Now()}
}

// Spend takes n requests out of the quota, as another program would that uses
// the same project. What is more than the quota has left is refused to it.
func (s *Server) Spend(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.quota.take(time.Now())
	}
}

type quota struct {
	n      int
	per    time.Duration
	window Window

	log    []time.Time // sliding: what counts, oldest first
	start  time.Time   // fixed: of the window
	count  int
	tokens float64
	last   time.Time
}

// take counts a request. If it is refused, wait is the Retry-After, in seconds.
func (q *quota) take(now time.Time) (wait int, ok bool) {
	if q.n <= 0 {
		return 0, true
	}
	var until time.Duration
	switch q.window {
	case SlidingWindow, SlidingWindowRejects:
		for len(q.log) > 0 && now.Sub(q.log[0]) >= q.per {
			q.log = q.log[1:]
		}
		ok = len(q.log) < q.n
		if ok || q.window == SlidingWindowRejects {
			q.log = append(q.log, now)
		}
		if !ok {
			until = q.log[len(q.log)-q.n].Add(q.per).Sub(now)
		}
	case TokenBucket:
		rate := float64(q.n) / q.per.Seconds()
		q.tokens = min(float64(q.n), q.tokens+now.Sub(q.last).Seconds()*rate)
		q.last = now
		if ok = q.tokens >= 1; ok {
			q.tokens--
		} else {
			until = time.Duration((1 - q.tokens) / rate * float64(time.Second))
		}
	default:
		if now.Sub(q.start) >= q.per {
			q.start, q.count = now, 0
		}
		if ok = q.count < q.n; ok {
			q.count++
		} else {
			until = q.start.Add(q.per).Sub(now)
		}
	}
	return max(1, int(math.Ceil(until.Seconds()))), ok
}
