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
	begin     func() error // called before the first attempt, if not nil; if it fails, nothing is sent
	refusals  int
	answer    answer
	body      []byte // the start of a success that is no answer, masked
	exchange  exchange.Exchange
}

// invoke sends an input until there is a response, and returns the decoded
// 2xx. With an error it returns what is known of the runs that were started.
func (c *Connector) invoke(ctx context.Context, op string, in *Input, begin func() error) (*answer, error) {
	switch {
	case c == nil || c.url == nil:
		return nil, argument(op, "connector", "was not made by New")
	case ctx == nil:
		return nil, argument(op, "context", "is nil")
	}
	k := &call{Context: ctx, connector: c, op: op, begin: begin}
	content, err := in.content(ctx, op)
	if err != nil {
		if ctx.Err() != nil {
			return nil, k.ended("not sent: ")
		}
		var bad *connic.ArgumentError
		if errors.As(err, &bad) {
			bad.Reason = c.mask.Line(bad.Reason, 0)
		}
		return nil, err
	}
	select {
	case c.slots <- struct{}{}:
	default:
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, k.ended("not sent: as many calls as WithMaxInFlight allows are in flight: ")
		}
	}
	defer func() { <-c.slots }()
	x := &k.exchange
	x.Method, x.URL, x.Class = http.MethodPost, c.url(), api.Unsafe
	x.MaxAttempts, x.Timeout = int32(policy.MaxAttempts), c.callTimeout
	if op == "send" {
		x.Timeout = c.sendTimeout
	}
	x.Body = content
	out := c.engine.Run(x, k)
	return &k.answer, k.failed(&out)
}

// ended returns the error of a call whose context ended before it was sent.
func (k *call) ended(why string) error {
	err, cause := k.Err(), context.Cause(k)
	if errors.Is(cause, err) {
		err = fmt.Errorf("%s%w", why, cause)
	} else {
		err = fmt.Errorf("%s%w: %w", why, err, cause)
	}
	return k.failed(&exchange.Outcome{Cause: exchange.CauseContext, Err: k.connector.mask.Error(err)})
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
	err := k.connector.pause.wait(ctx)
	if refusal, ok := err.(*pauseError); ok { //nolint:errorlint // made by the pause
		return &exchange.NotAdmitted{Err: refusal}
	}
	if err == nil && k.begin != nil {
		if err := k.begin(); err != nil {
			return &exchange.NotAdmitted{Err: k.connector.mask.Error(err)}
		}
	}
	return err
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
func (*call) Observe(exchange.Event) {}

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

// wait waits for the end of the pause plus up to a tenth of it, so that waiting
// callers do not return together.
func (p *pause) wait(ctx context.Context) error {
	for waited := false; ; waited = true {
		p.mu.Lock()
		until := p.until
		p.mu.Unlock()
		left := time.Until(until)
		if left <= 0 {
			return ctx.Err()
		}
		deadline, bounded := ctx.Deadline()
		if late := bounded && !until.Before(deadline); late || left > policy.MaxRetryAfter {
			return &pauseError{left, late}
		}
		if !waited {
			left += time.Duration(rand.Float64() * float64(left) / 10) //nolint:gosec // spreads load, guards nothing
		}
		if err := exchange.Sleep(ctx, left); err != nil {
			return err
		}
	}
}

// pauseError is the cause of a call that is not sent, or not sent again, because
// the service requested a pause that is too long.
type pauseError struct {
	left time.Duration
	late bool // the deadline comes before its end
}

func (e *pauseError) Error() string {
	text := fmt.Sprintf("the service requested a pause, which lasts %v more", e.left.Round(time.Millisecond))
	if e.late {
		return text + ", and the deadline comes before its end"
	}
	return text + ", longer than a call waits"
}

func (e *pauseError) Is(target error) bool {
	return target == connic.ErrRateLimited || e.late && target == context.DeadlineExceeded
}
