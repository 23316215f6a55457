package connic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/hashicorp/go-retryablehttp"
)

// call is one call of the API, from its first attempt to its last. It is the
// context of its requests, which lets the hooks of retryablehttp find it.
type call struct {
	context.Context // the caller's

	client  *Client
	op      *api.Operation
	item    string // fills the route's placeholder
	url     url.URL
	body    *requestBody
	options *callOptions
	answer  answer

	attempts int32         // requests sent
	failures int32         // failed ones
	refusals int32         // refused with 429
	taken    int32         // retries taken from the budget
	wait     time.Duration // before the next attempt
	// notBefore is the instant given by a Retry-After, or nil.
	notBefore *time.Time

	// The outcome of the last attempt.
	resp    *http.Response // nil if there was no response
	failure *Error         // an error response
	err     error          // any other failure
	limit   *LimitError    // err is the limiter's
	foreign bool           // err is that of a transport or a key source, whatever it contains
	last    *Error         // the last error response of any earlier attempt

	class    api.Class
	lane     Lane
	look     bool // the next poll is the retry
	result   result
	again    bool // another attempt follows
	unknown  bool // the request may have been executed
	redirect bool // repeat with a trailing slash added or removed
	toggled  bool // the path differs from the route by a trailing slash
	turned   bool // and does so because of a redirect
	stale    bool // the attempt used a connection that the server had closed
	lost     bool // an earlier attempt may have been executed, without a response

	queued uint32 // milliseconds queued at the limiter

	permit  Permit
	holds   bool // the call holds a permit
	sending bool // the attempt is with the transport

	// Storage for the first attempt, to save allocations.
	loop  retryablehttp.Request
	first http.Request
	end   deadline
}

