package exchange

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/inject"
)

// attempts is the transport of the retryablehttp client. It performs one attempt
// of an exchange, from its admission to the last byte of the answer. It never
// returns an error: retryablehttp would then call its hooks without a request,
// and net/http would wrap the error in one that prints the URL.
//
// It lacks CloseIdleConnections, so retryablehttp cannot close the connections
// of an http.Client supplied by the user.
type attempts struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	if x.failure != nil {
		x.last = x.failure
	}
	refusedBefore := x.again && x.result == Refused
	x.result, x.cause, x.resp, x.failure, x.err, x.redirect, x.stale, x.unexecuted = Final, CauseNone, nil, nil, nil, false, false, false
	x.attempt(t.next, r, refusedBefore)
	if x.again = x.judge(time.Now()); !x.again {
		return settled, nil
	}
	// retryablehttp waits on the context of the request, and that of this
	// attempt has ended.
	again := x.engine.template.WithContext(x)
	again.Method, again.URL = x.Method, x.loop.URL
	if x.redirect {
		again.URL = x.toggleSlash() // a transport may still look at the other
	}
	x.loop.Request = again
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: again}, nil
}

// settled is the response that retryablehttp receives for an exchange that has
// ended.
var settled = &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}

// checkRetry is the retryablehttp.CheckRetry of every Engine. The decision has
// already been made by the attempt.
func checkRetry(ctx context.Context, _ *http.Response, err error) (bool, error) {
	return err == nil && exchangeOf(ctx).again, err
}

// backoff is the retryablehttp.Backoff of every Engine. Attempts never return an
// error to retryablehttp, so resp is never nil.
func backoff(_, _ time.Duration, _ int, resp *http.Response) time.Duration {
	x := exchangeOf(resp.Request.Context())
	if _, ok := x.Caller.(Pauser); ok && x.pause(x.wait) == nil {
		return 0
	}
	return x.wait
}

// pause waits for d, or until the caller's context ends, or the caller does not want
// another attempt, which its gate then refuses.
func (x *Exchange) pause(d time.Duration) error {
	p, ok := x.Caller.(Pauser)
	if !ok {
		return Sleep(x, d)
	}
	p.Pause(d)
	return x.Err()
}

func (x *Exchange) fail(cause Cause, err error) { x.cause, x.err = cause, err }

// attempt performs one attempt. The first one uses the request r itself: nothing
// else has seen it.
func (x *Exchange) attempt(next http.RoundTripper, r *http.Request, refusedBefore bool) {
	e := x.engine
	if x.notBefore != nil && time.Until(*x.notBefore) > longPause {
		// The gate may let others ask earlier. This call waits as long as it was
		// told to.
		if err := x.pause(time.Until(*x.notBefore)); err != nil {
			x.fail(CauseContext, err)
			return
		}
	}
	// A key source may be slow or hang: do not hold a slot of the quota
	// meanwhile.
	key, err := x.key()
	if err != nil {
		x.fail(CauseKey, err)
		return
	}
	asked := time.Now()
	if err := x.Admit(x, refusedBefore); err != nil {
		x.fail(CauseContext, err)
		if refusal, ok := err.(*NotAdmitted); ok { //nolint:errorlint // made by the gate
			x.fail(CauseGate, refusal.Err)
		}
		return
	}
	x.holds = true
	defer x.abandon() // user code may panic or exit
	if err := x.Err(); err != nil {
		x.fail(CauseContext, err)
		return
	}
	if x.notBefore != nil {
		// Only a foreign gate can admit a refused attempt too early.
		if err := Sleep(x, time.Until(*x.notBefore)); err != nil {
			x.fail(CauseContext, err)
			return
		}
		x.notBefore = nil
	}
	if e.Key.Slow && time.Since(asked) > keyAge {
		key = x.renew(key)
	}
	end := &x.end
	if x.attempts > 0 {
		end = &deadline{Exchange: x} // something may still use the previous one
		r = r.WithContext(end)
	}
	end.alive()
	defer end.close()
	if x.Body != nil {
		if err := x.Body.set(r, end); err != nil {
			x.fail(CauseBody, err)
			return
		}
	} else if x.Class == api.Unsafe && e.kept.protocol.Load() == protocolHTTP2 {
		r.Body = emptyBody{} // see Body.set
	}
	r.Header = x.header(key)
	if e.Inject {
		if in, ok := x.Value(inject.Key{}).(inject.Injector); ok {
			in.Inject(r)
		}
	}
	if landed := x.Sending(); landed != nil {
		defer landed()
	}
	start := time.Now()
	x.attempts++
	x.sending = true
	resp, err := roundTrip(next, r)
	if err != nil {
		x.noAnswer(end, err)
	} else {
		x.resp, x.open = resp, true
		x.result = classify(resp.StatusCode)
	}
	x.release(x.limitEnd(resp))
	if resp != nil {
		x.read(end, resp)
	}
	x.settle()
	if x.Observed {
		x.Observe(Event{Duration: time.Since(start), Outcome: x.outcome()})
	}
}

// roundTrip enforces the contract of a RoundTripper.
func roundTrip(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	resp, err := next.RoundTrip(r)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			_ = resp.Body.Close()
		}
		return nil, err
	case resp == nil:
		return nil, errors.New("the transport returned neither a response nor an error")
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	return resp, nil
}

