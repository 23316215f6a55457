package watch

import (
	"context"
	"errors"
	"fmt"
)

// Next blocks until there are sightings, an id arrives from more (which may be
// nil), or ctx ends. ended is set with the last ones.
func (x *Wait[T]) Next(ctx context.Context, more <-chan string) (seen []Sighting[T], id *string, open bool, ended *Pending) {
	open = true
	select {
	case <-x.signal:
	case next, ok := <-more:
		if ok {
			return nil, &next, true, nil
		}
		open = false
	case <-ctx.Done():
		seen = x.take()
		return seen, nil, open, x.stopped(ContextError(ctx))
	}
	return x.take(), nil, open, nil
}

// Last returns the item of a single wait as last seen, or nil.
func (x *Wait[T]) Last() (value *T) {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	for _, p := range x.parts {
		if p.thing.seen != nil {
			value = x.watch.own(p.thing)
		}
	}
	return value
}

// Empty reports whether all items have ended and were taken.
func (x *Wait[T]) Empty() bool {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return len(x.parts) == 0 && len(x.ready) == 0
}

// ContextError returns the error of a context that ended, with its cause.
func ContextError(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
