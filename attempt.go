package connic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/hashicorp/go-retryablehttp"
)

// call is one call of the API, from the first attempt to the last. It is the
// context of its requests, which is how the hooks of retryablehttp find it.
type call struct {
	context.Context // the caller's

	client  *Client
	op      *api.Operation
	route   string
	url     url.URL
	body    *requestBody
	options *callOptions
	answer  answer

	attempts int32         // requests sent
	failures int32         // those that failed
	refusals int32         // those that were refused with 429
	taken    int32         // retries that the budget paid for
	wait     time.Duration // before the next attempt
	// notBefore is the instant that a Retry-After named, nil if none did.
	notBefore *time.Time

	// What came of the last attempt.
	resp    *http.Response // nil: no answer
	failure *Error         // an answer with an error status
	err     error          // any other failure
	last    *Error         // the last answer with an error status, of any attempt before

	class    api.Class
	lane     Lane
	result   result
	again    bool // there will be another attempt
	unknown  bool // the request may have been executed
	redirect bool // ask again with a slash more or less
	toggled  bool // a slash more or less than the route has
	turned   bool // and that because of a redirect

	// What the first attempt needs lies here, so that it need not be allocated.
	loop  retryablehttp.Request
	first http.Request
	end   deadline
	wire  *connection // of an unsafe call
}

// status is that of the last answer, 0 if there was none.
func (k *call) status() int {
	if k.resp == nil {
		return 0
	}
	return k.resp.StatusCode
}

// requestID is that of the last answer.
func (k *call) requestID() string {
	if k.resp == nil {
		return ""
	}
	return maskKeys(requestID(k.resp.Header))
}

// requestBody is the body of a call's requests.
type requestBody struct {
	contentType []string
	encoded     []byte
	open        func() (io.Reader, error) // in place of encoded
}

// set makes the body for an attempt.
func (b *requestBody) set(r *http.Request) (err error) {
	r.GetBody = b.reader
	if r.Body, err = b.reader(); err != nil {
		return err
	}
	if b.open == nil {
		r.ContentLength = int64(len(b.encoded))
	} else if sized, ok := r.Body.(interface{ Len() int }); ok {
		r.ContentLength = int64(sized.Len())
	}
	return nil
}

func (b *requestBody) reader() (io.ReadCloser, error) {
	if b.open == nil {
		body := new(memoryBody)
		body.Reset(b.encoded)
		return body, nil
	}
	content, err := b.open()
	if err != nil {
		return nil, err
	}
	if closer, ok := content.(io.ReadCloser); ok {
		return closer, nil
	}
	if sized, ok := content.(sizedReader); ok {
		return sizedBody{sized}, nil
	}
	return io.NopCloser(content), nil
}

// memoryBody is a body that lies in memory.
type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

type sizedReader interface {
	io.Reader
	Len() int
}

// sizedBody is a body of a known size that needs no closing.
type sizedBody struct{ sizedReader }

func (sizedBody) Close() error { return nil }

// answer takes the body of a successful answer.
type answer interface {
	// accept decodes it.
	accept(body []byte) error
	// salvage takes what it can from one that is not whole.
	salvage(body []byte)
}

type callKey struct{}

// Value implements [context.Context].
func (k *call) Value(key any) any {
	if key == (callKey{}) {
		return k
	}
	return k.Context.Value(key)
}

// callOf returns the call that a context belongs to, nil if it belongs to none.
func callOf(ctx context.Context) *call {
	k, _ := ctx.Value(callKey{}).(*call)
	return k
}

func (k *call) argument(name, reason string) *ArgumentError {
	return &ArgumentError{Op: k.op.Name, Arg: name, Reason: reason}
}

func (k *call) maxAttempts() int32 {
	if k.options.attempts > 0 {
		return int32(k.options.attempts)
	}
	if k.lane == LanePoll {
		return 1 // the next poll is the retry
	}
	return int32(k.client.retry.MaxAttempts)
}

// send runs the attempts of a call and returns its error.
func (k *call) send() error {
	start := time.Now()
	_, err := k.client.http.Do(&k.loop) //nolint:bodyclose // attempts read and close their bodies
	err = k.outcome(err)
	if err == nil {
		k.client.budget.refund(k.taken)
	}
	if r := k.options.capture; r != nil {
		r.Attempts, r.Duration = int(k.attempts), time.Since(start)
	}
	if k.client.observer != nil {
		k.observe(Event{Kind: EventDone, Duration: time.Since(start), Err: err})
	}
	return err
}