// release ends the admission of the attempt, once.
func (x *Exchange) release(end End, retryAfter time.Duration) {
	if x.holds {
		x.holds, x.sending = false, false
		x.Release(end, retryAfter)
	}
}

// abandon ends the admission of an attempt that did not end regularly.
func (x *Exchange) abandon() {
	if x.open {
		_ = x.resp.Body.Close()
	}
	if x.sending {
		x.release(EndAbandoned, 0)
	} else {
		x.release(EndNotSent, 0)
	}
}

// settle completes the outcome of an attempt before anyone sees it.
func (x *Exchange) settle() {
	if x.lost && x.DoneBy != nil && x.DoneBy(x.status()) {
		// By an earlier attempt, whose answer was lost.
		x.result, x.failure = Succeeded, nil
	}
	x.lost = x.lost || x.result == Broken || x.result == Failed && !x.redirect
	switch {
	case x.Memory == nil || x.FixedPath:
	case x.result == Succeeded && x.turned:
		x.Memory.Slash.Store(x.toggled)
	case x.toggled && !x.turned && x.status() == http.StatusNotFound:
		x.Memory.Slash.Store(false) // what redirected one path may not know others
	}
	x.unknown = retryTable[x.Class][x.result] == stopUnknown
}

// key obtains the key for an attempt, within the time limit of an attempt.
func (x *Exchange) key() ([]string, error) {
	k := &x.engine.Key
	if k.Value == nil {
		return nil, nil
	}
	if !k.Slow {
		return k.Value(x)
	}
	ctx, cancel := context.WithTimeoutCause(x, x.Timeout, errKeyTimeout)
	defer cancel()
	value, err := k.Value(ctx)
	if err != nil && x.Err() == nil && ctx.Err() != nil {
		return nil, errKeyTimeout
	}
	return value, err
}

// A key that waited for its turn longer than keyAge may have been replaced, and
// is asked for again. By then the attempt holds a slot of the quota, so the
// source has only renewal to answer.
const (
	keyAge  = 5 * time.Second
	renewal = time.Second
)

// renew returns the current key, or old if the source does not say in time.
func (x *Exchange) renew(old []string) []string {
	ctx, cancel := context.WithTimeout(x, renewal)
	defer cancel()
	if value, err := x.engine.Key.Value(ctx); err == nil {
		return value
	}
	return old
}

var errKeyTimeout = fmt.Errorf("no key in time: %w", ErrAttemptTimeout)

// header builds the headers of an attempt. Values common to all exchanges are
// shared.
func (x *Exchange) header(key []string) http.Header {
	h := make(http.Header, 8)
	if key != nil {
		h[x.engine.Key.Name] = key
	}
	h["Accept"] = contentJSON
	h["User-Agent"] = x.engine.UserAgent
	if x.Body != nil {
		h["Content-Type"] = x.Body.ContentType
	}
	maps.Copy(h, x.Header)
	return h
}

var contentJSON = []string{"application/json"}

// attemptTimeout is the cause of an attempt that exceeded its limit.
type attemptTimeout struct{}

// ErrAttemptTimeout is that cause.
var ErrAttemptTimeout error = attemptTimeout{}

func (attemptTimeout) Error() string {
	return "the attempt timed out"
}
func (attemptTimeout) Timeout() bool   { return true }
func (attemptTimeout) Temporary() bool { return true }
func (attemptTimeout) Is(target error) bool {
	return target == context.DeadlineExceeded
}

// errResent is the cause of an attempt that net/http was about to send again.
var errResent = errors.New("the connection was closed before the response arrived")

// errUnexecuted is the cause of an attempt that the server has not executed.
var errUnexecuted = errors.New("the server closed the connection without executing the request")

// noAnswer classifies an attempt that ended without an answer.
func (x *Exchange) noAnswer(end *deadline, err error) {
	seen := end.collected()
	panicked, ran := end.ranAway()
	if panicked != nil {
		panic(panicked) //nolint:forbidigo // where the caller can recover from it
	}
	x.unexecuted = seen.unexecuted(err)
	x.result = Broken
	if x.unexecuted || seen.unsent(end.taken.Load()) {
		x.result = Unsent
	}
	x.stale = seen.stale()
	switch {
	case ran:
		err = errRunaway
	case end.expired():
		err = ErrAttemptTimeout
	case x.unexecuted:
		err = errUnexecuted
	case seen.sentAgain():
		err = errResent
	}
	x.fail(CauseTransport, err)
	final := CertificateError(err)
	if end.stream.tooShort() {
		x.cause, final = CauseBody, true
	}
	// If the request may have been sent, the certificate is that of another connection.
	if final && (x.result == Unsent || x.Class != api.Unsafe) {
		x.result = Final
	}
}

// limitEnd returns how the attempt ended for the gate.
func (x *Exchange) limitEnd(resp *http.Response) (End, time.Duration) {
	switch {
	case x.unexecuted: // the service has seen its headers
		return EndAbandoned, 0
	case resp == nil && x.result == Unsent:
		return EndNotSent, 0
	case x.result == Refused:
		now := time.Now()
		wait := RetryAfter(resp.Header, now)
		// A foreign gate may not pause. It must not spin.
		named := now.Add(max(wait, min(x.engine.Policy.MinWait, MinPause)))
		x.notBefore = &named
		return EndRefused, wait
	case resp == nil && x.over() != nil:
		return EndAbandoned, 0
	case resp == nil || x.result == Failed:
		return EndFailed, 0
	default:
		return EndAnswered, 0
	}
}
