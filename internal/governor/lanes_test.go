package governor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// While calls wait, polls have what is reserved for them and half of the window at most.
func TestNoLaneStopsAnother(t *testing.T) {
	t.Parallel()
	for _, flood := range []Lane{Poll, Cancel, Call} {
		synctest.Test(t, func(t *testing.T) {
			g := New(60, time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			for range 300 {
				go func() {
					for ctx.Err() == nil {
						if id, err := g.Acquire(ctx, Admission{Lane: flood}); err == nil {
							time.Sleep(100 * time.Millisecond)
							g.Release(id, Answered, 0)
						}
					}
				}()
			}
			time.Sleep(5 * time.Minute)
			for lane := range lanes {
				start := time.Now()
				went := wait(ctx, g, Admission{Lane: lane}, 0)
				if lane == flood {
					continue // it is behind 300 of its kind
				}
				if at := <-went; at.Sub(start) > 3*time.Minute {
					t.Errorf("under a flood of lane %d, one of lane %d waits %v", flood, lane, at.Sub(start))
				}
			}
			cancel()
			time.Sleep(time.Second)
		})
	}
}

func TestReservedSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(60, time.Minute)
		spend(t, g, Call, 40)
		g.Reserve(10)
		spend(t, g, Call, 10)
		if n := len(admitted(t, g, Call, 1)); n != 0 {
			t.Error("a call takes a reserved slot")
		}
		if n := len(admitted(t, g, Low, 1)); n != 0 {
			t.Error("a background call takes a reserved slot")
		}
		spend(t, g, Cancel, 5)
		if n := len(admitted(t, g, Cancel, 1)); n != 0 {
			t.Error("a cancel takes more than half of what is kept")
		}
		spend(t, g, Poll, 2)
		went := wait(t.Context(), g, Admission{}, 0)
		g.Reserve(-10)
		if at := <-went; !at.Equal(time.Now()) {
			t.Error("what is given back is not taken at once")
		}
		// Never more than half, however many are asked for.
		g.Reserve(1000)
		time.Sleep(2 * time.Minute)
		spend(t, g, Call, 30)
		if n := len(admitted(t, g, Call, 1)); n != 0 {
			t.Error("more than half goes")
		}
		g.Reserve(-1000)
		if g.reserved != 0 {
			t.Errorf("%d slots are reserved for nothing", g.reserved)
		}
	})
}

// TestDeadlinesThatCanBeMet reserves slots for polls, which may be free again when
// the window comes round: no caller with time enough is turned away for them.
func TestDeadlinesThatCanBeMet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(60, time.Minute)
		g.Reserve(30)
		spend(t, g, Call, 30)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Second)
		defer cancel()
		refused := 0
		var all sync.WaitGroup
		var mu sync.Mutex
		for range 100 {
			all.Go(func() {
				id, err := g.Acquire(ctx, Admission{Lane: Call})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused++
					return
				}
				g.Release(id, Answered, 0)
			})
			synctest.Wait()
		}
		g.Reserve(-30)
		all.Wait()
		if refused > 0 {
			t.Errorf("%d of 100 are turned away", refused)
		}
	})
}

// Slots that polls have used are not reserved a second time.
func TestCallsGetHalfBesidePolls(t *testing.T) {
	t.Parallel()
	for name, reserved := range map[string][]int{
		"one client": {30}, "several clients": {30, 30, 30}, "released before they are reserved": {-30, 30, 30},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := New(60, time.Minute)
				for _, n := range reserved {
					g.Reserve(n)
				}
				spend(t, g, Poll, 30)
				start := time.Now()
				var times []time.Duration
				for range 60 {
					times = append(times, (<-wait(t.Context(), g, Admission{}, 0)).Sub(start))
				}
				if times[29] != 0 || times[59] > 61*time.Second {
					t.Errorf("the 30th call goes after %v and the 60th after %v, want 0s and a window", times[29], times[59])
				}
			})
		})
	}
}

// Many polls without end leave half of each window to calls, and no slot is
// left unused while something is queued.
func TestPollsWithoutEndLeaveHalfToCalls(t *testing.T) {
	t.Parallel()
	for _, polls := range []int{10, 40, 300} {
		synctest.Test(t, func(t *testing.T) {
			g := New(60, time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var sent atomic.Int64
			g.Reserve(polls)
			for range polls {
				go func() {
					for ctx.Err() == nil {
						if id, err := g.Acquire(ctx, Admission{Lane: Poll}); err == nil {
							sent.Add(1)
							time.Sleep(100 * time.Millisecond)
							g.Release(id, Answered, 0)
							_ = sleep(ctx, 20*time.Second)
						}
					}
				}()
			}
			time.Sleep(5 * time.Minute)
			before, start := sent.Load(), time.Now()
			longest := time.Duration(0)
			for range 60 {
				asked := time.Now()
				went := <-wait(ctx, g, Admission{}, 100*time.Millisecond)
				longest = max(longest, went.Sub(asked))
				time.Sleep(200 * time.Millisecond)
			}
			took := time.Since(start)
			if took > 130*time.Second || longest > 70*time.Second {
				t.Errorf("beside %d polls 60 calls take %v, and one waits %v", polls, took, longest)
			}
			if rate := float64(sent.Load()-before+60) / took.Minutes(); polls >= 40 && rate < 58 {
				t.Errorf("beside %d polls %.1f attempts go in a minute", polls, rate)
			}
			cancel()
			synctest.Wait()
		})
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An attempt that does not wait takes any slot that is free and not needed by
// those who wait.
func TestAttemptsThatDoNotWait(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(t *testing.T, ctx context.Context, g *Governor)
		want    int
		reason  Reason
	}{
		"an unused quota":        {func(*testing.T, context.Context, *Governor) {}, 60, Window},
		"a part of it is used":   {func(t *testing.T, _ context.Context, g *Governor) { spend(t, g, Call, 17) }, 43, Window},
		"a part of it is kept":   {func(_ *testing.T, _ context.Context, g *Governor) { g.Reserve(10) }, 50, Reserved},
		"polls have used theirs": {func(t *testing.T, _ context.Context, g *Governor) { g.Reserve(30); spend(t, g, Poll, 20) }, 30, Reserved},
		"others wait for responses": {func(_ *testing.T, ctx context.Context, g *Governor) {
			for range 20 {
				wait(ctx, g, Admission{}, time.Second)
			}
		}, 40, Line},
		"after a pause": {func(t *testing.T, _ context.Context, g *Governor) {
			g.Release(admitted(t, g, Call, 1)[0], Refused, 5*time.Second)
			time.Sleep(5 * time.Second)
		}, 1, Flight},
		"in a pause": {func(t *testing.T, _ context.Context, g *Governor) {
			g.Release(admitted(t, g, Call, 1)[0], Refused, 5*time.Second)
		}, 0, Paused},
		"in an outage": {func(t *testing.T, _ context.Context, g *Governor) {
			for _, id := range admitted(t, g, Call, 10) {
				g.Release(id, Failed, 0)
			}
		}, 1, Outage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := New(60, time.Minute)
				ctx, cancel := context.WithCancel(t.Context())
				test.prepare(t, ctx, g)
				if ids := admitted(t, g, Call, 100); len(ids) != test.want {
					t.Errorf("%d go at once, want %d", len(ids), test.want)
				}
				_, err := g.Acquire(ctx, Admission{NoWait: true})
				var refusal *Refusal
				if !errors.As(err, &refusal) || refusal.Reason != test.reason {
					t.Errorf("the next is refused with %v, want %q", err, test.reason)
				}
				cancel()
				time.Sleep(time.Second)
			})
		})
	}
}
