package connic

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/governor"
	"github.com/connic-go/connic/internal/inject"
)

// attempts is the transport of the retryablehttp client. It performs one
// attempt of a call, from its admission to the last byte of the response. It
// never returns an error: retryablehttp would then call its hooks without a
// request, and net/http would wrap the error in one that prints the URL. The
// outcome of the attempt is stored in the call.
//
// It lacks CloseIdleConnections, so retryablehttp cannot close the connections
// of an http.Client supplied by the user.
type attempts struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	k := callOf(r.Context())
	if k.failure != nil {
		k.last = k.failure
	}
	refusedBefore := k.again && k.result == refused
	k.result, k.resp, k.failure, k.err, k.redirect, k.stale = final, nil, nil, nil, false, false
	k.attempt(t.next, r, refusedBefore)
	if k.again = k.judge(time.Now()); !k.again {
		return settled, nil
	}
	// retryablehttp waits on the context of the request, and that of this
	// attempt has ended.
	again := k.client.template.WithContext(k)
	again.Method, again.URL = k.op.Method, &k.url
	k.loop.Request = again
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: again}, nil
}

// settled is the response that retryablehttp receives for a call that has
// ended.
var settled = &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}

// attempt performs one attempt. The first one uses the request r itself:
// nothing else has seen it.
func (k *call) attempt(next http.RoundTripper, r *http.Request, refusedBefore bool) {
	c := k.client
	if k.notBefore != nil && time.Until(*k.notBefore) > governor.MaxPause {
		// The limiter may let others ask earlier. This call waits as long as it
		// was told to.
		if k.err = sleep(k, time.Until(*k.notBefore)); k.err != nil {
			return
		}
	}
	// A key source may be slow or hang: do not hold a slot of the quota
	// meanwhile.
	authorization, err := k.authorization()
	if err != nil {
		k.err = err
		return
	}
	admission := Admission{Lane: k.lane, Again: refusedBefore, NoWait: k.options.failFast, Spare: k.options.spare}
	if k.options.admitted != nil {
		admission.Follow = 1
	}
	if c.observer != nil {
		admission.Queued = func(reason Reason, wait time.Duration) {
			k.observe(Event{Kind: EventQueued, Reason: reason, Wait: wait})
		}
	}
	asked := time.Now()
	permit, err := c.limiter.Acquire(k, admission)
	k.queued += uint32(time.Since(asked).Milliseconds())
	if err != nil {
		k.err = err
		return
	}
	k.permit, k.holds = permit, true
	defer k.abandon()                  // user code may panic or exit
	if k.err = k.Err(); k.err != nil { // it ended in this very moment
		return
	}
	if k.options.admitted != nil {
		k.options.admitted()
	}
	if k.notBefore != nil {
		// Only a foreign Limiter can admit a refused attempt too early.
		if k.err = sleep(k, time.Until(*k.notBefore)); k.err != nil {
			return
		}
		k.notBefore = nil
	}
	end := &k.end
	if k.attempts > 0 {
		end = &deadline{call: k} // something may still use the previous one
		r = r.WithContext(end)
	}
	if k.body != nil {
		if k.err = k.body.set(r, end); k.err != nil {
			return
		}
	}
	r.Header = k.header(authorization)
	end.begin(k.timeout())
	defer end.end(context.Canceled)
	if c.callContext != nil {
		if in, ok := k.Value(inject.Key{}).(inject.Injector); ok {
			in.Inject(r)
		}
	}

	if sent := k.options.sent; sent != nil {
		defer sent()()
	}
	start := time.Now()
	k.attempts++
	k.sending = true
	resp, err := roundTrip(next, r)
	if err != nil {
		k.noAnswer(end, err)
	} else {
		k.resp = resp
		k.result = statusResult(resp.StatusCode)
	}
	k.release(k.limitOutcome(resp))
	if resp != nil {
		k.read(end, resp)
	}
	k.settle()
	if c.observer != nil {
		k.observe(Event{Kind: EventAttempt, Duration: time.Since(start), Err: k.failed()})
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

// release releases the permit of the attempt, once.
func (k *call) release(o Outcome) {
	if k.holds {
		k.holds, k.sending = false, false
		k.client.limiter.Release(k.permit, o)
	}
}

// abandon releases the permit of an attempt that did not end regularly.
func (k *call) abandon() {
	if k.sending {
		k.release(Outcome{Kind: OutcomeAbandoned})
	} else {
		k.release(Outcome{Kind: OutcomeNotSent})
	}
}

// settle completes the outcome of an attempt before anyone sees its error.
func (k *call) settle() {
	if k.lost && k.op.Method == http.MethodDelete && k.status() == http.StatusNotFound {
		// An earlier attempt, whose response was lost, deleted it.
		k.result, k.failure = succeeded, nil
	}
	k.lost = k.lost || k.result == broken || k.result == failed && !k.redirect
	if k.result == succeeded && k.turned && k.op.Op != rawOperation.Op {
		k.client.slashed[k.op.Op].Store(k.toggled)
	}
	k.unknown = retryTable[k.class][k.result] == stopUnknown
	if k.failure != nil {
		k.failure.Attempts, k.failure.unknown = int(k.attempts), k.unknown
	}
	if k.err == nil {
		return
	}
	var decode *DecodeError
	if errors.As(k.err, &decode) {
		decode.Attempts, decode.unknown = int(k.attempts), k.unknown
	}
}

// authorization obtains the key for an attempt, within the time limit of an
// attempt.
func (k *call) authorization() ([]string, error) {
	if !k.client.credential.slow {
		return k.client.credential.header(k)
	}
	ctx, cancel := context.WithTimeoutCause(k, k.timeout(), errKeyTimeout)
	defer cancel()
	header, err := k.client.credential.header(ctx)
	if err != nil && k.Err() == nil && ctx.Err() != nil {
		return nil, errKeyTimeout
	}
	return header, err
}

var errKeyTimeout = errors.New("the key source took longer than an attempt may (see WithTimeout)")

// timeout returns the time limit of an attempt.
func (k *call) timeout() time.Duration {
	switch {
	case k.options.timeout > 0:
		return k.options.timeout
	case k.op.Timeout > k.client.timeout:
		return k.op.Timeout
	default:
		return k.client.timeout
	}
}

// header builds the headers of an attempt. Values common to all calls are
// shared.
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

// attemptTimeout is the cause of an attempt that exceeded the limit set by
// WithTimeout.
type attemptTimeout struct{}

var errAttemptTimeout error = attemptTimeout{}

func (attemptTimeout) Error() string {
	return "the attempt timed out (see WithTimeout and WithAttemptTimeout)"
}
func (attemptTimeout) Timeout() bool   { return true }
func (attemptTimeout) Temporary() bool { return true }
func (attemptTimeout) Is(target error) bool {
	return target == context.DeadlineExceeded
}

// errResent is the cause of an attempt that net/http was about to send again.
var errResent = errors.New("the connection was closed before the response arrived")

// noAnswer classifies an attempt that ended without a response.
func (k *call) noAnswer(end *deadline, err error) {
	wire := end.watched()
	panicked, ran := end.ranAway()
	if panicked != nil {
		panic(panicked) //nolint:forbidigo // where the caller can recover from it
	}
	switch {
	case ran:
		err = errRunaway
	case end.expired():
		err = errAttemptTimeout
	case wire.sentAgain():
		err = errResent
	}
	k.err, k.stale = err, wire.stale()
	switch {
	case wire.unsent(), k.class != api.Unsafe && dialError(err):
		k.result = unsent
	default:
		k.result = broken
	}
	if certificateError(err) {
		k.result = final
	}
}

// limitOutcome returns the outcome reported to the limiter.
func (k *call) limitOutcome(resp *http.Response) Outcome {
	switch {
	case resp == nil && k.result == unsent:
		return Outcome{Kind: OutcomeNotSent}
	case k.result == refused:
		now := time.Now()
		wait := retryAfter(resp.Header, now)
		// A foreign Limiter may not pause. It must not spin.
		named := now.Add(max(wait, min(k.client.retry.MinWait, minPause)))
		k.notBefore = &named
		return Outcome{Kind: OutcomeRefused, RetryAfter: wait}
	case resp == nil && k.Err() != nil:
		return Outcome{Kind: OutcomeAbandoned}
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
