package watch

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

const (
	// pollPart is the fraction of the quota available to polls that take
	// several requests.
	pollPart = 0.4
	// few is the largest number of items that are fetched one by one rather
	// than listed.
	few = 2
	// atMost is the largest number of items missing from a list that are
	// fetched in one poll.
	atMost = 6
	// looksAhead determines the slots reserved for polls within a window, as a
	// fraction of the quota: 6 of 60, which is what one wait uses in its first
	// minute.
	looksAhead = 10
)

// run polls until nothing is waited for any more.
func (w *Watch[T]) run() {
	over := false
	defer func() {
		if !over { // Goexit in a transport or an observer
			w.abort()
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		limits := w.Quota.Limits()
		w.mu.Lock()
		w.limits = limits
		if len(w.things) == 0 {
			w.running, over = false, true
			places := w.reserve()
			w.mu.Unlock()
			w.tell(places)
			return
		}
		pause := time.Until(w.next())
		w.mu.Unlock()
		if pause > 0 {
			timer.Reset(pause)
			select {
			case <-timer.C:
			case <-w.wake:
			}
			continue
		}
		w.look()
	}
}

// abort ends all waits after the goroutine of the watch was ended by other
// code.
func (w *Watch[T]) abort() {
	w.mu.Lock()
	w.running = false
	w.failAll(fmt.Errorf("%w: it called runtime.Goexit", ErrPanicked), time.Now(), true)
	places := w.reserve()
	w.mu.Unlock()
	w.tell(places)
}

// quota returns the quota that polls must respect: that of the limiter or, if
// it has none, the documented one.
func (w *Watch[T]) quota() (n int, per time.Duration) {
	if w.limits.Limit <= 0 || w.limits.Window <= 0 {
		return w.Assumed.Limit, w.Assumed.Window
	}
	return w.limits.Limit, w.limits.Window
}

// pace returns the time per request of polls: 2.5 s at 60 a minute, so that
// polls that take several requests add up to 24 a minute.
func (w *Watch[T]) pace() time.Duration {
	n, per := w.quota()
	return max(time.Millisecond, time.Duration(float64(per)/(pollPart*float64(n))))
}

// recent counts the requests of polls within the last window.
func (w *Watch[T]) recent() int {
	_, per := w.quota()
	old := time.Now().Add(-per)
	w.spent = slices.DeleteFunc(w.spent, func(at time.Time) bool { return !at.After(old) })
	return len(w.spent)
}

// byList reports whether polls use the list.
func (w *Watch[T]) byList() bool {
	switch {
	case w.kind.List == nil || w.listing == listRefused || time.Now().Before(w.relist):
		return false
	case w.kind.Get == nil:
		return true
	case w.listing == listUnknown && len(w.things)+w.expected > few:
		return true
	}
	// If the last list took as many pages as there are items left, fetching
	// each is cheaper.
	return len(w.things) > max(few, w.pages)
}

// next returns when to poll.
func (w *Watch[T]) next() time.Time {
	spent := w.recent()
	byList := w.byList()
	if byList && !w.probed && w.kind.Get != nil {
		return time.Time{} // how many slots are reserved depends on whether there is a list
	}
	var due time.Time
	initial := time.Duration(math.MaxInt64)
	for x := range w.waits {
		if len(x.parts) > 0 && (due.IsZero() || x.due.Before(due)) {
			due = x.due
		}
		initial = min(initial, x.terms.Initial)
	}
	if due.IsZero() {
		return time.Now().Add(time.Hour)
	}
	_, window := w.quota()
	per := w.pace()
	gap := min(per, initial)
	switch {
	case byList && w.cost > 1:
		gap = time.Duration(w.cost) * per
	case w.limits.Waiting > 0 && w.limits.Limit > 0:
		// Other attempts wait for the quota: poll less and less often, so that
		// the slots reserved for polls last for the window.
		gap = min(window/4, time.Duration(float64(gap)*math.Pow(2, float64(max(0, spent-2)))))
	}
	if at := w.last.Add(gap); at.After(due) {
		due = at
	}
	if !byList && len(w.things) > few && w.allowance(w.fresh()) <= 0 && spent > 0 {
		if at := w.spent[0].Add(window + time.Millisecond); at.After(due) {
			due = at
		}
	}
	return due
}

// fresh reports whether some item was never fetched yet.
func (w *Watch[T]) fresh() bool {
	for _, t := range w.things {
		if t.asked.IsZero() {
			return true
		}
	}
	return false
}

// allowance returns how many items may be fetched individually now: half of the
// quota for those that never were, and a little less for others.
func (w *Watch[T]) allowance(fresh bool) int {
	n, _ := w.quota()
	part := pollPart
	if fresh {
		part = 0.5
	}
	return max(1, int(part*float64(n))) - w.recent()
}

// look polls the items.
func (w *Watch[T]) look() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.mu.Lock()
	w.cancel = cancel
	w.cost = 0
	byList := w.byList()
	due := w.due(time.Now())
	w.mu.Unlock()
	defer func() {
		failed := recover()
		w.mu.Lock()
		if failed != nil {
			w.failAll(fmt.Errorf("%w: %s", ErrPanicked, mask.Text(fmt.Sprint(failed))), time.Now(), true)
		}
		w.cancel = nil
		w.last = time.Now()
		places := w.reserve()
		w.mu.Unlock()
		w.tell(places)
	}()
	seen := make(map[string]bool)
	if byList && !w.lookInList(ctx, seen) {
		return
	}
	for _, id := range w.missing(due, seen, byList) {
		if ctx.Err() != nil {
			return
		}
		value, err := ask(ctx, w, func(ctx context.Context, a Ask) (*T, error) { return w.kind.Get(ctx, id, a) })
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		w.mu.Lock()
		if t := w.things[id]; t != nil {
			t.asked = now
			parts := slices.Clone(t.parts)
			for _, p := range parts {
				p.wait.looked(now)
			}
			if err != nil {
				w.fail(t, err, now)
			} else {
				w.see(t, value, now)
			}
		}
		w.mu.Unlock()
	}
}

