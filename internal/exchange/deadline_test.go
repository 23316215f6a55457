package exchange

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newDeadline(parent context.Context, timeout time.Duration) *deadline {
	d := &deadline{Exchange: &Exchange{Caller: &fake{Context: parent}, Spec: Spec{Timeout: timeout}}}
	d.alive()
	return d
}

// A deadline must behave like a context of the standard library, before and
// after Done was called.
func TestDeadlineIsAContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	for _, asked := range []bool{false, true} {
		ends := map[string]struct {
			end     func(d *deadline, cancel context.CancelFunc)
			err     error
			expired bool
		}{
			"ended":            {func(d *deadline, _ context.CancelFunc) { d.end(context.Canceled) }, context.Canceled, false},
			"time is up":       {func(*deadline, context.CancelFunc) { time.Sleep(time.Minute) }, context.DeadlineExceeded, true},
			"caller cancelled": {func(_ *deadline, cancel context.CancelFunc) { cancel() }, context.Canceled, false},
		}
		for name, test := range ends {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
				defer cancel()
				d := newDeadline(parent, time.Minute)
				if at, ok := d.Deadline(); !ok || time.Until(at) != time.Minute || d.Err() != nil || d.Value(key{}) != "v" {
					t.Errorf("%s: %v, %v, %v", name, at, ok, d.Err())
				}
				var done <-chan struct{}
				var child context.Context
				if asked {
					done = d.Done()
					var stop context.CancelFunc
					child, stop = context.WithCancel(d)
					defer stop()
				}
				test.end(d, cancel)
				synctest.Wait()
				if got := d.Err(); !errors.Is(got, test.err) || d.expired() != test.expired {
					t.Errorf("%s, asked %v: Err is %v, expired %v", name, asked, got, d.expired())
				}
				if asked {
					select {
					case <-done:
					default:
						t.Errorf("%s: Done stays open", name)
					}
					if !errors.Is(child.Err(), test.err) {
						t.Errorf("%s: a child ends with %v", name, child.Err())
					}
				}
				d.end(context.Canceled)
				select {
				case <-d.Done():
				default:
					t.Errorf("%s: Done stays open for who asks late", name)
				}
				if got := d.Err(); got == nil {
					t.Errorf("%s: Err is nil after the end", name)
				}
			})
		}
	}
}

func TestDeadlineOfTheCallerComesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d := newDeadline(parent, time.Minute)
		<-d.Done()
		synctest.Wait()
		if d.expired() || !errors.Is(d.Err(), context.DeadlineExceeded) {
			t.Errorf("expired %v, %v: the caller's deadline is not the attempt's", d.expired(), d.Err())
		}
	})
}

func TestDeadlineFollowers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDeadline(t.Context(), time.Minute)
		var mu sync.Mutex
		ran := ""
		note := func(s string) func() {
			return func() {
				mu.Lock()
				defer mu.Unlock()
				ran += s
			}
		}
		stopA, stopB, stopC := d.AfterFunc(note("a")), d.AfterFunc(note("b")), d.AfterFunc(note("c"))
		if !stopB() || stopB() {
			t.Error("a follower can be stopped once")
		}
		d.end(context.Canceled)
		synctest.Wait()
		if ran != "ac" && ran != "ca" {
			t.Errorf("%q ran", ran)
		}
		if stopA() || stopC() {
			t.Error("followers that ran were stopped")
		}
		if stop := d.AfterFunc(note("d")); stop() {
			t.Error("a follower of an end was stopped")
		}
		synctest.Wait()
		if len(ran) != 3 {
			t.Errorf("%q ran", ran)
		}
	})
}

// Package context must be able to reach the caller's context through a deadline
// without a goroutine. The bubble would detect one that remains.
func TestDeadlineUnderContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancelCause(t.Context())
		d := newDeadline(parent, time.Minute)
		child, stop := context.WithTimeout(context.WithoutCancel(context.WithValue(d, new(int), "w")), time.Hour)
		defer stop()
		grandchild, stopGrandchild := context.WithCancelCause(d)
		defer stopGrandchild(nil)
		reason := errors.New("reason")
		cancel(reason)
		synctest.Wait()
		if child.Err() != nil || !errors.Is(context.Cause(grandchild), reason) {
			t.Errorf("%v, %v", child.Err(), context.Cause(grandchild))
		}
		d.end(context.Canceled)
	})
}
