package watch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Slots are reserved while something is waited for, and none afterwards, however
// the waits end.
func TestReservedSlotsReturnToZero(t *testing.T) {
	t.Parallel()
	for offers, name := range []string{"list and get", "get only", "list only"} {
		for _, n := range []int{1, 2, 40, 300} {
			for end, fail := range map[string]func(context.Context, string) error{
				"the items end": nil,
				"given up":      func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
				"no list":       func(_ context.Context, id string) error { return map[bool]error{true: errUseless}[id == ""] },
				"down":          func(context.Context, string) error { return errDown },
				"panic":         func(context.Context, string) error { panic("oh") },
				"Goexit":        func(context.Context, string) error { runtime.Goexit(); return nil },
			} {
				t.Run(fmt.Sprint(name, "/", n, "/", end), func(t *testing.T) {
					t.Parallel()
					inBubble(t, func(t *testing.T, s *service) {
						ids := s.add("a", n, 30*time.Second, true)
						s.fail = fail
						w := s.watch(offers)
						w.Expect(2, 1, false)
						w.Expect(-2, -1, false)
						ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
						defer cancel()
						got := wait(ctx, w, usual, ids...)
						for _, o := range got {
							if (o.own != nil && o.ended == nil) != (fail == nil || end == "no list" && offers != listOnly) {
								t.Errorf("an item ends as %+v, %+v", o.own, o.ended)
								break
							}
						}
						time.Sleep(time.Second)
						synctest.Wait()
						s.mu.Lock()
						defer s.mu.Unlock()
						if s.max < 1 || s.max > 30 {
							t.Errorf("%d slots were reserved", s.max)
						}
						if !w.Idle() {
							t.Error("it is not idle")
						}
					})
				})
			}
		}
	}
}

// A wait that leaves at any moment, and joins again, keeps nothing.
func TestLeavingAtAnyMoment(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *service) {
		ids := s.add("a", 50, time.Hour, true)
		w := s.watch(both)
		var all sync.WaitGroup
		for i, id := range ids {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i*i*37)*time.Millisecond)
				defer cancel()
				if o := wait(ctx, w, usual, id)[id]; o.ended == nil || !errors.Is(o.ended.Err, context.DeadlineExceeded) {
					t.Errorf("%+v", o)
				}
			})
		}
		all.Wait()
	})
}

// A request without a response is sent a second time, and never a third time while
// both are in flight.
func TestAtMostTwoRequestsOfAPoll(t *testing.T) {
	t.Parallel()
	for offers := range 3 {
		for _, n := range []int{1, 20} {
			inBubble(t, func(t *testing.T, s *service) {
				ids := s.add("a", n, 0, true)
				stuck := time.Now().Add(95 * time.Second)
				s.fail = func(ctx context.Context, _ string) error {
					if time.Now().Before(stuck) {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}
				w := s.watch(offers)
				got := wait(t.Context(), w, usual, ids...)
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.most != 2 || len(got) != n || got[ids[0]].own == nil {
					t.Errorf("%d at once; %d items ended", s.most, len(got))
				}
			})
		}
	}
}

// A repeated request that does not end with its context is the only one until it ends.
func TestRequestsThatIgnoreTheirContext(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *service) {
		id := s.add("a", 1, 0, true)[0]
		start := time.Now()
		s.fail = func(ctx context.Context, _ string) error {
			if end, _ := ctx.Deadline(); time.Until(end) < 30*time.Second { // a repeated one
				time.Sleep(time.Minute)
			} else if time.Since(start) < 3*time.Minute {
				time.Sleep(15 * time.Second)
				return errDown
			}
			return nil
		}
		wait(t.Context(), s.watch(getOnly), usual, id)
		time.Sleep(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.most != 2 {
			t.Errorf("%d at once", s.most)
		}
	})
}

// Value is the same for all waits, and never written to; Own is one wait's.
func TestValuesAndTheirOwners(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *service) {
		id := s.add("a", 1, 5*time.Second, true)[0]
		w := s.watch(both)
		var mu sync.Mutex
		values, owners := make(map[*job]int), make(map[*job]bool)
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				x := w.Join(t.Context(), Terms{Initial: time.Second, Max: time.Second, Every: true}, false, id)
				defer x.Leave()
				for done := false; !done; {
					updates, _, _, _ := x.Next(t.Context(), nil)
					mu.Lock()
					for _, u := range updates {
						values[u.Value]++
						if done = u.Done; done {
							owners[u.Own] = true
							if u.Own == u.Value || u.Own.Output[0] != "the output of a-000" || u.Value.Output[0] != u.Own.Output[0] {
								t.Errorf("it got %+v of %+v", u.Own, u.Value)
							}
							u.Own.Output[0] = fmt.Sprint("mine ", i)
						}
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(owners) != 5 || len(values) < 3 {
			t.Errorf("5 waits got %d results and saw %d values", len(owners), len(values))
		}
		for value, n := range values {
			if n != 5 {
				t.Errorf("%d waits saw %+v", n, value)
			}
		}
	})
}

