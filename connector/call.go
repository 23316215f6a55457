package connector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/hook"
	"github.com/connic-go/connic/internal/inject"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/problem"
)

// policy bounds the retries of a call. Only what no byte was sent of, or what was
// refused with a 429, is sent again.
var policy = exchange.Policy{
	MaxAttempts: 4, MinWait: 500 * time.Millisecond, MaxWait: 20 * time.Second, MaxRetryAfter: 2 * time.Minute, Budget: -1,
}

// call is one call of a connector: its side of an exchange.
type call struct {
	context.Context
	connector *Connector
	op        string
	begin     func() error // called before each attempt, if not nil; if it fails, nothing is sent
	refusals  int
	failFast  bool
	answer    answer
	body      []byte        // the start of a success that is no answer, masked
	queued    time.Duration // that it waited for a slot, or for the end of a pause
	exchange  exchange.Exchange
}

// invoke sends an input until there is a response, and returns the decoded
// 2xx. With an error it returns what is known of the runs that were started.
func (c *Connector) invoke(ctx context.Context, op string, in *Input, begin func() error) (*answer, error) {
	switch {
	case c == nil || c.url == nil:
		return new(answer), argument(op, "connector", "was not made by New")
	case ctx == nil:
		return new(answer), argument(op, "context", "is nil")
	}
	k := &call{Context: ctx, connector: c, op: op, failFast: in.FailFast, begin: begin}
	content, err := in.content(ctx, op)
	if err != nil && ctx.Err() == nil {
		var bad *connic.ArgumentError
		if errors.As(err, &bad) {
			bad.Reason = c.mask.Line(bad.Reason, 0)
		}
		return new(answer), err
	}
	start := time.Now()
	if c.telemetry != nil {
		k.Context = c.telemetry.Begin(ctx, operation(op))
	}
	var out exchange.Outcome
	if err != nil {
		out = c.ended(ctx, "not sent: ")
	} else {
		out = k.send(content)
	}
	if err = k.failed(&out); err == nil && op == "call" {
		err = k.unfinished()
	}
	k.observe(connic.Event{Kind: connic.EventDone, Duration: time.Since(start), Queued: k.queued, Err: err}, &out)
	return &k.answer, err
}

// send waits for a slot, and runs the exchange.
func (k *call) send(content *exchange.Body) exchange.Outcome {
	c := k.connector
	select {
	case c.slots <- struct{}{}:
	default:
		const full = "as many calls as WithMaxInFlight allows are in flight"
		if k.failFast {
			return exchange.Outcome{Cause: exchange.CauseGate, Err: k.refusal(full, connic.ReasonInFlight, 0)}
		}
		k.observe(connic.Event{Kind: connic.EventQueued, Reason: connic.ReasonInFlight}, new(exchange.Outcome))
		asked := time.Now()
		select {
		case c.slots <- struct{}{}:
			k.queued = time.Since(asked)
		case <-k.Done():
			k.queued = time.Since(asked)
			return c.ended(k, "not sent: "+full+": ")
		}
	}
	defer func() { <-c.slots }()
	x := &k.exchange
	x.Method, x.URL, x.Class = http.MethodPost, c.url(), api.Unsafe
	x.MaxAttempts, x.FixedPath = int32(policy.MaxAttempts), true
	x.Timeout, x.Memory = c.callTimeout, &c.calls
	if k.op == "send" {
		x.Timeout, x.Memory = c.sendTimeout, &c.sends
	}
	x.Body, x.FailFast, x.Observed = content, k.failFast, c.telemetry.Enabled()
	return c.engine.Run(x, k)
}

// unfinished returns the error of a call whose response is not a completed run,
// or nil.
func (k *call) unfinished() error {
	if a := &k.answer; a.result == nil {
		return &ModeError{Host: k.connector.host, DispatchedTo: a.dispatched, RunIDs: a.ids}
	}
	return k.connector.failure(k.answer.result)
}

