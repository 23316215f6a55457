package connic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/inject"
	"github.com/connic-go/connic/internal/lenient"
)

// call is one call of the API: the root's side of an exchange. It is the parent
// context of the exchange, which lets OperationFromContext find it.
type call struct {
	context.Context // the caller's, after WithCallContext

	scope   *scope
	op      *api.Operation
	options *callOptions
	item    string // fills the route's placeholder
	permit  Permit
	queued  uint32 // milliseconds at the limiter
	lane    Lane
	look    bool        // the next poll is the retry
	flying  atomic.Bool // an unsafe attempt was sent that may be executed

	exchange exchange.Exchange
}

// route returns the path of the call with placeholders.
func (k *call) route() string {
	switch {
	case k.op.Op != rawOperation.Op:
		return k.scope.routes.of(k.op.Op)
	case k.options.outside:
		return strings.TrimPrefix(k.op.Route, projectRoute)
	default:
		return k.op.Route
	}
}

// typedCall is a call together with its result.
type typedCall[T any] struct {
	call
	decode  func(*lenient.Decoder) (T, error)
	partial func(body []byte) any
	value   T
}

// Decode implements [exchange.Caller].
func (k *typedCall[T]) Decode(d *lenient.Decoder) (err error) {
	if k.value, err = k.decode(d); err == nil {
		if v, ok := any(k.value).(document); ok {
			err = v.expected(k.item)
		}
	}
	return err
}

// Salvage implements [exchange.Caller].
func (k *typedCall[T]) Salvage(body []byte) {
	if k.partial != nil {
		k.value, _ = k.partial(body).(T)
	}
}

// do is the single path of every request: validate arguments, build the
// request, send and retry it, decode the response. With an error it also
// returns what could be salvaged of the response.
func do[T any](ctx context.Context, c *scope, r request, decode func(*lenient.Decoder) (T, error), opts []RequestOption) (T, error) {
	k := &typedCall[T]{decode: decode, partial: r.salvage}
	k.op, k.lane, k.look = &api.Table[r.op], r.lane, r.lane == LanePoll
	k.exchange.Class = k.op.Class
	if r.repeatable {
		k.exchange.Class = api.Idempotent
	}
	err := c.run(ctx, &k.call, k, &r, opts)
	return k.value, err
}

// run sends the call k described by r.
func (c *scope) run(ctx context.Context, k *call, caller exchange.Caller, r *request, opts []RequestOption) error {
	if ctx == nil {
		return k.argument("context", "is nil")
	}
	if err := c.made(k.op.Name); err != nil {
		return err
	}
	k.Context, k.scope, k.item = ctx, c, r.id
	k.options = &noOptions
	if len(opts) > 0 || r.admitted != nil || r.queued != nil || r.received != nil {
		k.options = &callOptions{spare: r.spare, admitted: r.admitted, queued: r.queued, received: r.received}
		k.options.with(opts)
	}
	o := k.options
	if o.lane != nil {
		k.lane = *o.lane
	}
	if o.capture != nil {
		*o.capture = Response{}
	}
	if bad := o.bad; bad != nil {
		return k.argument(bad.Arg, bad.Reason)
	}
	if o.outside {
		if k.op.Op != rawOperation.Op {
			return k.argument("WithoutProject", "belongs to Client.Do only")
		}
		if k.route() == "" {
			return k.argument("path", "is empty")
		}
	}
	if c.closed.Load() {
		return &TransportError{Op: k.op.Name, Method: k.op.Method, Err: ErrClosed}
	}
	x := &k.exchange
	if c.readOnly && x.Class != api.Safe {
		return &ArgumentError{Op: k.op.Name, Arg: "client", Reason: "is read-only, and the operation is not", err: ErrReadOnly}
	}
	if err := c.locate(k, r); err != nil {
		return err
	}
	encoded := r.encoded
	if encoded == nil && r.body != nil {
		var err error
		if encoded, err = json.Marshal(r.body); err != nil {
			return k.argument("body", "cannot be encoded as JSON: "+err.Error())
		}
	}
	if len(o.fields) > 0 && !r.extended {
		var bad *ArgumentError
		if encoded, bad = k.extend(encoded, r.form != nil); bad != nil {
			return bad
		}
	}
	if r.stream != nil {
		var err error
		if r.form, err = r.stream(ctx, encoded); err != nil {
			return err
		}
	}
	switch {
	case r.form != nil:
		x.Body = &exchange.Body{ContentType: []string{r.form.contentType}, Open: r.form.open}
	case encoded != nil:
		x.Body = &exchange.Body{ContentType: contentJSON, Encoded: encoded}
	}
	x.Method, x.Header = k.op.Method, o.header
	x.KeepRaw, x.Once, x.FailFast, x.Observed = o.raw, o.once(), o.failFast, c.telemetry.Enabled()
	x.MaxAttempts, x.Timeout = k.maxAttempts(), k.timeout()
	x.DoneBy = doneBy(k.op)
	x.Memory, x.FixedPath = &c.memory[k.op.Op], k.op.Op == rawOperation.Op
	if !c.activity.enter(k) {
		return &TransportError{Op: k.op.Name, Method: k.op.Method, Err: ErrClosed}
	}
	var err error
	defer func() { c.activity.leave(k, err) }()
	err = k.send(caller)
	return err
}