// outcome is the error of the whole call. Ended is set when no attempt ended it.
func (k *call) outcome(ended error) error {
	if ended == nil && k.result == succeeded {
		return nil
	}
	ctxErr := k.Err()
	var limit *LimitError
	switch {
	case ctxErr == nil && ended != nil: // the body could not be made again
		return k.transportError(ended)
	case ctxErr == nil || errors.As(k.err, &limit):
		return k.failed()
	case ended == nil && retryTable[api.Safe][k.result] == stop && !errors.Is(k.err, ctxErr):
		return k.failed() // the call came to an end of its own
	}
	if cause := context.Cause(k.Context); !errors.Is(ctxErr, cause) {
		ctxErr = fmt.Errorf("%w: %w", ctxErr, cause)
	}
	return k.transportError(ctxErr)
}

// failed is the error of the last attempt.
func (k *call) failed() error {
	if k.failure != nil {
		k.failure.Attempts, k.failure.unknown = int(k.attempts), k.unknown
		return k.failure
	}
	var limit *LimitError
	if errors.As(k.err, &limit) {
		limit.Op, limit.Last = k.op.Name, k.last
		return limit
	}
	var decode *DecodeError
	if errors.As(k.err, &decode) {
		decode.Attempts, decode.unknown = int(k.attempts), k.unknown
		return decode
	}
	if k.err == nil {
		return nil
	}
	if bad, ok := k.err.(*ArgumentError); ok { //nolint:errorlint // a body that cannot be made, and no wrapped one
		return bad
	}
	return k.transportError(k.err)
}

func (k *call) transportError(cause error) *TransportError {
	last := k.failure
	if last == nil {
		last = k.last
	}
	return &TransportError{
		Op: k.op.Name, Method: k.op.Method, Path: maskKeys(k.url.Path), Attempts: int(k.attempts),
		Err: maskError(cause), Last: last, unknown: k.unknown,
	}
}

// reason says why the last attempt is repeated.
func (k *call) reason() Reason {
	switch {
	case k.redirect:
		return "redirected to the same place with or without a slash"
	case k.result == refused:
		return "refused: rate limited"
	case k.result == unsent:
		return "no connection"
	case k.failure != nil:
		return Reason(strconv.Itoa(k.status()) + " " + http.StatusText(k.status()))
	default:
		return "no whole answer"
	}
}

// attempts is the transport of the retryablehttp client: it makes one attempt of
// a call, from its admission to the last byte of the answer. It never returns an
// error. retryablehttp would show its hooks no request beside one, and net/http
// would wrap it in one that prints the URL. What came of the attempt stands in
// the call.
//
// It has no CloseIdleConnections, so retryablehttp cannot close those of an
// http.Client that belongs to somebody else.
type attempts struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	k := callOf(r.Context())
	if k.failure != nil {
		k.last = k.failure
	}
	refusedBefore := k.again && k.result == refused
	k.result, k.resp, k.failure, k.err, k.redirect = final, nil, nil, nil, false
	k.attempt(t.next, r, refusedBefore)
	if k.again = k.judge(time.Now()); !k.again {
		return settled, nil
	}
	// retryablehttp waits on the request's context, and that of this attempt has
	// ended.
	again := k.client.template.WithContext(k)
	again.Method, again.URL = k.op.Method, &k.url
	k.loop.Request = again
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: again}, nil
}

// settled is what retryablehttp gets to see of a call that is over.
var settled = &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}

// attempt makes one attempt. The first one uses the request r as it is: nothing
// else has seen it.
func (k *call) attempt(next http.RoundTripper, r *http.Request, refusedBefore bool) {
	c := k.client
	admission := Admission{Lane: k.lane, Again: refusedBefore, NoWait: k.options.failFast}
	if c.observer != nil {
		admission.Queued = func(reason Reason, wait time.Duration) {
			k.observe(Event{Kind: EventQueued, Reason: reason, Wait: wait})
		}
	}
	permit, err := c.limiter.Acquire(k, admission)
	if err != nil {
		k.err = err
		return
	}
	authorization, err := k.prepare()
	end := &k.end
	if err == nil && k.attempts > 0 {
		end = &deadline{call: k} // something may still look at the last one
		ctx := context.Context(end)
		if k.wire != nil {
			ctx, k.wire = trace(end)
		}
		r = r.WithContext(ctx)
	}
	if err == nil && k.body != nil {
		err = k.body.set(r)
	}
	if err != nil {
		c.limiter.Release(permit, Outcome{Kind: OutcomeNotSent})
		k.err = err
		return
	}
	r.Header = k.header(authorization)
	end.begin(c.timeout)
	defer end.end(context.Canceled)

	start := time.Now()
	k.attempts++
	resp, err := next.RoundTrip(r)
	if err != nil {
		k.noAnswer(end, err)
	} else {
		k.resp = resp
		k.result = statusResult(resp.StatusCode)
	}
	c.limiter.Release(permit, k.limitOutcome(resp))
	if resp != nil {
		k.read(end, resp)
	}
	if c.observer != nil {
		k.observe(Event{Kind: EventAttempt, Duration: time.Since(start), Err: k.failed()})
	}
}

