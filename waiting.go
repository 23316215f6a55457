package connic

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/grace"
	"github.com/connic-go/connic/internal/inject"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/list"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/route"
	"github.com/connic-go/connic/internal/watch"
)

// waiter waits for one kind of work on behalf of one caller. It turns what the
// shared polls bring into events, results and errors.
type waiter[T any] struct {
	*watch.Watch[T]
	kind    string // "run"
	scope   *scope
	conf    waitConfig
	failure func(*T) error                             // of an item that has ended, or nil
	cancel  func(ctx context.Context, id string) error // nil if it cannot be canceled
	pauses  *pauses                                    // nil unless the wait is concerned with approvals
}

// watches holds the watches of a client, by what they poll.
type watches struct {
	mu   sync.Mutex
	of   map[watchKey]interface{ Idle() bool }
	many int // from which number on the idle ones are dropped; 0 means maxIdle
}

// watchKey identifies a watch: for evaluations, those of one judge.
type watchKey struct{ kind, list string }

// maxIdle is the least number of watches at which idle ones are dropped. An idle
// watch has no goroutine, and is kept for what it knows about the list.
const maxIdle = 64

// newWaiter returns a waiter that shares the client's watch for a kind of work and
// a list, or has one of its own if it has request options.
func newWaiter[T any](c *scope, conf *waitConfig, list string, failure func(*T) error, kind watch.Kind[T]) *waiter[T] {
	w := &waiter[T]{kind: kind.Name, scope: c, conf: *conf, failure: failure}
	create := func() *watch.Watch[T] {
		return watch.New(kind, watch.Config{
			Quota: quota{c.limiter}, Timeout: c.timeout, PageSize: pageLimit,
			Assumed: watch.Limits{Limit: defaultQuota, Window: defaultWindow},
			Judge:   func(err error) watch.Verdict { return verdict(err, c.retry.MaxRetryAfter) },
			Unlisted: func(kind string) error {
				return fmt.Errorf("connic: %w: the list does not show the %s", ErrNotFound, kind)
			},
			Foreign: func(kind string) error { return fmt.Errorf("connic: %w: it is not the %s", lenient.ErrOther, kind) },
		})
	}
	all := &c.watches
	if len(conf.request) > 0 || c.unmade {
		w.Watch = create()
		return w
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	key := watchKey{kind.Name, list}
	if shared, ok := all.of[key].(*watch.Watch[T]); ok {
		w.Watch = shared
		return w
	}
	if len(all.of) >= max(all.many, maxIdle) {
		for key, w := range all.of {
			if w.Idle() {
				delete(all.of, key)
			}
		}
		all.many = 2 * len(all.of)
	}
	if all.of == nil {
		all.of = make(map[watchKey]interface{ Idle() bool })
	}
	w.Watch = create()
	all.of[key] = w.Watch
	return w
}

// asked returns the options of one request of a poll.
func (c *waitConfig) asked(a watch.Ask) []RequestOption {
	var all []RequestOption
	if a.Timeout > 0 {
		all = append(all, WithAttemptTimeout(a.Timeout))
	}
	return append(append(all, func(o *callOptions) { o.sent = a.Sending }), c.request...)
}

// pages returns how a watch fetches the pages of a list.
func pages[T any](conf *waitConfig, l listing[T]) func(context.Context, watch.Position, watch.Ask) (watch.Page[T], error) {
	l.keepBad, l.request.lane = true, LanePoll
	return func(ctx context.Context, at watch.Position, a watch.Ask) (watch.Page[T], error) {
		p, err := l.fetch(ctx, list.Position(at), conf.asked(a))
		if err != nil {
			return watch.Page[T]{}, err
		}
		return watch.Page[T]{
			Items: p.Items, Row: l.id, Bad: undecodable(l.name, p.Failure), More: p.HasNext(),
			Next: watch.Position{Offset: at.Offset + len(p.Items), Cursor: p.NextCursor},
		}, nil
	}
}

// undecodable turns the errors of the items of a list into those of the package.
func undecodable[T any](list string, bad func(*T) error) func(*T) error {
	return func(item *T) error {
		err := bad(item)
		if err == nil {
			return nil
		}
		e := &DecodeError{Op: list, Err: err}
		var field *lenient.FieldError
		if errors.As(err, &field) {
			e.Field, e.Err = field.Field, field.Err
		}
		return e
	}
}

// verdict says what the error of a poll means for the waits. longest is the
// longest pause that a response can ask for.
//
// Of responses, only the refusal of the key ends a wait at once. A 404, or the
// redirect or the 400 of a proxy, ends it if it persists: something just created
// may not be visible yet.
func verdict(err error, longest time.Duration) (v watch.Verdict) {
	var (
		answer    *Error
		argument  *ArgumentError
		decode    *DecodeError
		limit     *LimitError
		transport *TransportError
	)
	switch {
	case errors.Is(err, lenient.ErrOther):
		v.Refused, v.List = true, watch.ListLater
	case errors.As(err, &transport): // what it wraps may belong to another call
		v.Hopeless = errors.Is(err, ErrClosed) || errors.Is(err, watch.ErrPanicked) || exchange.CertificateError(err)
	case errors.As(err, &limit):
		v.Hopeless = true
	case errors.As(err, &answer):
		v.Pause = min(answer.RetryAfter, longest)
		status := answer.StatusCode
		v.Hopeless = status == http.StatusUnauthorized || status == http.StatusForbidden
		v.Refused = exchange.IsFinal(status) && !v.Hopeless
		switch {
		case status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
			v.List = watch.ListUseless
		case v.Refused:
			v.List = watch.ListLater
		}
	case errors.As(err, &decode):
		v.Hopeless, v.List = !errors.Is(err, lenient.ErrIncomplete), watch.ListLater
	default:
		v.Hopeless = errors.As(err, &argument) || errors.Is(err, watch.ErrPanicked)
		v.Refused = errors.Is(err, ErrNotFound) // a list that does not show the item
	}
	return v
}

// check checks the arguments of a wait.
func (w *waiter[T]) check(ctx context.Context, op string, ids ...string) error {
	if ctx == nil {
		return &ArgumentError{Op: op, Arg: "context", Reason: "is nil"}
	}
	for _, id := range ids {
		if reason := route.Check(id); reason != "" {
			return &ArgumentError{Op: op, Arg: strings.TrimPrefix(w.kind, "evaluation of ") + " id", Reason: reason}
		}
	}
	return w.scope.made(op)
}

// one waits for one item. With an error it returns the item as last seen, or known
// if it saw none.
func (w *waiter[T]) one(ctx context.Context, op, id string, known *T) (*T, error) {
	if err := w.check(ctx, op, id); err != nil {
		return known, err
	}
	return w.await(ctx, w.Join(ctx, w.conf.terms(), false, id), id, known)
}

// await returns what the wait x for one item ends with.
func (w *waiter[T]) await(ctx context.Context, x *watch.Wait[T], id string, known *T) (value *T, err error) {
	value = known
	w.pairs(ctx, x, []string{id}, nil, nil, func(own *T, failed error) bool {
		if err = failed; own != nil {
			value = own
		}
		return false
	})
	return value, err
}

// all waits for many items and yields each as it ends. An id that cannot be one
// is a pair of its own.
func (w *waiter[T]) all(ctx context.Context, op string, ids []string) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		if err := w.check(ctx, op); err != nil {
			yield(nil, err)
			return
		}
		if start, ok := ctx.Value(inject.StartKey{}).(inject.Start); ok {
			ctx = context.WithValue(ctx, inject.StartKey{}, nil) // it starts them once
			ids = w.start(ctx, start)
		}
		valid := make([]string, 0, len(ids))
		for _, id := range ids {
			if err := w.check(ctx, op, id); err == nil {
				valid = append(valid, id)
			} else if !yield(nil, err) {
				return
			}
		}
		if len(valid) > 0 {
			closed := make(chan string)
			close(closed)
			w.pairs(ctx, w.Join(ctx, w.conf.terms(), false, valid...), valid, closed, nil, yield)
		}
	}
}

