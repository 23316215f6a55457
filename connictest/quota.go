package connictest

import (
	"math"
	"time"
)

// A Window is the way in which a quota counts. The one that the service uses is
// not known.
type Window int

const (
	// FixedWindow starts with the first request, and starts anew when it is
	// over.
	FixedWindow Window = iota
	// SlidingWindow counts the accepted requests in the preceding window.
	SlidingWindow
	// TokenBucket restores requests one by one.
	TokenBucket
	// SlidingWindowRejects is a SlidingWindow that also counts refused
	// requests.
	SlidingWindowRejects
)

// RateLimit sets the quota of the project to n requests per window. The default
// is 60 a minute with a FixedWindow. If n is 0, there is no quota.
func (s *Server) RateLimit(n int, per time.Duration, w Window) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota = quota{n: n, per: per, window: w, tokens: float64(n), last: time.Now()}
}

// Spend consumes n requests of the quota, as another program in the same
// project would. It consumes at most what is left.
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

// take counts a request. If it is refused, wait is the Retry-After in seconds.
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
			q.log = push(q.log, now, q.n)
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
