package watch

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/grace"
)

const (
	// Growth is the factor by which the interval between polls grows.
	Growth = 1.5
	// lastPoll is how long before its deadline a wait polls once more.
	lastPoll = time.Second
)

// A Wait is the wait of one caller. It is guarded by the mutex of the Watch.
type Wait[T any] struct {
	watch    *Watch[T]
	terms    Terms
	start    time.Time
	deadline time.Time     // zero if none
	gap      time.Duration // before the next poll; 0 if none
	due      time.Time
	served   time.Time // when one of its items was last fetched by its id
	polls    int
	order    []string
	shares   map[string]*share[T]
	ready    []Update[T]
	signal   chan struct{}
}

// Join starts a wait for the items with the given ids. More can be added. The
// first poll is due at once, or after terms.Initial if pauseFirst is set.
func (w *Watch[T]) Join(ctx context.Context, terms Terms, pauseFirst bool, ids ...string) *Wait[T] {
	return w.JoinKnown(ctx, terms, pauseFirst, nil, ids...)
}

// JoinKnown is like [Watch.Join] for items of which something is known. The
// Watch keeps known.
func (w *Watch[T]) JoinKnown(ctx context.Context, terms Terms, pauseFirst bool, known *T, ids ...string) *Wait[T] {
	x := &Wait[T]{watch: w, terms: terms, start: time.Now(), signal: make(chan struct{}, 1), shares: make(map[string]*share[T], len(ids))}
	x.deadline, _ = ctx.Deadline()
	x.due, x.served = x.start, x.start
	if pauseFirst {
		x.gap = terms.Initial
		x.due = x.start.Add(Jitter(x.gap))
	}
	limits := w.conf.Quota.Limits()
	w.mu.Lock()
	w.limits = limits
	w.waits[x] = struct{}{}
	x.hasten()
	x.add(ids)
	for _, id := range ids {
		if t := w.items[id]; t.last == nil {
			t.last = known
		}
	}
	w.unlock()
	return x
}

// More adds an item to a wait. It is due after the initial interval.
func (x *Wait[T]) More(id string) {
	x.watch.mu.Lock()
	if soon := time.Now().Add(Jitter(x.terms.Initial)); len(x.shares) == 0 || soon.Before(x.due) {
		x.gap, x.due = x.terms.Initial, soon
	}
	x.hasten()
	x.add([]string{id})
	x.watch.unlock()
}

func (x *Wait[T]) add(ids []string) {
	w := x.watch
	if len(x.order) > 2*len(x.shares)+16 {
		x.order = slices.DeleteFunc(x.order, func(id string) bool { return x.shares[id] == nil })
	}
	for _, id := range ids {
		if _, twice := x.shares[id]; twice {
			continue
		}
		t := w.items[id]
		if t == nil {
			t = &item[T]{id: id}
			w.items[id] = t
		}
		s := &share[T]{wait: x, item: t}
		t.shares = append(t.shares, s)
		x.shares[id] = s
		x.order = append(x.order, id)
	}
	if len(w.items) > 0 && !w.running {
		w.running = true
		w.wake = make(chan struct{}, 1)
		go w.run(w.wake)
	}
	if w.running {
		w.poke()
	}
}

// poke makes the goroutine reconsider when to poll.
func (w *Watch[T]) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// drop removes a share from its wait and its item.
func (w *Watch[T]) drop(s *share[T]) {
	delete(s.wait.shares, s.item.id)
	s.item.shares = slices.DeleteFunc(s.item.shares, func(other *share[T]) bool { return other == s })
	if len(s.item.shares) == 0 && w.items[s.item.id] == s.item {
		delete(w.items, s.item.id)
	}
}

// Leave ends a wait. The last one cancels the poll in progress.
func (x *Wait[T]) Leave() {
	w := x.watch
	w.mu.Lock()
	for _, s := range x.shares {
		w.drop(s)
	}
	delete(w.waits, x)
	if len(w.items) == 0 && w.cancel != nil {
		w.cancel()
	}
	if w.running {
		w.poke()
	}
	w.unlock()
}