// start starts what is waited for.
func (w *waiter[T]) start(ctx context.Context, start inject.Start) (ids []string) {
	if !w.conf.cancelOnAbort {
		return start(ctx, func() {})
	}
	own := grace.New(ctx, abortTimeout)
	defer own.Stop()
	return start(own, own.Begin)
}

// pairs passes on what each item of the wait x ends with, until f returns false.
// More items come from more, after check. If more is nil, the wait is for one
// item, which is passed on as last seen if the wait ends first.
func (w *waiter[T]) pairs(ctx context.Context, x *watch.Wait[T], ids []string, more <-chan string, check func(string) error, f func(*T, error) bool) {
	active := &activeWait{kind: w.kind, pending: x.Pending, aborts: w.conf.cancelOnAbort && w.cancel != nil}
	ctx, leave := w.scope.activity.join(ctx, active)
	defer leave()
	defer x.Leave()
	single := more == nil
	d := &deadlines{after: w.conf.cancelAfter, cancel: w.cancel, has: x.Has, wake: x.Wake}
	defer d.stop()
	d.add(ids...)
	if w.pauses != nil {
		w.pauses.wake = x.Wake
		defer w.pauses.stop()
	}
	for more != nil || !x.Empty() {
		updates, id, open, ended := x.Next(ctx, more)
		if !open {
			more = nil
		} else if id != nil {
			if err := check(*id); err == nil {
				x.More(*id)
				d.add(*id)
			} else if !f(nil, err) {
				return
			}
		}
		for i := range updates {
			u := &updates[i]
			if w.pauses != nil {
				w.pauses.see(ctx, u.ID, u.State, u.Value != nil, u.Done, u.Ended != nil)
			}
			w.report(u)
			switch {
			case u.Ended != nil:
				if !f(u.Own, w.failed(u.Ended)) || u.All {
					return
				}
			case u.Done:
				if !f(u.Own, w.scope.hide(w.failure(u.Own))) {
					return
				}
			}
		}
		if ended != nil {
			var last *T
			if single {
				last = x.Last()
			}
			if more != nil || len(ended.IDs) > 0 {
				left, err := w.ended(ctx, ended, w.cancel)
				active.leaves(left)
				f(last, err)
			}
			return
		}
		if w.pauses != nil {
			for id, err := range w.pauses.failed(w.Soon) {
				e := &WaitError{Kind: w.kind, ID: id, Pending: []string{id}, LastStatus: string(RunAwaitingApproval), Err: err}
				var own *T
				if own, e.Polls = x.Drop(id); !f(own, e) {
					return
				}
			}
		}
		d.check(ctx)
	}
}

