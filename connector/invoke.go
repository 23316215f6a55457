package connector

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic"
)

const (
	maxAttempts   = 4 // only if no byte was sent
	maxRetryAfter = 2 * time.Minute
	minPause      = time.Second
	maxErrorBody  = 1 << 20
	maxKeptBody   = 64 << 10
	maxDetail     = 500 // characters
)

// invoke sends an input until there is a response, and returns the body of a
// 2xx.
func (c *Connector) invoke(ctx context.Context, op string, in *Input) ([]byte, int, error) {
	switch {
	case c == nil || c.request == nil:
		return nil, 0, argument(op, "connector", "was not made by New")
	case ctx == nil:
		return nil, 0, argument(op, "context", "is nil")
	}
	fail := &Error{Op: op, Host: c.host}
	content, err := in.content(op)
	if err != nil {
		return nil, 0, err
	}
	// Check first: a select picks any case that is ready.
	if err := cause(ctx); err != nil {
		fail.Err = err
		return nil, 0, fail
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		fail.Err = fmt.Errorf("not sent: as many calls as WithMaxInFlight allows are in flight: %w", cause(ctx))
		return nil, 0, fail
	}
	timeout := c.callTimeout
	if op == "send" {
		timeout = c.sendTimeout
	}
	unsent, refused := 0, 0
	for {
		if err := c.pause.wait(ctx); err != nil {
			fail.Err = err
			return nil, 0, fail
		}
		fail.Attempts++
		a := attempt{connector: c, fail: &Error{Op: op, Host: c.host, Attempts: fail.Attempts}}
		a.send(ctx, content, timeout)
		switch {
		case a.done:
			return a.body, fail.Attempts, nil
		case a.unsent:
			if unsent++; unsent >= maxAttempts || ctx.Err() != nil {
				return nil, 0, a.fail
			}
			if err := sleep(ctx, backoff(unsent)); err != nil {
				if ctx.Err() != nil {
					a.fail.Err = fmt.Errorf("%w, after: %w", err, a.fail.Err)
				}
				return nil, 0, a.fail
			}
		case a.fail.StatusCode == http.StatusTooManyRequests:
			asked := max(a.fail.RetryAfter, minPause)
			if a.fail.RetryAfter == 0 {
				asked = max(asked, backoff(refused+1))
			}
			refused++
			if asked > maxRetryAfter {
				return nil, 0, a.fail
			}
			if !c.pause.begin(ctx, asked) {
				a.fail.Err = &pauseError{asked}
				return nil, 0, a.fail
			}
		default:
			return nil, 0, a.fail
		}
		fail = a.fail // the error if the context ends before the next attempt
	}
}

// attempt is one attempt of a call.
type attempt struct {
	connector *Connector
	wire      wire

	done   bool // a complete 2xx response was read
	unsent bool // no byte left the process
	body   []byte
	fail   *Error
}

var (
	errTimeout = fmt.Errorf("no response within the timeout (see WithTimeout and the Timeout of the http.Client): %w", context.DeadlineExceeded)
	// errResend ends an attempt that net/http would repeat by itself over
	// HTTP/2, even in cases in which the server may have begun to execute it.
	errResend = errors.New("the connection failed after the request was sent")
)

func (a *attempt) send(ctx context.Context, content *content, timeout time.Duration) {
	c := a.connector
	attemptCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(timeout, func() { cancel(errTimeout) })
	defer timer.Stop()

	u, header := c.request()
	header["Content-Type"] = []string{content.contentType}
	r := (&http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: content.open(), ContentLength: content.size,
		// net/http needs this if it could not write a byte to a reused
		// connection and tries another one.
		GetBody: func() (io.ReadCloser, error) { return content.open(), nil },
	}).WithContext(a.wire.trace(attemptCtx, c.h2c, cancel))

	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		a.unsent = a.wire.unsent() && !certificate(err)
		a.fail.unknown = !a.wire.unsent()
		a.fail.Err = a.cause(attemptCtx, err)
		return
	}
	defer resp.Body.Close()
	success := resp.StatusCode >= 200 && resp.StatusCode < 300
	limit := c.maxBody
	if !success {
		limit = min(limit, maxErrorBody)
	}
	body, err := readAll(resp, limit)
	a.fail.StatusCode = resp.StatusCode
	if success && err == nil {
		a.done, a.body = true, bytes.TrimPrefix(body, []byte("\ufeff"))
		return
	}
	a.fail.Body = c.mask.Head(body, maxKeptBody)
	if success {
		a.fail.unknown, a.fail.RunIDs = true, salvage(body)
		a.fail.Err = fmt.Errorf("the response was truncated: %w", a.cause(attemptCtx, err))
		return
	}
	// Whatever part of the error body could be read is good enough.
	a.fail.Detail = c.mask.Line(explain(body), maxDetail)
	a.fail.RetryAfter = retryAfter(resp.Header, time.Now())
	a.fail.unknown = mayHaveRun(resp.StatusCode)
	a.fail.Location = location(u, resp)
}