// An item of a list that cannot be decoded ends its own waits, and those only if it
// cannot be fetched either.
func TestABadItemEndsItsOwnWaits(t *testing.T) {
	t.Parallel()
	for offers := range 3 {
		for _, healed := range []bool{false, true} {
			inBubble(t, func(t *testing.T, s *service) {
				ids := s.add("a", 10, 20*time.Second, true)
				s.bad = map[string]bool{ids[3]: true}
				s.fail = func(_ context.Context, id string) error {
					if id == ids[3] && healed {
						s.mu.Lock()
						defer s.mu.Unlock()
						s.bad = nil
					}
					return nil
				}
				w := s.watch(offers)
				got := make(map[string]outcome)
				var mu sync.Mutex
				var all sync.WaitGroup
				for _, id := range ids {
					all.Go(func() {
						o := wait(t.Context(), w, usual, id)[id]
						mu.Lock()
						defer mu.Unlock()
						got[id] = o
					})
				}
				all.Wait()
				for i, id := range ids {
					fine := i != 3 || healed && offers != listOnly
					if o := got[id]; (o.ended == nil) != fine || !fine && !errors.Is(o.ended.Err, errBad) {
						t.Errorf("%d, %v: %s ends as %+v, %+v", offers, healed, id, o.own, o.ended)
					}
				}
			})
		}
	}
}

// A response that is about another item is a failed poll.
func TestForeignResponses(t *testing.T) {
	t.Parallel()
	for lasts, fine := range map[time.Duration]bool{10 * time.Second: true, time.Hour: false} {
		inBubble(t, func(t *testing.T, s *service) {
			id, other := s.add("a", 1, 0, true)[0], s.add("b", 1, 0, true)[0]
			start := time.Now()
			w := s.watch(getOnly)
			get := w.kind.Get
			w.kind.Get = func(ctx context.Context, id string, a Ask) (*job, error) {
				if time.Since(start) < lasts {
					id = other
				}
				return get(ctx, id, a)
			}
			o := wait(t.Context(), w, usual, id)[id]
			took := time.Since(start)
			if fine && (o.own == nil || o.own.ID != id) || !fine && (o.ended == nil || !errors.Is(o.ended.Err, errForeign) || took < MissingFor || took > 2*MissingFor) {
				t.Errorf("for %v: %+v, %+v after %v", lasts, o.own, o.ended, took)
			}
		})
	}
}

// What a Watch remembers does not belong to the test, or the time, of a wait.
func TestAnIdleWatchServesAgain(t *testing.T) {
	t.Parallel()
	s := new(service)
	w := s.watch(both)
	for i := range 3 {
		synctest.Test(t, func(t *testing.T) {
			s.requests = nil
			ids := s.add(fmt.Sprint(i), 5, 3*time.Second, true)
			if got := wait(t.Context(), w, usual, ids...); len(got) != 5 || got[ids[4]].own == nil {
				t.Errorf("%+v", got)
			}
			synctest.Wait()
		})
	}
}

// More, Wake, Has and Last.
func TestAWaitThatGrows(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *service) {
		ids := s.add("a", 3, 10*time.Second, true)
		w := s.watch(both)
		x := w.JoinKnown(t.Context(), usual, true, &job{ID: ids[0], Status: "queued"}, ids[0])
		defer x.Leave()
		if last := x.Last(); last == nil || last.Status != "queued" {
			t.Errorf("it is known as %+v", last)
		}
		x.Wake()
		if updates, id, open, ended := x.Next(t.Context(), nil); len(updates) > 0 || id != nil || !open || ended != nil {
			t.Error("a wait that is woken has something")
		}
		more := make(chan string, 2)
		more <- ids[1]
		_, id, _, _ := x.Next(t.Context(), more)
		x.More(*id)
		x.More(*id)
		close(more)
		if _, _, open, _ := x.Next(t.Context(), more); open || !x.Has(ids[1]) || x.Has(ids[2]) {
			t.Error("it does not grow")
		}
		ended := 0
		for !x.Empty() {
			updates, _, _, _ := x.Next(t.Context(), nil)
			ended += len(updates)
		}
		if ended != 2 {
			t.Errorf("%d of 2 ended", ended)
		}
		if s.log()[0].at.Equal(time.Now().Add(-10 * time.Second)) {
			t.Error("the first poll came at once")
		}
	})
}
