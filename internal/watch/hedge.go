package watch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/mask"
)

// hedgeAfter is how long a poll may go without a response before the same request
// is sent a second time: one hanging connection must not delay all waits by the
// time limit of an attempt, 60 s.
const hedgeAfter = 10 * time.Second

var errOvertaken = errors.New("another request of the same poll ended first")

// ask sends one request of a poll. If there is no response within hedgeAfter, or
// within twice the duration of the last response if the service is slow, it sends
// the request again, and the first response counts. A second request that fails,
// or takes as long again, is replaced by another one on another connection. There
// are never more than two at once.
func ask[T, V any](ctx context.Context, w *Watch[T], send func(context.Context, Ask) (V, error)) (V, error) {
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
		r := response{err: fmt.Errorf("%w: it called runtime.Goexit", ErrPanicked)}
		defer func() {
			if failed := recover(); failed != nil {
				r.err = fmt.Errorf("%w: %s", ErrPanicked, mask.Text(fmt.Sprint(failed)))
			}
			if done = r.err == nil || errors.Is(r.err, ErrPanicked); done {
				overtaken.Store(&r)
				stop(errOvertaken)
			}
		}()
		w.count()
		r.value, r.err = send(second, Ask{Timeout: min(patience, w.Timeout)})
		return
	}
	hedge := func() (landed func()) {
		sent = time.Now()
		second, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(patience, func() {
			if !w.hedging.CompareAndSwap(false, true) {
				return // an earlier one is still in the hands of a transport
			}
			defer w.hedging.Store(false)
			for began := time.Now(); !again(second); began = time.Now() {
				if exchange.Sleep(second, patience-time.Since(began)) != nil {
					return
				}
			}
		})
		return func() {
			timer.Stop()
			cancel(errOvertaken)
		}
	}
	w.count()
	value, err := send(first, Ask{Sending: hedge})
	w.took = 0
	if r := overtaken.Load(); r != nil {
		return r.value, r.err
	}
	if err == nil {
		w.took = time.Since(sent)
	}
	return value, err
}
