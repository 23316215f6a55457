package connic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// hedgeAfter is how long a request of a poll may stay unanswered before the same
// request is sent a second time: one connection that hangs must not delay all
// waits by the time limit of an attempt, which is 60 s.
const hedgeAfter = 10 * time.Second

var errOvertaken = errors.New("another request of the same poll ended first")

// ask sends one request of a poll. If there is no response within hedgeAfter, or
// within twice the time of the last response where the service is slow, it sends
// a second one beside the first, and the first response counts. A second one
// that fails, or takes as long again, is replaced by another, which meets another
// connection. There are never more than two at once.
func ask[T, V any](ctx context.Context, w *watch[T], send func(context.Context, []RequestOption) (V, error)) (V, error) {
	type response struct {
		value V
		err   error
	}
	var (
		overtaken atomic.Pointer[response]
		sent      time.Time
		patience  = max(hedgeAfter, 2*w.took)
	)
	first, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	again := func(second context.Context) (done bool) {
		r := response{err: fmt.Errorf("%w: it called runtime.Goexit", errPanicked)}
		defer func() {
			if failed := recover(); failed != nil {
				r.err = fmt.Errorf("%w: %s", errPanicked, mask.Text(fmt.Sprint(failed)))
			}
			if done = r.err == nil || errors.Is(r.err, errPanicked); done {
				overtaken.Store(&r)
				stop(errOvertaken)
			}
		}()
		w.count()
		bounded := WithAttemptTimeout(min(patience, w.client.timeout))
		r.value, r.err = send(second, slices.Concat([]RequestOption{bounded}, w.opts))
		return
	}
	hedge := func(o *callOptions) {
		o.sent = func() (landed func()) {
			sent = time.Now()
			second, cancel := context.WithCancelCause(ctx)
			timer := time.AfterFunc(patience, func() {
				if !w.hedging.CompareAndSwap(false, true) {
					return // an earlier one is still in the hands of a transport
				}
				defer w.hedging.Store(false)
				for began := time.Now(); !again(second); began = time.Now() {
					if sleep(second, patience-time.Since(began)) != nil {
						return
					}
				}
			})
			return func() {
				timer.Stop()
				cancel(errOvertaken)
			}
		}
	}
	w.count()
	value, err := send(first, slices.Concat([]RequestOption{hedge}, w.opts))
	w.took = 0
	if r := overtaken.Load(); r != nil {
		return r.value, r.err
	}
	if err == nil {
		w.took = time.Since(sent)
	}
	return value, err
}