// route returns the path of the call with placeholders.
func (k *call) route() string {
	switch {
	case k.op.Op != rawOperation.Op:
		return k.client.routes.of(k.op.Op)
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

func (k *typedCall[T]) accept(d *lenient.Decoder) (err error) {
	k.value, err = k.decode(d)
	return err
}

func (k *typedCall[T]) salvage(body []byte) {
	if k.partial != nil {
		k.value, _ = k.partial(body).(T)
	}
}

// do is the single path of every request: validate arguments, build the
// request, send and retry it, decode the response. With an error it also
// returns what could be salvaged of the response.
func do[T any](ctx context.Context, c *Client, r request, decode func(*lenient.Decoder) (T, error), opts []RequestOption) (T, error) {
	k := &typedCall[T]{decode: decode, partial: r.salvage}
	k.answer = k
	k.op, k.class, k.lane = &api.Table[r.op], api.Table[r.op].Class, r.lane
	k.look = r.lane == LanePoll
	if r.repeatable {
		k.class = api.Idempotent
	}
	err := c.run(ctx, &k.call, &r, opts)
	if r.received != nil && k.resp != nil {
		r.received(k.resp.Header)
	}
	return k.value, err
}

// run sends the call k described by r.
func (c *Client) run(ctx context.Context, k *call, r *request, opts []RequestOption) error {
	if ctx == nil {
		return k.argument("context", "is nil")
	}
	if err := c.made(k.op.Name); err != nil {
		return err
	}
	k.Context, k.client, k.item = ctx, c, r.id
	k.options = &noOptions
	if len(opts) > 0 || r.admitted != nil {
		k.options = &callOptions{spare: r.spare, admitted: r.admitted}
		for _, opt := range opts {
			if opt != nil {
				opt(k.options)
			}
		}
	}
	if k.options.lane != nil {
		k.lane = *k.options.lane
	}
	if k.options.capture != nil {
		*k.options.capture = Response{}
	}
	if bad := k.options.bad; bad != nil {
		return k.argument(bad.Arg, bad.Reason)
	}
	if k.options.outside {
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
	if c.readOnly && k.class != api.Safe {
		return &ArgumentError{Op: k.op.Name, Arg: "client", Reason: "is read-only, and the operation is not", err: ErrReadOnly}
	}
	if err := c.locate(k, r); err != nil {
		return err
	}
	switch {
	case r.form != nil:
		k.body = &requestBody{contentType: []string{r.form.contentType}, open: r.form.open}
	case r.encoded != nil:
		k.body = &requestBody{contentType: contentJSON, encoded: r.encoded}
	case r.body != nil:
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return k.argument("body", "cannot be encoded as JSON: "+err.Error())
		}
		k.body = &requestBody{contentType: contentJSON, encoded: encoded}
	}
	k.end.call = k
	k.first = *c.template.WithContext(&k.end)
	k.first.Method, k.first.URL = k.op.Method, &k.url
	k.loop.Request = &k.first
	return k.send()
}

// send runs the attempts of a call and returns its error.
func (k *call) send() error {
	start := time.Now()
	k.derive()
	_, err := k.client.http.Do(&k.loop) //nolint:bodyclose // attempts read and close their bodies
	err = k.outcome(err)
	if err == nil {
		k.client.budget.refund(k.taken)
	}
	if r := k.options.capture; r != nil {
		r.Attempts, r.Duration = int(k.attempts), time.Since(start)
	}
	if k.client.observer != nil {
		k.observe(Event{Kind: EventDone, Duration: time.Since(start), Queued: time.Duration(k.queued) * time.Millisecond, Err: err})
	}
	return err
}

// outcome returns the error of the whole call. ended is set if it was not ended
// by an attempt.
func (k *call) outcome(ended error) error {
	if ended == nil && k.result == succeeded {
		return nil
	}
	ctxErr := k.over()
	switch {
	case ctxErr == nil && ended != nil: // the body could not be built again
		return k.transportError(ended)
	case ctxErr == nil || k.limit != nil:
		return k.failed()
	case ended == nil && retryTable[api.Safe][k.result] == stop && !errors.Is(k.err, ctxErr):
		return k.failed() // the call ended by itself
	}
	if k.Err() == nil { // it is about to, and knows the cause only then
		_ = sleep(k, noticed)
	}
	if cause := context.Cause(k.Context); cause != nil && !errors.Is(ctxErr, cause) {
		ctxErr = fmt.Errorf("%w: %w", ctxErr, cause)
	}
	return k.transportError(ctxErr)
}

// noticed is how long a context may take to notice its own deadline.
const noticed = 10 * time.Millisecond

// over returns the error of the caller's context, also in the moment between its
// deadline and the context's own notice of it: a transport may be the first to
// see that the time is up.
func (k *call) over() error {
	err := k.Err()
	if end, ok := k.Deadline(); ok && err == nil && !time.Now().Before(end) {
		err = context.DeadlineExceeded
	}
	return err
}

// failed returns the error of the last attempt.
func (k *call) failed() error {
	if k.failure != nil {
		return k.failure
	}
	if k.err == nil {
		return nil
	}
	if k.limit != nil {
		own := *k.limit // a Limiter may return the same error to many calls
		own.Op, own.Last = k.op.Name, k.last
		return &own
	}
	if k.foreign {
		return k.transportError(k.err)
	}
	switch err := k.err.(type) { //nolint:errorlint // made by this call, and not wrapped
	case *DecodeError:
		return err
	case *ArgumentError: // a body that cannot be made
		return err
	}
	return k.transportError(k.err)
}

func (k *call) transportError(cause error) *TransportError {
	last := k.failure
	if last == nil {
		last = k.last
	}
	return &TransportError{
		Op: k.op.Name, Method: k.op.Method, Path: k.client.mask().Line(k.url.Path, maxID), Attempts: int(k.attempts),
		item: k.client.mask().Line(k.item, maxID), Err: k.client.mask().Error(cause), Last: last, unknown: k.unknown,
	}
}

// reason returns why the last attempt is repeated.
func (k *call) reason() string {
	switch {
	case k.redirect:
		return "redirected to the same place with or without a slash"
	case k.result == refused:
		return "refused: rate limited"
	case k.result == unsent:
		return "no connection"
	case k.failure != nil:
		return strconv.Itoa(k.status()) + " " + http.StatusText(k.status())
	default:
		return "incomplete response"
	}
}

// status returns the status of the last response, or 0.
func (k *call) status() int {
	if k.resp == nil {
		return 0
	}
	return k.resp.StatusCode
}

// requestID returns the request id of the last response.
func (k *call) requestID() string {
	if k.resp == nil {
		return ""
	}
	return k.client.mask().Line(requestID(k.resp.Header), maxID)
}

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
	return int32(min(k.client.retry.MaxAttempts, math.MaxInt32))
}

type callKey struct{}

// Value implements [context.Context].
func (k *call) Value(key any) any {
	if key == (callKey{}) {
		return k
	}
	return k.Context.Value(key)
}

// callOf returns the call that a context belongs to, or nil.
func callOf(ctx context.Context) *call {
	k, _ := ctx.Value(callKey{}).(*call)
	return k
}
