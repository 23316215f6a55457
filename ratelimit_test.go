package connic_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

// The individual rules of the limiter. Their combined effect is tested in
// rate_test.go.

// queue records the order in which attempts are admitted, and their errors.
type queue struct {
	limiter connic.Limiter
	mu      sync.Mutex
	order   []string
	errs    map[string]error
	permits map[string]connic.Permit
	at      map[string]time.Duration
	start   time.Time
}

func newQueue(n int) *queue {
	return &queue{
		limiter: connic.NewLimiter(n, time.Minute), start: time.Now(),
		errs: make(map[string]error), permits: make(map[string]connic.Permit), at: make(map[string]time.Duration),
	}
}

// join requests an attempt, and returns when it is admitted, refused or queued.
func (q *queue) join(ctx context.Context, name string, a connic.Admission) {
	go func() {
		permit, err := q.limiter.Acquire(ctx, a)
		q.mu.Lock()
		defer q.mu.Unlock()
		if err == nil {
			q.order = append(q.order, name)
		}
		q.permits[name], q.errs[name], q.at[name] = permit, err, time.Since(q.start)
	}()
	synctest.Wait()
}

// end ends the attempt with a name.
func (q *queue) end(name string, kind connic.OutcomeKind, retryAfter time.Duration) {
	q.limiter.Release(q.permits[name], connic.Outcome{Kind: kind, RetryAfter: retryAfter})
	synctest.Wait()
}

// use ends n attempts with responses at once.
func (q *queue) use(t *testing.T, n int) {
	t.Helper()
	for range n {
		q.limiter.Release(must[connic.Permit](t)(q.limiter.Acquire(t.Context(), connic.Admission{})), connic.Outcome{})
	}
}

func (q *queue) expect(t *testing.T, want ...string) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) != len(want) {
		t.Errorf("%v were admitted, want %v", q.order, want)
		return
	}
	for i := range want {
		if q.order[i] != want[i] {
			t.Errorf("%v were admitted, want %v", q.order, want)
			return
		}
	}
}

func TestAnAttemptCountsForAWindowAndAMargin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(60)
		q.use(t, 1)
		time.Sleep(time.Minute)
		if used := q.limiter.Status().Used; used != 1 {
			t.Errorf("after the window %d attempts count, want 1", used)
		}
		time.Sleep(20 * time.Millisecond)
		if used := q.limiter.Status().Used; used != 0 {
			t.Errorf("after window and margin %d attempts count", used)
		}
	})
}

func TestQueuesOfTheLimiter(t *testing.T) {
	t.Parallel()
	poll, again := connic.Admission{Lane: connic.LanePoll}, connic.Admission{Again: true}
	t.Run("polls go before calls", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(10)
			for range 10 {
				q.use(t, 1)
				time.Sleep(time.Second)
			}
			q.join(t.Context(), "call", connic.Admission{})
			q.join(t.Context(), "poll", poll)
			q.join(t.Context(), "cancel", connic.Admission{Lane: connic.LaneCancel})
			q.join(t.Context(), "low", connic.Admission{Lane: connic.LaneLow})
			q.join(t.Context(), "other call", connic.Admission{})
			time.Sleep(61 * time.Second)
			q.expect(t, "cancel", "poll", "call", "other call", "low")
		})
	})
	t.Run("a refused attempt goes first", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(60)
			q.join(t.Context(), "refused", connic.Admission{})
			q.end("refused", connic.OutcomeRefused, 10*time.Second)
			q.join(t.Context(), "first", connic.Admission{})
			q.join(t.Context(), "second", connic.Admission{})
			q.join(t.Context(), "again", again)
			time.Sleep(11 * time.Second)
			q.expect(t, "refused", "again") // and the others wait for its response
			q.end("again", connic.OutcomeAnswered, 0)
			time.Sleep(2 * time.Minute)
		})
		// It keeps its position in its own lane, and gains none.
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(0)
			q.join(t.Context(), "refused", connic.Admission{Lane: connic.LaneLow})
			q.end("refused", connic.OutcomeRefused, 10*time.Second)
			q.join(t.Context(), "call", connic.Admission{})
			q.join(t.Context(), "again", connic.Admission{Lane: connic.LaneLow, Again: true})
			time.Sleep(11 * time.Second)
			q.expect(t, "refused", "call")
			q.end("call", connic.OutcomeAnswered, 0)
			q.expect(t, "refused", "call", "again")
		})
	})
	t.Run("one goes first after a pause", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(0)
			q.join(t.Context(), "refused", connic.Admission{})
			q.end("refused", connic.OutcomeRefused, 10*time.Second)
			q.join(t.Context(), "first", connic.Admission{})
			q.join(t.Context(), "second", connic.Admission{})
			time.Sleep(11 * time.Second)
			q.expect(t, "refused", "first")
			q.end("first", connic.OutcomeAnswered, 0)
			q.expect(t, "refused", "first", "second")
		})
	})
}