// count records a request.
func (w *Watch[T]) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cost++
	w.spent = append(w.spent, time.Now())
}

// due returns the items with a wait that is due by now.
func (w *Watch[T]) due(now time.Time) (due []*thing[T]) {
	for _, t := range w.things {
		if slices.ContainsFunc(t.parts, func(p *part[T]) bool { return !p.wait.due.After(now) }) {
			due = append(due, t)
		}
	}
	return due
}

// missing returns the ids of the due items to fetch individually, least
// recently fetched first.
func (w *Watch[T]) missing(due []*thing[T], seen map[string]bool, byList bool) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	due = slices.DeleteFunc(due, func(t *thing[T]) bool { return seen[t.id] || len(t.parts) == 0 })
	slices.SortFunc(due, func(a, b *thing[T]) int {
		return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.id, b.id))
	})
	most := len(due)
	switch {
	case byList:
		most = atMost
	case len(w.things) > few:
		most = w.allowance(false)
		for _, t := range due[:min(len(due), max(0, w.allowance(true)))] {
			if t.asked.IsZero() {
				most = max(most, 1+slices.Index(due, t))
			}
		}
	}
	ids := make([]string, 0, max(0, min(most, len(due))))
	for _, t := range due[:cap(ids)] {
		ids = append(ids, t.id)
	}
	return ids
}

// reserve returns the change in the number of slots that polls need at the
// limiter. The caller holds the mutex, and calls tell after releasing it.
func (w *Watch[T]) reserve() int {
	want := 0
	n, _ := w.quota()
	spent := w.recent()
	switch waits := len(w.things) + w.expected; {
	case waits == 0:
	case w.kind.Get == nil, waits <= few, w.listing == listWorks:
		// Most polls happen at first, and those of this window are paid for.
		want = max(1, n/looksAhead-spent) * max(1, min(w.pages, n/looksAhead))
	default:
		// Each item has to be fetched.
		want = len(w.things) + w.begun + min(w.expected-w.begun, few)
	}
	change := want - w.reserved
	w.reserved = want
	return change
}

// tell reserves slots at the limiter, or releases them.
func (w *Watch[T]) tell(places int) {
	if places != 0 {
		w.Quota.Reserve(places)
	}
}
