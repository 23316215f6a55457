package watch

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An item that is known to have ended is fetched before those that the list does
// not show.
func TestEndedItemsGoFirst(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *service) {
		s.terse = true
		old := s.add("old", 300, 24*time.Hour, false)
		own := s.add("own", 20, 5*time.Second, true)
		w := s.watch(both)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		start := time.Now()
		got := wait(ctx, w, usual, append(old, own...)...)
		for _, id := range own {
			if o := got[id]; o.ended != nil || o.at.Sub(start) > 110*time.Second { // three a poll, and three of the old ones
				t.Errorf("%s ends after %v: %+v", id, o.at.Sub(start), o.ended)
			}
		}
	})
}

// Each end is noticed within 20 s, whatever another wait, or hundreds of them, still
// have to fetch.
func TestWaitsTakeTurns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		old    time.Duration // when the old ones end
		listed bool
		each   bool // a wait for each of them
	}{
		"ended":                 {0, true, false},
		"ended, many waits":     {0, true, true},
		"not in the list":       {24 * time.Hour, false, false},
		"not in the list, many": {24 * time.Hour, false, true},
		"running":               {24 * time.Hour, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *service) {
				s.terse = true
				old := s.add("old", 300, test.old, test.listed)
				w := s.watch(both)
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				if test.each {
					for _, id := range old {
						all.Go(func() { wait(ctx, w, usual, id) })
					}
				} else {
					all.Go(func() { wait(ctx, w, usual, old...) })
				}
				for i := range 10 { // others come and go
					time.Sleep(7 * time.Second)
					id := s.add(fmt.Sprint("new-", i), 1, 10*time.Second, true)[0]
					end := s.end(id)
					all.Go(func() {
						o := wait(ctx, w, usual, id)[id]
						if late := o.at.Sub(end); o.own == nil || o.own.Output == nil || late > 20*time.Second {
							t.Errorf("%s is noticed after %v: %+v", id, late, o.own)
						}
					})
				}
				time.Sleep(3 * time.Minute)
				if n := s.sent(3 * time.Minute); n > 3*26 {
					t.Errorf("%d requests in three minutes", n)
				}
				cancel()
				all.Wait()
			})
		})
	}
}

// Without a list, a wait for many leaves its turn to a wait for one.
func TestWaitsWithoutAListTakeTurns(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *service) {
		w := s.watch(getOnly)
		ctx, cancel := context.WithCancel(t.Context())
		old := s.add("old", 300, 24*time.Hour, false)
		var all sync.WaitGroup
		all.Go(func() { wait(ctx, w, usual, old...) })
		time.Sleep(3 * time.Minute)
		id := s.add("new", 1, 100*time.Second, false)[0]
		o := wait(ctx, w, usual, id)[id]
		if late := time.Since(s.end(id)); o.own == nil || late > 30*time.Second {
			t.Errorf("it is noticed after %v", late)
		}
		// And all others have been asked for in the time that their number takes.
		time.Sleep(15 * time.Minute)
		asked := make(map[string]int)
		for _, r := range s.log() {
			asked[r.id]++
		}
		for _, id := range old {
			if asked[id] == 0 {
				t.Errorf("%s was never asked for", id)
			}
		}
		cancel()
		all.Wait()
	})
}

// Polls use the slots that are reserved for them: those of this window count, so that
// at most half of the quota is used or reserved. The fake checks that at each step.
func TestUsedSlotsAreNotReservedAgain(t *testing.T) {
	t.Parallel()
	for _, offers := range []int{both, getOnly} {
		for _, n := range []int{5, 40, 300} {
			for _, waiting := range []int{0, 5} {
				inBubble(t, func(t *testing.T, s *service) {
					s.waiting = waiting
					if offers == both {
						s.fail = func(_ context.Context, id string) error { return map[bool]error{true: errUseless}[id == ""] }
					}
					ids := s.add("a", n, 24*time.Hour, true)
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
					defer cancel()
					var all sync.WaitGroup
					all.Go(func() { wait(ctx, s.watch(offers), usual, ids...) })
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					before := len(s.log())
					idle := 0
					for range 4 * 60 {
						time.Sleep(time.Second)
						s.mu.Lock()
						idle += s.reserved
						s.mu.Unlock()
					}
					rate, reserved := (len(s.log())-before)/4, float64(idle)/(4*60)
					if rate < 15 || rate > 30 || n > 30 && (rate < 22 || reserved > 2) || reserved > 5 {
						t.Errorf("%d items: %d requests a minute, %.1f slots reserved", n, rate, reserved)
					}
					all.Wait()
				})
			}
		}
	}
}

// Items that the list does not show, as far as it goes, do not make every poll search
// all of it.
func TestAPollDoesNotSearchForWhatIsNotListed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *service) {
		s.add("other", 5000, 24*time.Hour, true)
		own := s.add("own", 20, 24*time.Hour, true)
		old := s.add("old", 50, 24*time.Hour, false)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		wait(ctx, s.watch(both), usual, append(own, old...)...)
		searched := 0
		for _, r := range s.log() {
			if r.id == "" && r.page > 0 {
				searched++
			}
		}
		if searched > 14 {
			t.Errorf("%d pages after the first were requested in ten minutes", searched)
		}
	})
}