// send runs the exchange of a call and returns its error.
func (k *call) send(caller exchange.Caller) error {
	start := time.Now()
	k.derive()
	out := k.scope.engine.Run(&k.exchange, caller)
	err := k.failed(&out)
	if r := k.options.capture; r != nil {
		r.Attempts, r.Duration = out.Attempts, time.Since(start)
	}
	if k.scope.telemetry.Enabled() {
		k.observe(Event{Kind: EventDone, Duration: time.Since(start), Queued: time.Duration(k.queued) * time.Millisecond, Err: err}, &out)
	}
	return err
}

// doneBy returns what tells that an earlier attempt has done the work, or nil.
func doneBy(op *api.Operation) func(status int) bool {
	switch {
	case op.Method == http.MethodDelete:
		return gone
	case op.Op == api.RunsCancel:
		return conflict
	}
	return nil
}

func gone(status int) bool     { return status == http.StatusNotFound || status == http.StatusGone }
func conflict(status int) bool { return status == http.StatusConflict }

// failed returns the error that an outcome is for the caller. It is the only
// place that makes one.
func (k *call) failed(o *exchange.Outcome) error {
	switch o.Cause {
	case exchange.CauseNone:
		return nil
	case exchange.CauseResponse:
		return k.answered(o.Response, o)
	case exchange.CauseDecode:
		var u *exchange.Undecodable
		_ = errors.As(o.Err, &u)
		body := u.Body
		if hide := k.options.hide; hide != nil {
			body = hide.Bytes(body)
		}
		return &DecodeError{
			Op: k.op.Name, StatusCode: o.Status, RequestID: o.RequestID, Attempts: o.Attempts, Field: u.Field, Body: body, Err: tooLarge(u.Err),
			item: k.masked(k.item), unknown: o.Unknown, deprecation: (*Deprecation)(o.Deprecation),
		}
	case exchange.CauseGate:
		var limit *LimitError
		if errors.As(o.Err, &limit) {
			own := *limit // a Limiter may return the same error to many calls
			own.Op, own.Last = k.op.Name, k.answered(o.Last, o)
			return &own
		}
	case exchange.CauseKey, exchange.CauseContext, exchange.CauseTransport: // below
	case exchange.CauseBody:
		if argument, ok := o.Err.(*ArgumentError); ok { //nolint:errorlint // a body that cannot be made
			return argument
		}
	}
	last := o.Response
	if last == nil {
		last = o.Last
	}
	err := o.Err
	if errors.Is(err, exchange.ErrAttemptTimeout) {
		err = fmt.Errorf("%w (see WithTimeout)", err)
	}
	return &TransportError{
		Op: k.op.Name, Method: k.op.Method, Path: k.masked(k.exchange.URL.Path), Attempts: o.Attempts,
		item: k.masked(k.item), Err: err, Last: k.answered(last, o), unknown: o.Unknown,
	}
}

