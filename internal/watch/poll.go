package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// ErrPanicked ends the waits whose poll panicked in code of the user.
var ErrPanicked = errors.New("connic: the poll panicked")

var errGoexit = fmt.Errorf("%w: it called runtime.Goexit", ErrPanicked)

func panicked(value any) error {
	return fmt.Errorf("%w: %s", ErrPanicked, mask.Text(fmt.Sprint(value)))
}

// run polls until nothing is waited for any more.
func (w *Watch[T]) run(wake <-chan struct{}) {
	over := false
	defer func() {
		if !over { // Goexit in a transport or an observer
			w.mu.Lock()
			w.running = false
			w.failAll(errGoexit, time.Now(), true)
			w.unlock()
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		limits := w.conf.Quota.Limits()
		w.mu.Lock()
		w.limits = limits
		if len(w.items) == 0 {
			w.running, over = false, true
			w.unlock()
			return
		}
		pause := time.Until(w.next())
		if pause <= 0 {
			w.unlock()
			w.poll()
			continue
		}
		if len(w.sent) > 0 { // a slot that was used a window ago is needed again
			_, window := w.quota()
			pause = min(pause, time.Until(w.sent[0].Add(window+time.Millisecond)))
		}
		w.unlock()
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-wake:
		}
	}
}

// byList reports whether polls use the list.
func (w *Watch[T]) byList() bool {
	switch {
	case w.kind.List == nil || w.listing == listUseless || time.Now().Before(w.relist):
		return false
	case w.kind.Get == nil:
		return true
	case w.listing == listUnknown:
		return len(w.items)+w.expected > few
	}
	// If the last list took as many pages as there are items left, fetching
	// each is cheaper.
	return len(w.items) > max(few, w.pages)
}

// next returns when to poll.
func (w *Watch[T]) next() time.Time {
	byList := w.byList()
	if byList && !w.probed && w.kind.Get != nil {
		return time.Time{} // how many slots are reserved depends on whether there is a list
	}
	var due time.Time
	initial := time.Duration(math.MaxInt64)
	for x := range w.waits {
		if len(x.shares) > 0 && (due.IsZero() || x.due.Before(due)) {
			due = x.due
		}
		initial = min(initial, x.terms.Initial)
	}
	if due.IsZero() {
		return time.Now().Add(time.Hour)
	}
	if byList && w.anyEnded() {
		due = w.last
	}
	recent, pace := w.recent(), w.pace()
	_, window := w.quota()
	single := !byList && len(w.items) > few // many, without a list
	fresh := single && w.fresh()
	gap := min(pace, initial)
	switch {
	case byList && w.cost > 1, single && !fresh && w.busy():
		gap = time.Duration(w.cost) * pace
	case !single && w.limits.Waiting > 0 && w.limits.Limit > 0:
		// Other attempts wait for the quota: poll less and less often, so that
		// the slots reserved for polls last for the window.
		gap = min(window/4, time.Duration(float64(gap)*math.Pow(2, float64(max(0, recent-2)))))
	}
	if at := w.last.Add(gap); at.After(due) {
		due = at
	}
	if single && recent > 0 && w.allowance(fresh) == 0 {
		if at := w.sent[0].Add(window + time.Millisecond); at.After(due) {
			due = at
		}
	}
	return due
}

func (w *Watch[T]) anyEnded() bool {
	for _, t := range w.items {
		if t.ended {
			return true
		}
	}
	return false
}