func TestPausesOfTheLimiter(t *testing.T) {
	t.Parallel()
	t.Run("a shorter one does not end a longer one", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(60)
			q.join(t.Context(), "a", connic.Admission{})
			q.join(t.Context(), "b", connic.Admission{})
			q.end("a", connic.OutcomeRefused, 30*time.Second)
			q.end("b", connic.OutcomeRefused, 5*time.Second)
			if left := time.Until(q.limiter.Status().PausedUntil); left != 30*time.Second {
				t.Errorf("the pause lasts %v, want 30s", left)
			}
		})
	})
	t.Run("those who cannot wait are told at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(1)
			q.join(t.Context(), "a", connic.Admission{})
			short, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			q.join(short, "short", connic.Admission{})
			q.join(t.Context(), "long", connic.Admission{})
			q.end("a", connic.OutcomeRefused, 100*time.Second)
			var refusal *connic.LimitError
			q.mu.Lock()
			err, at := q.errs["short"], q.at["short"]
			q.mu.Unlock()
			if !errors.As(err, &refusal) || !errors.Is(err, context.DeadlineExceeded) || at != 0 || refusal.Wait != 100*time.Second {
				t.Errorf("after %v: %v", at, err)
			}
			time.Sleep(101 * time.Second)
			q.expect(t, "a", "long")
		})
	})
	t.Run("a very long one is cut, and asked about again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(1)
			q.join(t.Context(), "a", connic.Admission{})
			q.join(t.Context(), "in line", connic.Admission{})
			q.end("a", connic.OutcomeRefused, 24*time.Hour)
			q.join(t.Context(), "later", connic.Admission{})
			time.Sleep(10*time.Minute + time.Second)
			q.expect(t, "a", "in line")
			q.end("in line", connic.OutcomeRefused, 24*time.Hour)
			time.Sleep(9 * time.Minute)
			q.expect(t, "a", "in line")
			time.Sleep(time.Minute + time.Second)
			q.expect(t, "a", "in line", "later")
			q.end("later", connic.OutcomeAnswered, 0)
			if at := q.limiter.Status().PausedUntil; !at.IsZero() {
				t.Errorf("after an answer there is a pause until %v", at)
			}
		})
	})
}

// The turn of the nth in the queue comes when the nth of those that count
// expires: a later deadline must not refuse it.
func TestAWaitThatFitsIsNotRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(10)
		q.use(t, 4)
		time.Sleep(10 * time.Second)
		q.use(t, 4) // 2 are free
		q.join(t.Context(), "a", connic.Admission{})
		q.join(t.Context(), "b", connic.Admission{}) // 2 in flight, 8 count
		for range 3 {
			q.join(t.Context(), "others", connic.Admission{})
		}
		// The fourth in the queue takes the last of the first four slots, in 50
		// s.
		for name, wait := range map[string]time.Duration{"fits": 51 * time.Second, "does not": 49 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			q.join(ctx, name, connic.Admission{})
			q.mu.Lock()
			if err := q.errs[name]; (err != nil) != (name == "does not") {
				t.Errorf("a wait of %v: %v", wait, err)
			}
			q.mu.Unlock()
		}
		q.end("a", connic.OutcomeAnswered, 0)
		q.end("b", connic.OutcomeAnswered, 0)
		time.Sleep(time.Minute)
	})
}

// If a pause holds up more waiters than there are free slots, the free ones
// come first.
func TestFreeSlotsCountInAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(10)
		q.use(t, 1)
		time.Sleep(30 * time.Second)
		q.use(t, 6)
		q.join(t.Context(), "refused", connic.Admission{})
		q.end("refused", connic.OutcomeRefused, 5*time.Second) // 2 are free
		q.join(t.Context(), "a", connic.Admission{})
		q.join(t.Context(), "b", connic.Admission{})
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		q.join(ctx, "third", connic.Admission{}) // its slot is free in 30 s
		q.mu.Lock()
		defer q.mu.Unlock()
		if err := q.errs["third"]; err != nil {
			t.Error(err)
		}
		cancel()
	})
}

// A waiter that gives up at the moment it is admitted returns its slot to the
// next one.
func TestASlotIsNotLostWithItsWaiter(t *testing.T) {
	t.Parallel()
	for range 100 { // whether it is admitted before it leaves the queue is random
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(10)
			for _, name := range []string{"a", "b", "c", "d"} { // no more at first
				q.join(t.Context(), name, connic.Admission{})
			}
			ctx, cancel := context.WithCancel(t.Context())
			q.join(ctx, "first", connic.Admission{})
			q.join(t.Context(), "second", connic.Admission{})
			q.expect(t, "a", "b", "c", "d")
			cancel()
			q.limiter.Release(q.permits["d"], connic.Outcome{Kind: connic.OutcomeNotSent})
			synctest.Wait()
			q.expect(t, "a", "b", "c", "d", "second")
			for _, name := range []string{"a", "b", "c", "second"} {
				q.end(name, connic.OutcomeAnswered, 0)
			}
			if s := q.limiter.Status(); s.InFlight != 0 || s.Waiting != 0 {
				t.Errorf("at the end there are %d in flight and %d in line", s.InFlight, s.Waiting)
			}
		})
	}
}
