package watch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/exchange"
)

// hedgeAfter is how long a request of a poll may go without a response before it
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
		sent      atomic.Pointer[time.Time] // of the first request
		delay     = w.count()
	)
	first, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	again := func(second context.Context) (done bool) {
		r := response{err: errGoexit}
		defer func() {
			if failed := recover(); failed != nil {
				r.err = panicked(failed)
			}
			if done = r.err == nil || errors.Is(r.err, ErrPanicked); done {
				overtaken.Store(&r)
				stop(errOvertaken)
			}
		}()
		w.count()
		r.value, r.err = send(second, Ask{Timeout: min(delay, w.conf.Timeout)})
		w.mu.Lock()
		w.unlock()
		return
	}
	hedge := func() (landed func()) {
		now := time.Now()
		sent.Store(&now)
		second, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(delay, func() {
			if !w.repeated.CompareAndSwap(false, true) {
				return // an earlier one is still in the hands of a transport
			}
			defer w.repeated.Store(false)
			for began := time.Now(); !again(second); began = time.Now() {
				if exchange.Sleep(second, delay-time.Since(began)) != nil {
					return
				}
			}
		})
		return func() {
			timer.Stop()
			cancel(errOvertaken)
		}
	}
	value, err := send(first, Ask{Sending: hedge})
	var took time.Duration
	r, at := overtaken.Load(), sent.Load()
	if r != nil {
		value, err = r.value, r.err
	} else if err == nil && at != nil {
		took = time.Since(*at)
	}
	w.mu.Lock()
	w.took = took
	w.unlock() // its slot is not needed again
	return value, err
}

// count records a request. It returns after which time to send it again.
func (w *Watch[T]) count() (hedge time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cost++
	w.sent = append(w.sent, time.Now())
	return max(hedgeAfter, 2*w.took)
}