// poll polls the items that are due.
func (w *Watch[T]) poll() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.mu.Lock()
	w.cancel = cancel
	w.cost = 0
	byList := w.byList()
	due, allEnded := w.due(time.Now())
	w.mu.Unlock()
	defer func() {
		failed := recover()
		w.mu.Lock()
		if failed != nil {
			w.failAll(panicked(failed), time.Now(), true)
		}
		w.cancel = nil
		w.last = time.Now()
		w.unlock()
	}()
	seen := make(map[string]bool)
	if byList && !allEnded {
		var more bool
		if byList, more = w.walk(ctx, seen); !more {
			return
		}
	}
	for _, id := range w.missing(due, seen, byList) {
		if ctx.Err() != nil {
			return
		}
		value, err := ask(ctx, w, func(ctx context.Context, a Ask) (*T, error) { return w.kind.Get(ctx, id, a) })
		if ctx.Err() != nil {
			return
		}
		if err == nil && w.kind.ID(value) != id {
			err = w.conf.Foreign(w.kind.Name)
		}
		now := time.Now()
		w.mu.Lock()
		if t := w.items[id]; t != nil {
			w.fetched(t, byList, now)
			if err != nil {
				w.fail(t, err, now)
			} else {
				w.see(t, value, now)
			}
		}
		w.mu.Unlock()
	}
}

// due returns the items with a wait that is due, and whether all items are known
// to have ended.
func (w *Watch[T]) due(now time.Time) (due []*item[T], allEnded bool) {
	allEnded = true
	for _, t := range w.items {
		allEnded = allEnded && t.ended
		if slices.ContainsFunc(t.shares, func(s *share[T]) bool { return !s.wait.due.After(now) }) {
			due = append(due, t)
		}
	}
	return due, allEnded
}

// fetched records that an item was fetched. Without a list, a wait stays due
// until all its items were.
func (w *Watch[T]) fetched(t *item[T], byList bool, now time.Time) {
	t.asked = now
	for _, s := range t.shares {
		x := s.wait
		x.served = now
		if byList {
			continue
		}
		left := false
		for _, other := range x.shares {
			if left = !x.due.After(now) && other.item.asked.Before(x.due); left {
				break
			}
		}
		if began := x.due; !left {
			x.polled(now)
			if took := now.Sub(began); took > 0 && len(x.shares) > 1 { // the interval is that between the first ones
				x.due = x.due.Add(-min(took, x.due.Sub(now)))
			}
		}
	}
}

// missing returns the ids of the items to fetch individually.
func (w *Watch[T]) missing(due []*item[T], seen map[string]bool, byList bool) (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ended []*item[T]
	for _, t := range w.items {
		if t.ended {
			ended = append(ended, t)
		}
	}
	others := slices.DeleteFunc(due, func(t *item[T]) bool { return t.ended || seen[t.id] || len(t.shares) == 0 })
	inTurn(ended)
	inTurn(others)
	if byList {
		most := max(few, perPoll-w.cost)
		if n := most - min(len(others), most/2); len(ended) > n {
			// The newest ones do not wait for all that came before.
			slices.SortStableFunc(ended[n/2:], func(a, b *item[T]) int { return b.shares[0].wait.start.Compare(a.shares[0].wait.start) })
			ended = ended[:n]
		}
		others = others[:min(len(others), most-len(ended))]
	} else if ended, others = nil, append(ended, others...); len(w.items) > few {
		fresh := min(len(others), w.allowance(true))
		for fresh > 0 && !others[fresh-1].asked.IsZero() {
			fresh--
		}
		others = others[:max(fresh, min(len(others), w.singles()))]
	}
	for _, t := range append(ended, others...) {
		ids = append(ids, t.id)
	}
	return ids
}

// inTurn sorts items so that waits take turns, the one that was served longest
// ago first, and each with the item that was fetched longest ago.
func inTurn[T any](items []*item[T]) {
	slices.SortFunc(items, func(a, b *item[T]) int { return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.id, b.id)) })
	type turn struct {
		round  int // the number of items of the wait that go before
		served time.Time
	}
	turns := make(map[*item[T]]turn, len(items))
	rounds := make(map[*Wait[T]]int)
	for _, t := range items {
		own := turn{round: math.MaxInt}
		for _, s := range t.shares {
			if n := rounds[s.wait]; n < own.round || n == own.round && s.wait.served.Before(own.served) {
				own = turn{n, s.wait.served}
			}
		}
		for _, s := range t.shares {
			rounds[s.wait]++
		}
		turns[t] = own
	}
	slices.SortStableFunc(items, func(a, b *item[T]) int {
		return cmp.Or(cmp.Compare(turns[a].round, turns[b].round), turns[a].served.Compare(turns[b].served))
	})
}