// answered returns the *Error of an answer, or nil.
func (k *call) answered(r *exchange.Response, o *exchange.Outcome) *Error {
	if r == nil {
		return nil
	}
	e := &Error{
		Op: k.op.Name, Method: k.op.Method, Path: k.masked(k.exchange.URL.Path), StatusCode: r.Status, Detail: r.Detail,
		Section: k.op.Section, Access: k.op.Access, RequestID: r.RequestID, RetryAfter: r.RetryAfter, Location: r.Location, Body: r.Body,
		Attempts: o.Attempts, item: k.masked(k.item), unknown: o.Unknown, deprecation: (*Deprecation)(r.Deprecation),
	}
	for _, f := range r.Fields {
		e.Fields = append(e.Fields, FieldError(f))
	}
	if hide := k.options.hide; hide != nil {
		e.Detail, e.Body = hide.Text(e.Detail), hide.Bytes(e.Body)
		for i := range e.Fields {
			e.Fields[i].Msg = hide.Text(e.Fields[i].Msg)
		}
	}
	return e
}

func tooLarge(err error) error {
	var large *exchange.TooLarge
	if errors.As(err, &large) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}

func (k *call) masked(s string) string { return k.scope.mask().Line(s, exchange.MaxID) }

func (k *call) argument(name, reason string) *ArgumentError {
	return &ArgumentError{Op: k.op.Name, Arg: name, Reason: reason}
}

func (k *call) maxAttempts() int32 {
	if k.options.attempts > 0 {
		return int32(min(k.options.attempts, math.MaxInt32))
	}
	if k.look {
		return 1
	}
	return int32(min(k.scope.retry.MaxAttempts, math.MaxInt32))
}

// timeout returns the time limit of an attempt.
func (k *call) timeout() time.Duration {
	switch {
	case k.options.timeout > 0:
		return k.options.timeout
	case k.op.Timeout > k.scope.timeout:
		return k.op.Timeout
	default:
		return k.scope.timeout
	}
}

// Sending implements [exchange.Caller].
func (k *call) Sending() (landed func()) {
	if k.exchange.Class == api.Unsafe {
		k.flying.Store(true)
	}
	if k.options.sent == nil {
		return nil
	}
	return k.options.sent()
}

// Received implements [exchange.Caller].
func (k *call) Received(resp *http.Response, body []byte) {
	if k.options.received != nil {
		k.options.received(resp.Header)
	}
	if r := k.options.capture; r != nil {
		m := k.scope.mask()
		*r = Response{StatusCode: resp.StatusCode, Header: m.Header(resp.Header), Body: append([]byte{}, body...)}
		r.RequestID = k.exchange.RequestID()
	}
}

// Observe implements [exchange.Caller].
func (k *call) Observe(e exchange.Event) {
	own := Event{Kind: EventAttempt, Duration: e.Duration, Err: k.failed(&e.Outcome)}
	if e.Retry {
		own.Kind, own.Wait, own.Reason = EventRetry, e.Wait, Reason(e.Reason)
	}
	k.observe(own, &e.Outcome)
	if d := e.Outcome.Deprecation; d != nil && k.exchange.Memory.Deprecated.CompareAndSwap(false, true) {
		k.observe(Event{Kind: EventDeprecated, Deprecation: (*Deprecation)(d)}, &e.Outcome)
	}
}

// Value implements [context.Context].
func (k *call) Value(key any) any {
	if key == (inject.Operation{}) {
		return k
	}
	return k.Context.Value(key)
}

// sleep waits for d, or until the context ends.
func sleep(ctx context.Context, d time.Duration) error { return exchange.Sleep(ctx, d) }