// mayHaveRun reports whether an error status leaves it open what happened. A
// status below 200 is not a response to a POST at all.
func mayHaveRun(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return true
	case http.StatusNotImplemented:
		return false
	}
	return status < 200 || status >= 500
}

// cause returns the error of an attempt, or of its context if that has ended.
func (a *attempt) cause(ctx context.Context, err error) error {
	if ended := cause(ctx); ended != nil {
		err = ended
	}
	return a.connector.mask.Error(err)
}

// cause returns why a context has ended, or nil. The error also matches the
// error of the context.
func cause(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	why := context.Cause(ctx)
	if errors.Is(why, err) || errors.Is(why, errResend) || errors.Is(why, errTimeout) {
		return why
	}
	return fmt.Errorf("%w: %w", err, why)
}

// wire records the progress of an attempt.
type wire struct{ asked, got, wrote, h2 atomic.Bool }

// unsent reports whether it is certain that no byte was sent: the transport
// asked for a connection and did not get one. A transport that does not report
// its steps may have sent everything.
func (w *wire) unsent() bool { return w.asked.Load() && !w.got.Load() }

func (w *wire) trace(ctx context.Context, h2c bool, cancel context.CancelCauseFunc) context.Context {
	again := func() {
		switch {
		case !w.wrote.Load():
		case w.h2.Load():
			cancel(errResend)
		default:
			// Over HTTP/1, net/http repeats a POST only if no byte of it could
			// be written, whatever was buffered.
			w.got.Store(false)
			w.wrote.Store(false)
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			again()
			w.asked.Store(true)
		},
		GotConn: func(info httptrace.GotConnInfo) {
			again()
			w.got.Store(true)
			secure, ok := info.Conn.(interface{ ConnectionState() tls.ConnectionState })
			w.h2.Store((ok && secure.ConnectionState().NegotiatedProtocol == "h2") || (!ok && h2c))
		},
		WroteHeaders: func() { w.wrote.Store(true) },
	})
}

// certificate reports whether err says that the server failed to prove its
// identity.
func certificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &invalid)
}

// readAll reads the body of a response, or fails with [connic.ErrTooLarge]
// beyond the limit. It returns what it has read in either case.
func readAll(resp *http.Response, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	if resp.ContentLength > 0 {
		// Do not trust the declared length. ReadFrom needs free space to detect
		// the end.
		buf.Grow(int(min(resp.ContentLength, limit, 64<<10)) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(buf.Len()) > limit {
		err = fmt.Errorf("%w: more than %d bytes", connic.ErrTooLarge, limit)
	}
	return buf.Bytes(), err
}

// location returns the scheme and host of the target of a redirect.
func location(from *url.URL, resp *http.Response) string {
	target := resp.Header.Get("Location")
	if target == "" || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return ""
	}
	u, err := from.Parse(target)
	if err != nil || u.Host == "" {
		return "(an invalid URL)"
	}
	return u.Scheme + "://" + u.Host
}

// pause suspends all calls of a connector after a 429.
type pause struct {
	mu    sync.Mutex
	until time.Time
}

// begin extends the pause to at least d from now. It reports whether the
// context lasts that long.
func (p *pause) begin(ctx context.Context, d time.Duration) bool {
	until := time.Now().Add(d)
	p.mu.Lock()
	if until.After(p.until) {
		p.until = until
	}
	p.mu.Unlock()
	deadline, bounded := ctx.Deadline()
	return !bounded || until.Before(deadline)
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
			return nil
		}
		if deadline, bounded := ctx.Deadline(); bounded && !until.Before(deadline) {
			return &pauseError{left}
		}
		if !waited {
			left += time.Duration(rand.Float64() * float64(left) / 10) //nolint:gosec // spreads load, guards nothing
		}
		if err := sleep(ctx, left); err != nil {
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

func sleep(ctx context.Context, d time.Duration) error {
	if deadline, bounded := ctx.Deadline(); bounded && time.Now().Add(d).After(deadline) {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cause(ctx)
	}
}

// retryAfter returns the longest of the Retry-After headers of a response, or 0
// if none is understood. Seconds may have a fraction. A date is compared with
// the Date header of the response, since the two clocks may differ.
func retryAfter(h http.Header, now time.Time) time.Duration {
	var longest time.Duration
	for _, value := range h["Retry-After"] {
		value = strings.TrimSpace(value)
		if at, err := http.ParseTime(value); err == nil {
			from := now
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				from = date
			}
			longest = max(longest, at.Sub(from))
			continue
		}
		if strings.Trim(value, "0123456789.") != "" {
			continue
		}
		seconds, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange):
		case seconds >= float64(math.MaxInt64)/float64(time.Second):
			longest = math.MaxInt64
		default:
			longest = max(longest, time.Duration(math.Ceil(seconds*float64(time.Second))))
		}
	}
	return longest
}
