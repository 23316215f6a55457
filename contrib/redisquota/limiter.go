package redisquota

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/governor"
	"github.com/connic-go/connic/internal/mask"
)

// reasonAlone says why an attempt waits while there is no store.
const reasonAlone connic.Reason = "this process has had its part of a quota whose store cannot be reached"

const (
	// minPause is the shortest pause after a 429.
	minPause = time.Second
	// maxPause bounds what one Retry-After can do to the whole fleet: after it, an
	// attempt goes and asks again.
	maxPause = 10 * time.Minute
	// lowWindows is how many windows an attempt of the low lane waits before it is a
	// call like any other.
	lowWindows = 4
)

// limiter is the Limiter: one mutex, one line per lane, one timer, and at most one
// step under way.
type limiter struct {
	config
	mask    *mask.Mask
	concise bool          // errors of the store may have a password that mask does not find
	hold    time.Duration // an admission counts for so long after its end
	lease   time.Duration // an admission that nobody reports counts as ended after so long
	lazy    time.Duration // an end may wait so long for a step that takes it along
	store   store

	mu    sync.Mutex
	lines [lanes]line
	timer *time.Timer
	last  uint64 // id

	open map[uint64]trip
	// ended are the trips that count, oldest first; those from told on have not
	// been reported.
	ended []trip
	told  int

	number  int64 // of the last step
	busy    bool  // it is under way
	late    bool  // and given up
	due     time.Time
	stepped time.Time
	urgent  bool       // report at once
	askAt   time.Time  // when to ask for what waits
	left    [lanes]int // what the store knows to be waiting

	epoch     string
	pauses    int64
	paused    time.Time // until then
	asked     time.Time // when the last step was sent that was answered
	seen      time.Time // its answer
	answer    reply
	processes int
	known     int // the number of processes to reckon with when the store is gone
	knownAt   time.Time
	lost      bool // the store may not know everything
	refusals  int
	reserved  int // slots for polls of what this process waits for
	kept      int // those of the last step

	alone  *alone // works without the store
	events events
}

// trip is an admitted attempt.
type trip struct {
	id     uint64
	lane   int
	pauses int64
	// permit is of the limiter that admitted it while there was no store.
	permit uint64
	by     *governor.Governor

	ended time.Time
	kind  connic.OutcomeKind
	retry time.Duration
}

func (t *trip) poll() int {
	if t.lane == polls {
		return 1
	}
	return 0
}

// Acquire implements [connic.Limiter].
func (l *limiter) Acquire(ctx context.Context, a connic.Admission) (connic.Permit, error) {
	if err := ctx.Err(); err != nil {
		return connic.Permit{}, err
	}
	w := &waiter{ready: make(chan struct{}), noWait: a.NoWait, again: a.Again, lane: a.Lane, follow: a.Follow}
	if end, ok := ctx.Deadline(); ok {
		w.deadline = end.Add(-a.Spare)
	}
	if a.Queued != nil {
		w.notice = make(chan notice, 1)
	}
	if err := l.enter(w); err != nil {
		return connic.Permit{}, err
	}
	entered := true
	defer func() { // a Queued that panics leaves nothing in line
		if entered {
			l.leave(w)
		}
	}()
	for {
		select {
		case <-w.ready:
			entered = false
			return w.permit, w.err
		case n := <-w.notice:
			a.Queued(n.reason, n.wait)
		case <-ctx.Done():
			entered = false
			l.leave(w)
			return connic.Permit{}, ctx.Err()
		}
	}
}

// enter puts w in line, unless its turn cannot come in time.
func (l *limiter) enter(w *waiter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() // not before what an answer has set
	w.since = now
	lane := lineOf(w.lane)
	ahead := 0
	for i := 0; i <= lane && !w.again; i++ {
		ahead += l.lines[i].len
	}
	if err := l.futile(w, now, ahead); err != nil {
		return err
	}
	if w.noWait && l.alone == nil && (ahead > 0 || l.left[lane] > 0) && l.askAt.After(now) {
		return &connic.LimitError{Wait: l.askAt.Sub(now), Reason: connic.ReasonWindow}
	}
	l.lines[lane].insert(w, w.again)
	if l.left[lane] == 0 {
		l.askAt = time.Time{}
	} else if l.askAt.After(now) {
		w.tell(connic.ReasonWindow, l.askAt.Sub(now))
	}
	l.advance(now)
	return nil
}

