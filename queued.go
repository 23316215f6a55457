package connic

import (
	"context"
	"sync"
)

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