// ended is the outcome of a call whose context ended before it was sent.
func (c *Connector) ended(ctx context.Context, why string) exchange.Outcome {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		err = fmt.Errorf("%s%w", why, cause)
	} else {
		err = fmt.Errorf("%s%w: %w", why, err, cause)
	}
	return exchange.Outcome{Cause: exchange.CauseContext, Err: c.mask.Error(err)}
}

// failed returns the error that an outcome is for the caller. It is the only
// place that makes one.
func (k *call) failed(o *exchange.Outcome) error {
	if o.Cause == exchange.CauseNone {
		return nil
	}
	e := &Error{
		Op: k.op, Host: k.connector.host, Attempts: o.Attempts, StatusCode: o.Status,
		RunIDs: k.answer.ids, Body: k.body, Err: o.Err, unknown: o.Unknown,
	}
	r := o.Response
	switch o.Cause {
	case exchange.CauseDecode:
		e.Err = errors.Unwrap(o.Err) // of an *Undecodable
		var large *exchange.TooLarge
		switch {
		case errors.As(e.Err, &large):
			e.Err = fmt.Errorf("the response was truncated: %w: %w", connic.ErrTooLarge, e.Err)
		case errors.Is(e.Err, errNotAnswer):
			e.Detail, _ = problem.Parse(k.body)
			e.Detail = k.connector.line(e.Detail)
		}
	case exchange.CauseGate, exchange.CauseContext:
		r = o.Last
	case exchange.CauseTransport:
		if errors.Is(o.Err, exchange.ErrAttemptTimeout) {
			e.Err = errTimeout
		}
	default: // the response or the error says it all
	}
	if r != nil {
		e.StatusCode, e.Detail, e.RetryAfter, e.Body, e.Location = r.Status, r.Detail, r.RetryAfter, r.Body, origin(r.Location)
	}
	if refused, ok := o.Err.(*refusal); ok { //nolint:errorlint // made by this call
		_ = e.As(&refused.limit.Last)
	}
	return e
}

var errTimeout = fmt.Errorf("no response within the timeout (see WithTimeout and the Timeout of the http.Client): %w", context.DeadlineExceeded)