// leave takes w out of the line, and gives back what it was granted meanwhile.
func (l *limiter) leave(w *waiter) {
	l.mu.Lock()
	if w.line != nil {
		w.line.remove(w)
		l.mu.Unlock()
		return
	}
	if w.err == nil {
		l.reserved -= w.follow
	}
	l.mu.Unlock()
	if w.err == nil {
		l.Release(w.permit, connic.Outcome{Kind: connic.OutcomeNotSent})
	}
}

// Reserve implements [connic.Reserver]: the slots are reserved in the whole fleet.
func (l *limiter) Reserve(slots int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved += slots
	if slots < 0 {
		l.advance(time.Now())
	}
}

// Release implements [connic.Limiter].
func (l *limiter) Release(p connic.Permit, o connic.Outcome) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.open[p.ID]
	if !ok {
		return
	}
	delete(l.open, p.ID)
	t.ended, t.kind = now, o.Kind
	if o.Kind == connic.OutcomeRefused {
		l.refusals++
		t.retry = min(max(o.RetryAfter, minPause), maxPause)
		if end := now.Add(t.retry); end.After(l.paused) {
			l.paused = end
		}
		l.refuse(now)
	}
	// A pause stops the others, and what was not used is theirs.
	l.urgent = l.urgent || o.Kind == connic.OutcomeRefused || o.Kind == connic.OutcomeNotSent
	if t.by != nil {
		// It locks nothing that calls back, and is asked under the mutex as well.
		t.by.Release(t.permit, governor.Kind(o.Kind), o.RetryAfter)
		if a := l.alone; a != nil && a.local == t.by {
			a.ended(now, o, l.n, l.hold)
		}
		t.by = nil
	}
	l.ended = append(l.ended, t)
	l.advance(now)
}

// expire forgets the trips that do not count any more, once they are reported.
func (l *limiter) expire(now time.Time) {
	n := 0
	for n < l.told && (now.Sub(l.ended[n].ended) >= l.hold || l.ended[n].kind == connic.OutcomeNotSent) {
		n++
	}
	// While the store is gone, nothing can be reported.
	for l.alone != nil && n < len(l.ended) && now.Sub(l.ended[n].ended) >= l.hold {
		n++
	}
	if n > 0 {
		l.ended = append(l.ended[:0], l.ended[n:]...)
		l.told = max(0, l.told-n)
	}
}

// Status implements [connic.Limiter]. Used counts the whole fleet, as the store
// last said. Shared is set while other processes are there, and Share is an equal
// part. It does no I/O.
func (l *limiter) Status() connic.RateLimitStatus {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := connic.RateLimitStatus{
		Limit: l.n, Window: l.window, Used: l.answer.used, InFlight: len(l.open),
		Waiting: l.waiting() - l.lines[polls].len, Polling: l.lines[polls].len, Reserved: max(0, l.reserved), Refusals: l.refusals,
	}
	if now.Sub(l.seen) >= l.hold {
		s.Used = 0
	}
	if a := l.alone; a != nil {
		s.Used, s.Fallback = l.counting(now), l.mask.Line("the store of the shared quota: "+a.cause.Error(), 256)
	}
	s.Used = max(s.Used, len(l.open))
	if l.processes > 1 {
		s.Shared, s.Share = true, max(1, l.n/l.processes)
	}
	if now.Before(l.paused) {
		s.PausedUntil = l.paused
	}
	return s
}

// counting is how many of the process's own trips count.
func (l *limiter) counting(now time.Time) int {
	n := len(l.open)
	for i := range l.ended {
		if t := &l.ended[i]; t.kind != connic.OutcomeNotSent && now.Sub(t.ended) < l.hold {
			n++
		}
	}
	return n
}

// never is an instant that does not come.
var never = time.Unix(math.MaxInt32, 0)
