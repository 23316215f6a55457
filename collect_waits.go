package connic

import "context"

// one waits for one item. It returns the item as last seen, or nil, and a
// *WaitError unless it has ended.
func (x *wait[T]) one(ctx context.Context) (value *T, err error) {
	defer x.leave()
	for {
		ended := false
		select {
		case <-x.signal:
		case <-ctx.Done():
			ended = true
		}
		for _, s := range x.take() {
			if s.value != nil {
				value = s.value
			}
			x.conf.report(s.event)
			if s.done || s.err != nil {
				return value, s.err
			}
		}
		if ended {
			return x.last(value), x.stopped(contextError(ctx))
		}
	}
}

// last returns the item of a single wait as last seen.
func (x *wait[T]) last(value *T) *T {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	for _, p := range x.parts {
		if p.thing.seen != nil {
			value = p.thing.own()
		}
	}
	return value
}

// all waits for the things of a wait, and those of more if it is not nil, and
// yields each as it ends. Closed is closed when no more come.
func (x *wait[T]) all(ctx context.Context, more <-chan string, check func(string) error, failure func(*T) error, yield func(*T, error) bool) {
	defer x.leave()
	for {
		ended := false
		if more == nil && x.empty() {
			return
		}
		select {
		case <-x.signal:
		case id, open := <-more:
			switch {
			case !open:
				more = nil
			case check(id) != nil:
				if !yield(nil, check(id)) {
					return
				}
			default:
				x.more(id)
			}
		case <-ctx.Done():
			ended = true
		}
		for _, s := range x.take() {
			x.conf.report(s.event)
			switch {
			case s.err != nil:
				if !yield(s.value, s.err) || s.all {
					return
				}
			case s.done:
				if !yield(s.value, failure(s.value)) {
					return
				}
			}
		}
		if ended {
			if !x.empty() || more != nil {
				yield(nil, x.stopped(contextError(ctx)))
			}
			return
		}
	}
}

// empty reports whether all items have ended and were taken.
func (x *wait[T]) empty() bool {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return len(x.parts) == 0 && len(x.ready) == 0
}