// origin returns the scheme and the host of a masked URL.
func origin(location string) string {
	scheme, rest, ok := strings.Cut(location, "://")
	if !ok {
		return location[:strings.IndexByte(location+":", ':')]
	}
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// line returns a text from elsewhere as one line without the secrets.
func (c *Connector) line(s string) string { return c.mask.Line(s, problem.MaxDetail) }

// Admit implements [exchange.Gate]: it waits for the end of a pause.
func (k *call) Admit(ctx context.Context, _ bool) error {
	for told := false; ; told = true {
		left := k.connector.pause.left()
		if left <= 0 {
			return k.start(ctx)
		}
		deadline, bounded := ctx.Deadline()
		late := bounded && !time.Now().Add(left).Before(deadline)
		if late || k.failFast || left > policy.MaxRetryAfter {
			text := fmt.Sprintf("the service requested a pause, which lasts %v more", left.Round(time.Millisecond))
			switch {
			case late:
				text += ", and the deadline comes before its end"
			case !k.failFast:
				text += ", longer than a call waits"
			}
			refused := k.refusal(text, connic.ReasonPaused, left)
			refused.limit.Deadline = late
			return &exchange.NotAdmitted{Err: refused}
		}
		if !told {
			// Up to a tenth more, so that waiting callers do not return together.
			left += time.Duration(rand.Float64() * float64(left) / 10) //nolint:gosec // spreads load, guards nothing
			k.observe(connic.Event{Kind: connic.EventQueued, Reason: connic.ReasonPaused, Wait: left}, &exchange.Outcome{Attempts: k.exchange.Sends()})
		}
		asked := time.Now()
		err := exchange.Sleep(ctx, left)
		if k.queued += time.Since(asked); err != nil {
			return err
		}
	}
}

// start is called when an attempt may be sent.
func (k *call) start(ctx context.Context) error {
	if err := ctx.Err(); err != nil || k.begin == nil {
		return err
	}
	if err := k.begin(); err != nil {
		return &exchange.NotAdmitted{Err: k.connector.mask.Error(err)}
	}
	return ctx.Err() // which begin may have ended
}

// Release implements [exchange.Gate]: a 429 begins a pause for all callers.
func (k *call) Release(end exchange.End, asked time.Duration) {
	if end != exchange.EndRefused {
		return
	}
	if asked == 0 {
		asked = min(exchange.MinPause<<min(k.refusals, 10), policy.MaxWait)
	}
	k.refusals++
	k.connector.pause.begin(min(max(asked, exchange.MinPause), maxPause))
}

// maxPause is the longest pause: a longer one is a mistake, or a ban.
const maxPause = 10 * time.Minute

// Decode implements [exchange.Caller].
func (k *call) Decode(d *lenient.Decoder) (err error) {
	k.answer, err = k.connector.parse(d)
	if errors.Is(err, errActive) && k.op == "send" {
		k.answer.result, err = nil, nil
	}
	return err
}

// Salvage implements [exchange.Caller].
func (k *call) Salvage(body []byte) {
	k.body = k.connector.mask.Head(body, exchange.MaxErrorBody)
	if len(k.answer.ids) == 0 {
		var f fields
		_ = f.read(lenient.New(body))
		k.answer.ids = k.connector.runs(&f)
	}
}

// Received implements [exchange.Caller].
func (*call) Received(*http.Response, []byte) {}

// Sending implements [exchange.Caller].
func (*call) Sending() func() { return nil }

// Observe implements [exchange.Caller].
func (k *call) Observe(e exchange.Event) {
	own := connic.Event{Kind: connic.EventAttempt, Duration: e.Duration, Err: k.failed(&e.Outcome)}
	if e.Retry {
		own.Kind, own.Wait, own.Reason = connic.EventRetry, e.Wait, connic.Reason(e.Reason)
	}
	k.observe(own, &e.Outcome)
	if d := e.Outcome.Deprecation; d != nil && k.exchange.Memory.Deprecated.CompareAndSwap(false, true) {
		k.observe(connic.Event{Kind: connic.EventDeprecated, Deprecation: (*connic.Deprecation)(d)}, &e.Outcome)
	}
}

// observe reports a step of the call.
func (k *call) observe(e connic.Event, o *exchange.Outcome) {
	if t := k.connector.telemetry; t.Enabled() {
		op := operation(k.op)
		e.Op, e.Method, e.Route = op.Name, op.Method, op.Route
		e.Attempt, e.StatusCode, e.RequestID = o.Attempts, o.Status, o.RequestID
		t.Observe(k.Context, e)
	}
}

func operation(op string) connic.Operation {
	return connic.Operation{
		Name: operationPrefix + op, Method: http.MethodPost, Route: hook.Route, Class: api.Unsafe.String(), Status: string(api.Documented),
	}
}

// operationPrefix precedes the method in the name of an operation.
const operationPrefix = "connectors."

// Value implements [context.Context].
func (k *call) Value(key any) any {
	if key == (inject.Operation{}) {
		return operation(k.op)
	}
	return k.Context.Value(key)
}

// pause suspends all calls of a connector after a 429.
type pause struct {
	mu    sync.Mutex
	until time.Time
}

// begin extends the pause to at least d from now.
func (p *pause) begin(d time.Duration) {
	until := time.Now().Add(d)
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until = until
	}
}

// left returns how long the pause lasts.
func (p *pause) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.until)
}

// A refusal is the cause of a call that is not sent, or not sent again, because
// it would have to wait. It is a [connic.LimitError] with a text of its own.
type refusal struct {
	text  string
	limit connic.LimitError
}

func (k *call) refusal(text string, reason connic.Reason, wait time.Duration) *refusal {
	return &refusal{text, connic.LimitError{Op: operationPrefix + k.op, Reason: reason, Wait: wait}}
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return &r.limit }
