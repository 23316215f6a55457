package governor

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// admitted counts how many of n attempts go at once.
func admitted(t *testing.T, g *Governor, lane Lane, n int) (ids []uint64) {
	t.Helper()
	for range n {
		id, err := g.Acquire(t.Context(), Admission{Lane: lane, NoWait: true})
		if err != nil {
			break
		}
		ids = append(ids, id)
	}
	return ids
}

// spend ends n attempts with answers.
func spend(t *testing.T, g *Governor, lane Lane, n int) {
	t.Helper()
	for range n {
		id, err := g.Acquire(t.Context(), Admission{Lane: lane})
		if err != nil {
			t.Fatal(err)
		}
		g.Release(id, Answered, 0)
	}
}

// wait asks for an attempt that takes so long, and tells when it went.
func wait(ctx context.Context, g *Governor, a Admission, took time.Duration) <-chan time.Time {
	went := make(chan time.Time, 1)
	go func() {
		id, err := g.Acquire(ctx, a)
		if err != nil {
			close(went)
			return
		}
		went <- time.Now()
		time.Sleep(took)
		g.Release(id, Answered, 0)
	}()
	synctest.Wait()
	return went
}

func TestSlowAttemptsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	t.Run("at the beginning", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			g := New(60, time.Minute)
			for range 5 {
				wait(t.Context(), g, Admission{}, 50*time.Second)
			}
			start := time.Now()
			if at := <-wait(t.Context(), g, Admission{}, 0); at.Sub(start) > 5*time.Second {
				t.Errorf("a call waits %v for uploads", at.Sub(start))
			}
			time.Sleep(time.Minute)
		})
	})
	t.Run("after a pause", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			g := New(60, time.Minute)
			wait(t.Context(), g, Admission{}, 9*time.Minute)
			id, _ := g.Acquire(t.Context(), Admission{})
			g.Release(id, Refused, 5*time.Second)
			start := time.Now()
			if at := <-wait(t.Context(), g, Admission{}, 0); at.Sub(start) != 5*time.Second {
				t.Errorf("a call waits %v for an upload", at.Sub(start))
			}
			time.Sleep(10 * time.Minute)
		})
	})
	t.Run("they count against the window", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			g := New(8, time.Minute)
			for range 8 {
				wait(t.Context(), g, Admission{}, 5*time.Minute)
				time.Sleep(5 * time.Second)
			}
			if n := len(admitted(t, g, Call, 1)); n != 0 || g.Status().InFlight != 8 {
				t.Errorf("%d more than the window go; %+v", n, g.Status())
			}
			time.Sleep(10 * time.Minute)
		})
	})
}

// Whatever becomes of the caller's goroutine, no position in a queue and no permit is lost.
func TestCallersThatDieLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, die := range map[string]func(){"panic": func() { panic("oh") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := New(1, time.Minute)
				spend(t, g, Call, 1)
				for range 10 {
					go func() {
						defer func() { _ = recover() }()
						_, _ = g.Acquire(context.Background(), Admission{Queued: func(Reason, time.Duration) { die() }})
					}()
				}
				synctest.Wait()
				if s := g.Status(); s.Waiting != 0 || s.InFlight != 0 {
					t.Errorf("they left %+v", s)
				}
				start := time.Now()
				if at := <-wait(t.Context(), g, Admission{}, 0); at.Sub(start) > 61*time.Second {
					t.Errorf("the next one waits %v", at.Sub(start))
				}
			})
		})
	}
	// One that was admitted while it told its user so gives the permit back.
	synctest.Test(t, func(t *testing.T) {
		g := New(1, time.Minute)
		spend(t, g, Call, 1)
		go func() {
			defer func() { _ = recover() }()
			_, _ = g.Acquire(context.Background(), Admission{Follow: 3, Queued: func(Reason, time.Duration) {
				time.Sleep(2 * time.Minute)
				panic("late")
			}})
		}()
		time.Sleep(3 * time.Minute)
		if s := g.Status(); s.InFlight != 0 || s.Used != 0 || g.reserved != 0 {
			t.Errorf("it left %+v and reserved %d slots", s, g.reserved)
		}
	})
}

func TestAUserThatCallsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(1, time.Minute)
		spend(t, g, Call, 1)
		id, err := g.Acquire(t.Context(), Admission{Queued: func(Reason, time.Duration) {
			g.Status()
			g.Reserve(1)
			g.Reserve(-1)
			_, err := g.Acquire(t.Context(), Admission{NoWait: true})
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Errorf("%v", err)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		g.Release(id, Answered, 0)
		g.Release(id, Answered, 0) // a second time changes nothing
		g.Release(0, Answered, 0)
		if s := g.Status(); s.InFlight != 0 || s.Used != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// What the caller ended is no failure of the service: no number of it spreads out
// the attempts of others.
func TestAbandonedAttemptsAreNoOutage(t *testing.T) {
	t.Parallel()
	for kind, spread := range map[Kind]bool{Abandoned: false, Failed: true} {
		synctest.Test(t, func(t *testing.T) {
			g := New(60, time.Minute)
			spend(t, g, Call, 20)
			for range 12 {
				id, err := g.Acquire(t.Context(), Admission{})
				if err != nil {
					t.Fatal(err)
				}
				g.Release(id, kind, 0)
			}
			if n := len(admitted(t, g, Call, 5)); (n < 5) != spread {
				t.Errorf("after kind %d, %d of 5 attempts go", kind, n)
			}
			if used := g.Status().Used; used < 32 {
				t.Errorf("%d attempts count", used)
			}
		})
	}
}

// A deadline that can be met, because an attempt in flight ends unsent, is not refused.
func TestAnUnsentAttemptReturnsItsSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(2, time.Minute)
		first, second := admitted(t, g, Call, 1), admitted(t, g, Call, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		went := wait(ctx, g, Admission{}, 0)
		g.Release(first[0], NotSent, 0)
		if at := <-went; at.IsZero() {
			t.Error("it was refused")
		}
		g.Release(second[0], Answered, 0)
		// Once all have really been sent, it is certain, and said at once.
		start := time.Now()
		if at, ok := <-wait(ctx, g, Admission{}, 0); ok || time.Since(start) != 0 {
			t.Errorf("it went after %v", at.Sub(start))
		}
	})
}

// An attempt that needs time behind it is not sent when there is none left.
func TestSpareTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(60, time.Minute)
		for deadline, want := range map[time.Duration]bool{2 * time.Second: false, 4 * time.Second: true} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			_, err := g.Acquire(ctx, Admission{Spare: 3 * time.Second})
			var refusal *Refusal
			if (err == nil) != want || !want && (!errors.As(err, &refusal) || !refusal.Deadline || refusal.Reason != Late) {
				t.Errorf("with %v: %v", deadline, err)
			}
			cancel()
		}
		// In line, where nothing says how long it takes, it gives up when it is too late.
		g = New(60, time.Minute)
		held := admitted(t, g, Call, 5)
		id, err := g.Acquire(t.Context(), Admission{Lane: Cancel})
		if err == nil {
			g.Release(id, Refused, time.Second) // and the next ones probe
		}
		probe := wait(t.Context(), g, Admission{}, 2*time.Second)
		<-probe
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		g.mu.Lock()
		g.probing = true
		g.mu.Unlock()
		_, err = g.Acquire(ctx, Admission{Spare: 3500 * time.Millisecond})
		var refusal *Refusal
		if !errors.As(err, &refusal) || time.Since(start) != 500*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		for _, id := range held {
			g.Release(id, NotSent, 0)
		}
		time.Sleep(10 * time.Second)
	})
}

// While its user is told, an attempt takes no slot from others, and it keeps its
// position.
func TestWhoeverIsToldHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(1, time.Minute)
		spend(t, g, Call, 1)
		told := make(chan struct{})
		start := time.Now()
		slow := make(chan time.Time, 1)
		go func() {
			id, err := g.Acquire(t.Context(), Admission{Queued: func(Reason, time.Duration) { <-told }})
			if err != nil {
				t.Error(err)
			}
			slow <- time.Now()
			g.Release(id, Answered, 0)
		}()
		synctest.Wait()
		if at := <-wait(t.Context(), g, Admission{}, 0); at.Sub(start) > 61*time.Second {
			t.Errorf("the next one waits %v", at.Sub(start))
		}
		third := wait(t.Context(), g, Admission{}, 0)
		close(told)
		if at := <-slow; !at.Before(<-third) {
			t.Error("it lost its position")
		}
	})
}

// One that gives up because too little time is left says why it waited, and how long
// it would go on to.
func TestGivingUpSaysWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(1, time.Minute)
		admitted(t, g, Call, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := time.Now()
		_, err := g.Acquire(ctx, Admission{Spare: 5 * time.Second})
		var refusal *Refusal
		if !errors.As(err, &refusal) || *refusal != (Refusal{Reason: Window, Deadline: true}) || time.Since(start) != 15*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(start), refusal, err)
		}
	})
}
