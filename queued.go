package connic

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/exchange"
)

// Admit implements [exchange.Gate] with the limiter.
func (k *call) Admit(ctx context.Context, again bool) error {
	caller := ctx
	ctx, q := k.undrained(ctx)
	defer q.release()
	if ctx.Err() != nil && caller.Err() == nil {
		return &exchange.NotAdmitted{Err: ErrClosed}
	}
	admission := Admission{Lane: k.lane, Again: again, NoWait: k.options.failFast, Spare: k.options.spare}
	if k.options.admitted != nil {
		admission.Follow = 1
	}
	if queued := k.options.queued; k.scope.telemetry.Enabled() || queued != nil {
		admission.Queued = func(reason Reason, wait time.Duration) {
			if queued != nil {
				queued(reason, wait)
			}
			if k.scope.telemetry.Enabled() {
				k.observe(Event{Kind: EventQueued, Reason: reason, Wait: wait}, &exchange.Outcome{Attempts: k.exchange.Sends()})
			}
		}
	}
	asked := time.Now()
	permit, err := k.scope.limiter.Acquire(ctx, admission)
	k.queued += uint32(time.Since(asked).Milliseconds())
	if err != nil {
		var limit *LimitError
		switch {
		case errors.As(err, &limit):
			err = &exchange.NotAdmitted{Err: err}
		case ctx.Err() != nil && caller.Err() == nil:
			err = &exchange.NotAdmitted{Err: ErrClosed}
		}
		return err
	}
	k.permit = permit
	if err := k.begin(); err != nil {
		return err
	}
	switch {
	case k.options.admitted == nil:
	case caller.Err() == nil:
		k.options.admitted()
	default: // nothing is sent, and nothing follows it
		quota{k.scope.limiter}.Reserve(-admission.Follow)
	}
	return nil
}

// Pause implements [exchange.Pauser].
func (k *call) Pause(d time.Duration) {
	ctx, q := k.undrained(k)
	defer q.release()
	_ = sleep(ctx, d)
}

// begin calls the begin of an admitted call. If that fails, or does not return, it
// gives the admission back.
func (k *call) begin() error {
	if k.options.begin == nil {
		return nil
	}
	begun := false
	defer func() {
		if !begun {
			k.Release(exchange.EndNotSent, 0)
			if k.options.admitted != nil {
				quota{k.scope.limiter}.Reserve(-1)
			}
		}
	}()
	if err := k.options.begin(); err != nil {
		return &exchange.NotAdmitted{Err: err}
	}
	begun = true
	return nil
}

// Release implements [exchange.Gate].
func (k *call) Release(end exchange.End, retryAfter time.Duration) {
	if end == exchange.EndRefused || end == exchange.EndNotSent {
		k.flying.Store(false)
	}
	k.scope.limiter.Release(k.permit, Outcome{Kind: OutcomeKind(end), RetryAfter: retryAfter})
}

// queueContext is the context of a call that is queued. It also ends when the
// client drains. Most calls are not queued, so it is set up on first use.
type queueContext struct {
	context.Context
	of *activity

	mu     sync.Mutex
	joined context.Context // nil if it was not used
	// reusable says that nobody keeps the context after release.
	reusable bool
	stop     func()
}

// undrained returns a context that also ends when the client drains, unless the call
// goes on then. The caller calls q.release, also if q is nil.
func (k *call) undrained(ctx context.Context) (_ context.Context, q *queueContext) {
	if k.drains() {
		return ctx, nil
	}
	a := &k.scope.activity
	q, ok := a.free.Get().(*queueContext)
	if !ok {
		q = &queueContext{of: a}
	}
	q.Context = ctx
	_, q.reusable = k.scope.limiter.(limiter) // it keeps no context after Acquire
	return q, q
}

func (q *queueContext) use() context.Context {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.joined == nil {
		q.joined, q.stop = q.of.until(q.Context, &q.of.closing)
	}
	return q.joined
}

func (q *queueContext) release() {
	if q == nil {
		return
	}
	q.mu.Lock()
	stop := q.stop
	if q.reusable {
		q.Context, q.joined, q.stop = nil, nil, nil
	}
	q.mu.Unlock()
	if stop != nil {
		stop()
	}
	if q.reusable {
		q.of.free.Put(q)
	}
}

func (q *queueContext) Done() <-chan struct{} { return q.use().Done() }

func (q *queueContext) Err() error {
	if err := q.Context.Err(); err != nil || !q.of.draining.Load() {
		return err
	}
	return context.Canceled
}

// Value returns the value of the context that has the channel of Done, by which
// package context recognizes it.
func (q *queueContext) Value(key any) any {
	q.mu.Lock()
	ctx := q.joined
	q.mu.Unlock()
	if ctx == nil {
		ctx = q.Context
	}
	return ctx.Value(key)
}