// report tells the progress of a wait.
func (w *waiter[T]) report(u *watch.Update[T]) {
	own, isRun := any(u.Own).(*Run)
	if isRun && own != nil && w.pauses != nil {
		own.Approval = w.pauses.named(u.ID)
	}
	if w.conf.progress == nil {
		return
	}
	e := WaitEvent{
		Kind: w.kind, ID: u.ID, Status: u.State.Status, Phase: u.State.Phase, Done: u.Done,
		Polls: u.Polls, After: u.After, Next: u.Next, Err: u.Err,
	}
	if isRun && own != nil {
		e.Run = own
	} else if value, ok := any(u.Value).(*Run); ok && value != nil {
		e.Run = value.clone()
		if w.pauses != nil {
			e.Run.Approval = w.pauses.named(u.ID)
		}
	}
	w.conf.progress(e)
}

// failed returns the error of a wait that ended before its work did.
func (w *waiter[T]) failed(p *watch.Pending) *WaitError {
	e := &WaitError{
		Kind: w.kind, Pending: p.IDs, Polls: p.Polls, Err: p.Err,
		LastStatus: mask.Line(w.scope.mask().Text(p.LastStatus), maxID),
	}
	if len(p.IDs) > 0 {
		e.ID = p.IDs[0]
	}
	return e
}

// ended is like failed for a wait whose context has ended. It asks the service to
// cancel the work if the caller wants it and cancel is not nil. It also returns the
// ids of the work that continues.
func (w *waiter[T]) ended(ctx context.Context, p *watch.Pending, cancel func(context.Context, string) error) (left []string, err error) {
	e := w.failed(p)
	left = p.IDs
	if cancel != nil && w.conf.cancelOnAbort {
		left, e.Err = abort(ctx, p, cancel)
	}
	return left, e
}