// Next blocks until there are updates, an id arrives from more (which may be
// nil), [Wait.Wake] is called or ctx ends. open is false once more is closed.
// ended is set with the last updates if ctx ended.
func (x *Wait[T]) Next(ctx context.Context, more <-chan string) (updates []Update[T], id *string, open bool, ended *Pending) {
	open = true
	select {
	case <-x.signal:
	case next, ok := <-more:
		if ok {
			return nil, &next, true, nil
		}
		open = false
	case <-ctx.Done():
		x.watch.mu.Lock()
		defer x.watch.mu.Unlock()
		return x.take(), nil, open, x.pending(grace.Err(ctx))
	}
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return x.take(), nil, open, nil
}

// Wake makes Next return.
func (x *Wait[T]) Wake() {
	select {
	case x.signal <- struct{}{}:
	default:
	}
}

// Last returns the only item of a wait as last seen, for the caller, or nil.
func (x *Wait[T]) Last() (value *T) {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	for _, s := range x.shares {
		value = x.watch.own(s.item)
	}
	return value
}

// Pending describes the wait if the client ends it now.
func (x *Wait[T]) Pending() *Pending {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return x.pending(nil)
}

// Has reports whether an item is still waited for.
func (x *Wait[T]) Has(id string) bool {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return x.shares[id] != nil
}

// Drop ends the wait for one item. It returns the item as last seen, for the
// caller, or nil, and the number of polls.
func (x *Wait[T]) Drop(id string) (value *T, polls int) {
	x.watch.mu.Lock()
	if s := x.shares[id]; s != nil {
		value = x.watch.own(s.item)
		x.watch.drop(s)
		x.ready = slices.DeleteFunc(x.ready, func(u Update[T]) bool { return u.share == s })
		for i := range x.ready {
			if s := x.ready[i].share; s != nil {
				s.queued = i + 1
			}
		}
	}
	polls = x.polls
	x.watch.unlock()
	return value, polls
}

// Empty reports whether all items have ended and were taken.
func (x *Wait[T]) Empty() bool {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return len(x.shares) == 0 && len(x.ready) == 0
}

// polled sets the time of the next poll after one that covered the wait.
func (x *Wait[T]) polled(now time.Time) {
	switch {
	case x.due.After(now): // the poll was due for another wait
		if next := now.Add(x.gap); next.After(x.due) {
			x.due = next
		}
	case x.gap == 0:
		x.gap = x.terms.Initial
		x.due = now.Add(Jitter(x.gap))
	default:
		x.gap = min(time.Duration(float64(x.gap)*Growth), x.longest())
		x.due = now.Add(Jitter(x.gap))
	}
	x.hasten()
}

// longest is the longest interval between polls at the moment.
func (x *Wait[T]) longest() time.Duration {
	if x.terms.Paused <= x.terms.Max {
		return x.terms.Max
	}
	for _, s := range x.shares {
		if t := s.item; t.last == nil || !x.watch.kind.State(t.last).Pause {
			return x.terms.Max
		}
	}
	return x.terms.Paused
}

// Soon makes the next poll for an item due after the initial interval of those
// that wait for it: it is known to change.
func (w *Watch[T]) Soon(id string) {
	w.mu.Lock()
	defer w.unlock()
	if t := w.items[id]; t != nil {
		for _, s := range t.shares {
			s.wait.soon()
		}
		if w.running {
			w.poke()
		}
	}
}

// soon begins with the intervals anew.
func (x *Wait[T]) soon() {
	x.gap = x.terms.Initial
	if at := time.Now().Add(Jitter(x.gap)); at.Before(x.due) {
		x.due = at
	}
}

// hasten ensures a poll before the deadline.
func (x *Wait[T]) hasten() {
	if x.deadline.IsZero() {
		return
	}
	if last := x.deadline.Add(-lastPoll); x.due.After(last) && time.Now().Before(last) {
		x.due = last
	}
}

// postpone sets the time of the next poll after a response that asks for a
// pause. The limiter does not know of one that is no 429.
func (x *Wait[T]) postpone(pause time.Duration, now time.Time) {
	if until := now.Add(Jitter(pause)); pause > 0 && until.After(x.due) {
		x.due = until
	}
}

// Jitter lengthens d by up to a tenth, so that programs started together do not
// keep polling together.
func Jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(d)/10) //nolint:gosec // spreads load, guards nothing
}