// prepare gets the key for an attempt that was admitted.
func (k *call) prepare() (authorization []string, err error) {
	if k.notBefore != nil {
		// Only a Limiter that is not ours can let a refused attempt go too early.
		if err := sleep(k, time.Until(*k.notBefore)); err != nil {
			return nil, err
		}
		k.notBefore = nil
	}
	return k.client.credential.header(k)
}

// attemptTimeout is the cause of an attempt that took longer than WithTimeout
// allows.
type attemptTimeout struct{}

var errAttemptTimeout error = attemptTimeout{}

func (attemptTimeout) Error() string   { return "the attempt timed out (see WithTimeout)" }
func (attemptTimeout) Timeout() bool   { return true }
func (attemptTimeout) Temporary() bool { return true }
func (attemptTimeout) Is(target error) bool {
	return target == context.DeadlineExceeded
}

// connection records how far an attempt came.
type connection struct{ asked, got atomic.Bool }

// unsent reports whether it is certain that not a byte was sent: the transport
// looked for a connection and did not get one. A transport that does not report
// its steps may have sent everything.
func (c *connection) unsent() bool { return c.asked.Load() && !c.got.Load() }

func trace(ctx context.Context) (context.Context, *connection) {
	wire := new(connection)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { wire.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { wire.got.Store(true) },
	}), wire
}

// noAnswer classifies an attempt that ended without an answer.
func (k *call) noAnswer(end *deadline, err error) {
	if end.expired() {
		err = errAttemptTimeout
	}
	k.err = err
	switch {
	case k.wire != nil && k.wire.unsent(), k.wire == nil && dialError(err):
		k.result = unsent
	default:
		k.result = broken
	}
	if certificateError(err) {
		k.result = final
	}
}

// limitOutcome is what the limiter learns of the attempt.
func (k *call) limitOutcome(resp *http.Response) Outcome {
	switch {
	case resp == nil && k.result == unsent:
		return Outcome{Kind: OutcomeNotSent}
	case k.result == refused:
		now := time.Now()
		wait := retryAfter(resp.Header, now)
		named := now.Add(wait)
		k.notBefore = &named
		return Outcome{Kind: OutcomeRefused, RetryAfter: wait}
	case resp == nil || k.result == failed:
		return Outcome{Kind: OutcomeFailed}
	default:
		return Outcome{Kind: OutcomeAnswered}
	}
}

// sleep waits for d, or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// header makes the headers of an attempt. Values that every call has are shared.
func (k *call) header(authorization []string) http.Header {
	h := make(http.Header, 8)
	h["Authorization"] = authorization
	h["Accept"] = acceptJSON
	h["User-Agent"] = k.client.userAgent
	if k.body != nil {
		h["Content-Type"] = k.body.contentType
	}
	maps.Copy(h, k.options.header)
	return h
}

var acceptJSON = []string{"application/json"}

