package connector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/lenient"
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
	refusals  int
	body      []byte   // of a success
	runIDs    []string // that a truncated success names
	exchange  exchange.Exchange
}

// invoke sends an input until there is a response, and returns the body of a
// 2xx.
func (c *Connector) invoke(ctx context.Context, op string, in *Input) ([]byte, int, error) {
	switch {
	case c == nil || c.url == nil:
		return nil, 0, argument(op, "connector", "was not made by New")
	case ctx == nil:
		return nil, 0, argument(op, "context", "is nil")
	}
	content, err := in.content(op)
	if err != nil {
		return nil, 0, err
	}
	k := &call{Context: ctx, connector: c, op: op}
	if err := cause(ctx); err != nil { // check first: a select picks any case that is ready
		return nil, 0, &Error{Op: op, Host: c.host, Err: err}
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, 0, &Error{Op: op, Host: c.host, Err: fmt.Errorf("not sent: as many calls as WithMaxInFlight allows are in flight: %w", cause(ctx))}
	}
	x := &k.exchange
	x.Method, x.URL, x.Class = http.MethodPost, c.url(), api.Unsafe
	x.MaxAttempts, x.Timeout = int32(policy.MaxAttempts), c.callTimeout
	if op == "send" {
		x.Timeout = c.sendTimeout
	}
	x.Body = content.request()
	out := c.engine.Run(x, k)
	if out.Cause != exchange.CauseNone {
		return nil, 0, k.failed(&out)
	}
	return k.body, out.Attempts, nil
}

// failed returns the error that an outcome is for the caller.
func (k *call) failed(o *exchange.Outcome) *Error {
	e := &Error{Op: k.op, Host: k.connector.host, Attempts: o.Attempts, StatusCode: o.Status, RunIDs: k.runIDs, Err: o.Err, unknown: o.Unknown}
	r := o.Response
	switch o.Cause {
	case exchange.CauseDecode:
		var u *exchange.Undecodable
		_ = errors.As(o.Err, &u)
		e.Body, e.Err = u.Body, fmt.Errorf("the response was truncated: %w", u.Err)
		if large := new(exchange.TooLarge); errors.As(u.Err, &large) {
			e.Err = fmt.Errorf("%w: %w", connic.ErrTooLarge, u.Err)
		}
	case exchange.CauseGate, exchange.CauseContext:
		r = o.Last
	case exchange.CauseTransport:
		if errors.Is(o.Err, exchange.ErrAttemptTimeout) {
			e.Err = errTimeout
		}
	}
	if r != nil {
		e.StatusCode, e.Detail, e.RetryAfter, e.Body, e.Location = r.Status, r.Detail, r.RetryAfter, r.Body, r.Location
		if u, err := url.Parse(r.Location); err == nil && u.Host != "" {
			e.Location = u.Scheme + "://" + u.Host
		}
	}
	return e
}

var errTimeout = fmt.Errorf("no response within the timeout (see WithTimeout and the Timeout of the http.Client): %w", context.DeadlineExceeded)

// Admit implements [exchange.Gate]: it waits for the end of a pause.
func (k *call) Admit(ctx context.Context, _ bool) error {
	err := k.connector.pause.wait(ctx)
	if refusal, ok := err.(*pauseError); ok { //nolint:errorlint // made by the pause
		return &exchange.NotAdmitted{Err: refusal}
	}
	return err
}

// Release implements [exchange.Gate]: a 429 begins a pause for all callers.
func (k *call) Release(end exchange.End, asked time.Duration) {
	if end != exchange.EndRefused {
		return
	}
	k.refusals++
	if asked == 0 {
		asked = backoff(k.refusals)
	}
	k.connector.pause.begin(min(max(asked, exchange.MinPause), maxPause))
}

// maxPause is the longest pause: a longer one is a mistake, or a ban.
const maxPause = 10 * time.Minute

// Decode implements [exchange.Caller]. See Received.
func (*call) Decode(*lenient.Decoder) error { return nil }

// Salvage implements [exchange.Caller].
func (k *call) Salvage(body []byte) { k.runIDs = salvage(body) }

// Received implements [exchange.Caller].
func (k *call) Received(resp *http.Response, body []byte) {
	if resp.StatusCode/100 == 2 {
		k.body = bytes.Clone(body)
	}
}

// Sending implements [exchange.Caller].
func (*call) Sending() func() { return nil }

// Observe implements [exchange.Caller].
func (*call) Observe(exchange.Event) {}

// request returns a content as the body of an exchange.
func (c *content) request() *exchange.Body {
	b := &exchange.Body{ContentType: []string{c.contentType}}
	if len(c.parts) == 1 && c.parts[0].file == nil {
		b.Encoded = c.parts[0].text
		return b
	}
	b.Open = func() (io.Reader, error) { return &sized{c.open(), int(c.size)}, nil }
	return b
}

// sized is a body whose size is known.
type sized struct {
	io.ReadCloser
	size int
}

func (s *sized) Len() int { return s.size }

// cause returns why a context has ended, or nil. The error also matches the
// error of the context.
func cause(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	why := context.Cause(ctx)
	if errors.Is(why, err) {
		return why
	}
	return fmt.Errorf("%w: %w", err, why)
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
		if deadline, bounded := ctx.Deadline(); bounded && !until.Before(deadline) || left > policy.MaxRetryAfter {
			return &pauseError{left}
		}
		if !waited {
			left += time.Duration(rand.Float64() * float64(left) / 10) //nolint:gosec // spreads load, guards nothing
		}
		if err := exchange.Sleep(ctx, left); err != nil {
			return err
		}
	}
}

// pauseError is the cause of a call that is not sent, or not retried, because
// its deadline comes before the end of a pause requested by the service.
type pauseError struct{ left time.Duration }

func (e *pauseError) Error() string {
	return fmt.Sprintf("the service requested a pause, and the deadline comes before its end in %v", e.left.Round(time.Millisecond))
}

func (e *pauseError) Is(target error) bool {
	return target == connic.ErrRateLimited || target == context.DeadlineExceeded
}

// backoff returns the wait before the nth retry with full jitter, bounded by
// 0.5 s doubled up to 20 s.
func backoff(n int) time.Duration {
	const shortest, longest = 500 * time.Millisecond, 20 * time.Second
	most := longest
	if shift := n - 1; shift < 10 {
		most = min(longest, shortest<<shift)
	}
	return time.Duration(rand.Float64() * float64(most)) //nolint:gosec // spreads load, guards nothing
}
