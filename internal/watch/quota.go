package watch

import (
	"slices"
	"time"
)

const (
	// pollShare is the fraction of the quota for polls that take several
	// requests: 24 of 60.
	pollShare = 0.4
	// freshShare is that for items that were never fetched: half.
	freshShare = 0.5
	// few is the largest number of items that are fetched one by one rather
	// than listed.
	few = 2
	// perPoll is the usual number of requests of a poll of many items. Six at
	// the pace of polls are 15 s.
	perPoll = 6
	// listShare determines the slots reserved within a window for polls of a
	// list, as a fraction of the quota: 6 of 60, which is what one wait uses in
	// its first minute.
	listShare = 10
)

// quota returns the quota that polls must respect: that of the limiter or, if
// it has none, the documented one.
func (w *Watch[T]) quota() (n int, per time.Duration) {
	if w.limits.Limit <= 0 || w.limits.Window <= 0 {
		return w.conf.Assumed.Limit, w.conf.Assumed.Window
	}
	return w.limits.Limit, w.limits.Window
}

// pace returns the time per request of polls that take several: 2.5 s at 60 a
// minute.
func (w *Watch[T]) pace() time.Duration {
	n, per := w.quota()
	return max(time.Millisecond, time.Duration(float64(per)/(pollShare*float64(n))))
}

// recent counts the requests of polls within the last window.
func (w *Watch[T]) recent() int {
	_, per := w.quota()
	old := time.Now().Add(-per)
	w.sent = slices.DeleteFunc(w.sent, func(at time.Time) bool { return !at.After(old) })
	return len(w.sent)
}

// allowance returns how many items may be fetched now without a list.
func (w *Watch[T]) allowance(fresh bool) int {
	n, _ := w.quota()
	part := pollShare
	if fresh {
		part = freshShare
	}
	return max(0, max(1, int(part*float64(n)))-w.recent())
}

// busy reports whether polls without a list have begun to use up what they may use,
// and spread the rest over the window.
func (w *Watch[T]) busy() bool { return w.recent() >= perPoll }

// singles returns how many items a poll without a list fetches that were fetched
// before.
func (w *Watch[T]) singles() int {
	if w.busy() {
		return min(1, w.allowance(false))
	}
	return min(perPoll/2, w.allowance(false))
}

// need returns how many slots polls need now, besides those that they have used
// in this window: at most half of the quota together.
func (w *Watch[T]) need() int {
	n, _ := w.quota()
	switch waits := len(w.items) + w.expected; {
	case waits == 0:
		return 0
	case w.kind.Get == nil, waits <= few, w.listing == listWorks:
		want := max(1, n/listShare-w.recent()) * max(1, min(w.pages, n/listShare))
		return min(want, w.allowance(true))
	}
	want := len(w.items) + w.begun
	if w.begun > 0 || w.fresh() {
		want = min(want, w.allowance(true))
	} else {
		want = min(want, w.allowance(false))
	}
	return want + min(w.expected-w.begun, 1) // work that is not begun yet needs a slot for a poll besides its own
}

// fresh reports whether some item was never fetched.
func (w *Watch[T]) fresh() bool {
	for _, t := range w.items {
		if t.asked.IsZero() {
			return true
		}
	}
	return false
}