// read reads the answer to its end, and decodes it.
func (k *call) read(end *deadline, resp *http.Response) {
	defer resp.Body.Close()
	c := k.client
	limit := c.maxBody
	if k.result != succeeded {
		limit = c.maxErrorBody
	}
	buf := bodies.get(sizeHint(resp.ContentLength, c.sizes[k.op.Op].Load(), limit))
	defer bodies.put(buf)
	err := buf.readFrom(resp.Body, limit)
	if err != nil && end.expired() {
		err = errAttemptTimeout
	}
	body := bytes.TrimPrefix(buf.b, []byte("\ufeff"))

	switch {
	case k.result != succeeded:
		// Whatever could be read of an error's body is enough.
		k.failure = parseError(k.op, k.op.Method, k.url.Path, resp, body)
		k.failure.Location, k.redirect = k.location(resp)
		if k.redirect {
			k.result = failed
		}
	case errors.Is(err, ErrTooLarge):
		k.result, k.err = unreadable, k.decodeError(body, err)
	case err != nil:
		k.result, k.err = broken, fmt.Errorf("the answer broke off: %w", err)
		k.answer.salvage(body)
	default:
		c.sizes[k.op.Op].Store(int64(len(body)))
		if err := k.answer.accept(body); err != nil {
			k.err = k.decodeError(body, err)
			k.result = unreadable
			if errors.Is(err, errIncomplete) {
				k.result = broken
			}
			k.answer.salvage(body)
		}
	}
	if r := k.options.capture; r != nil {
		*r = Response{StatusCode: resp.StatusCode, Header: maskHeader(resp.Header), RequestID: k.requestID(), Body: bytes.Clone(body)}
		if k.failure != nil {
			r.Body = k.failure.Body
		}
	}
}

func (k *call) decodeError(body []byte, err error) *DecodeError {
	e := &DecodeError{
		Op: k.op.Name, StatusCode: k.status(), RequestID: k.requestID(), Err: maskError(err),
		Body: []byte(maskKeys(string(body[:min(len(body), 512)]))),
	}
	var field *fieldError
	if errors.As(err, &field) {
		e.Field = maskKeys(field.field)
	}
	return e
}

// location returns the redacted target of a redirect, and whether it is the
// call's own path with a slash more or less. Only a safe call asks again there,
// once, and at the base URL: the target's host is never contacted.
func (k *call) location(resp *http.Response) (string, bool) {
	target := resp.Header.Get("Location")
	if target == "" || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return "", false
	}
	u, err := url.Parse(target)
	if err != nil {
		return "(an invalid URL)", false
	}
	u = k.url.ResolveReference(u)
	own, there := k.url.EscapedPath(), u.EscapedPath()
	if k.class == api.Safe && !k.turned && own != there && strings.TrimSuffix(own, "/") == strings.TrimSuffix(there, "/") {
		k.turned = true
		k.toggleSlash()
		if k.op.Op != rawOperation.Op {
			k.client.slashed[k.op.Op].Store(k.toggled)
		}
		return "", true
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return maskKeys(u.String()), false
}

// toggleSlash adds a slash to the end of the call's path, or takes it away.
func (k *call) toggleSlash() {
	k.toggled = !k.toggled
	toggle := func(path string) string {
		if trimmed, ok := strings.CutSuffix(path, "/"); ok {
			return trimmed
		}
		return path + "/"
	}
	k.url.Path = toggle(k.url.Path)
	if k.url.RawPath != "" {
		k.url.RawPath = toggle(k.url.RawPath)
	}
}

// sizeHint guesses the size of a body: what it says, or what the operation's
// last one had.
func sizeHint(declared, learned, limit int64) int {
	const least = 1 << 10
	hint := max(learned, least)
	if declared >= 0 {
		// One byte more, so that the end is seen without growing.
		hint = max(declared+1, least)
	}
	return int(min(hint, limit+1, 16<<20))
}

// buffer holds a body while it is decoded.
type buffer struct{ b []byte }

// readFrom reads r to its end, or fails with ErrTooLarge past the limit.
func (b *buffer) readFrom(r io.Reader, limit int64) error {
	for {
		if len(b.b) == cap(b.b) {
			size := min(2*int64(cap(b.b)), limit+1)
			grown := make([]byte, len(b.b), max(size, int64(len(b.b))+1))
			copy(grown, b.b)
			b.b = grown
		}
		// A buffer that was used before may be larger than the limit.
		n, err := r.Read(b.b[len(b.b):min(int64(cap(b.b)), limit+1)])
		b.b = b.b[:len(b.b)+n]
		if int64(len(b.b)) > limit {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// bufferPool keeps buffers of a moderate size.
type bufferPool struct{ pool sync.Pool }

var bodies bufferPool

const maxPooled = 1 << 20

func (p *bufferPool) get(size int) *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		if cap(b.b) >= size {
			return b
		}
		b.b = make([]byte, 0, size)
		return b
	}
	return &buffer{make([]byte, 0, size)}
}

func (p *bufferPool) put(b *buffer) {
	if cap(b.b) <= maxPooled {
		b.b = b.b[:0]
		p.pool.Put(b)
	}
}
