// Package exchange sends a request until there is an answer that settles it. It
// is the only place of the module that sends anything.
//
// It knows neither operations nor public errors. What a package adds to an
// exchange, it adds as a Caller; how the exchange ended, it reads from an
// Outcome.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
	"github.com/hashicorp/go-retryablehttp"
)

// A Spec describes the request of an exchange.
type Spec struct {
	Method      string
	URL         url.URL
	Class       api.Class
	KeepRaw     bool // see lenient.Decoder
	Once        bool // never sent twice, whatever the answer
	FailFast    bool // no wait after a 429
	FixedPath   bool // nothing is learned of its trailing slash
	Observed    bool // the Caller wants events
	MaxAttempts int32
	Timeout     time.Duration // of an attempt
	Header      http.Header   // in addition to those of the Engine
	Body        *Body
	// DoneBy reports whether a status says that an earlier attempt, whose answer
	// was lost, has done the work.
	DoneBy func(status int) bool
	Memory *Memory // what is known of the operation, or nil
}

// A Memory is what an Engine learns of an operation from its answers.
type Memory struct {
	Size  atomic.Int64 // of the last one
	Slash atomic.Bool  // the path needs its trailing slash added or removed
	// Deprecated is for the Caller, to report a Deprecation once.
	Deprecated atomic.Bool
}

// A Gate admits attempts.
type Gate interface {
	// Admit blocks until an attempt may be sent. Again is set if the service
	// refused it with a 429 before. The error is that of ctx, or a *NotAdmitted.
	Admit(ctx context.Context, again bool) error
	// Release is called once for each admission.
	Release(end End, retryAfter time.Duration)
}

// A Caller is what a package adds to an exchange of its own.
type Caller interface {
	context.Context // of the call, for all its attempts
	Gate
	// Decode decodes the whole body of a success.
	Decode(d *lenient.Decoder) error
	// Salvage takes what it can from a body that is truncated or cannot be decoded.
	Salvage(body []byte)
	// Sending is called when an attempt is handed to the transport. What it
	// returns, if not nil, is called at the end of the attempt.
	Sending() (landed func())
	// Received is told of every answer. The body is borrowed.
	Received(resp *http.Response, body []byte)
	// Observe is told of each step, if Spec.Observed is set.
	Observe(e Event)
}

// A Pauser is a Caller that may end the pauses between attempts, after which its gate
// admits none.
type Pauser interface {
	Pause(d time.Duration)
}

// NotAdmitted is the error of a Gate that refuses an attempt.
type NotAdmitted struct{ Err error }

func (e *NotAdmitted) Error() string { return e.Err.Error() }
func (e *NotAdmitted) Unwrap() error { return e.Err }

// An End tells a Gate how an admitted attempt ended.
type End uint8

// The ends, as in the public OutcomeKind.
const (
	EndAnswered End = iota
	EndRefused
	EndFailed
	EndNotSent
	EndAbandoned
)

// An Event is a step of an exchange.
type Event struct {
	Retry    bool          // another attempt follows; otherwise one has ended
	Wait     time.Duration // before the next attempt
	Reason   string        // why it is repeated
	Duration time.Duration // of the attempt
	Outcome  Outcome       // so far
}

// A Key provides the header that authorizes a request.
type Key struct {
	Name  string // of the header
	Value func(ctx context.Context) ([]string, error)
	Slow  bool // Value calls the user's code
}

// An Engine sends requests. It is set up once, and safe for concurrent use.
type Engine struct {
	Policy       Policy
	Key          Key
	UserAgent    []string
	MaxBody      int64
	MaxErrorBody int64
	Transport    *http.Transport   // is closed with the Engine; nil if it is the user's
	Innermost    http.RoundTripper // the transport below those of the user, and the
	Target       *url.URL          // URL that it reaches, perhaps by a proxy
	Inject       bool              // look for an inject.Injector in the context
	noH2C        bool              // the transport speaks HTTP/1.1 wherever it has no TLS; Start sets it for an *http.Transport

	budget   budget
	kept     kept
	masking  sync.Once
	masked   atomic.Pointer[mask.Mask]
	http     *retryablehttp.Client
	template *http.Request // the starting point of every request
}

// Start sets up an Engine whose fields are set.
func (e *Engine) Start(transport http.RoundTripper) {
	if t, ok := transport.(*http.Transport); ok && (t.Protocols == nil || !t.Protocols.UnencryptedHTTP2()) {
		e.noH2C = true
	}
	e.budget.init(e.Policy.Budget)
	e.template = &http.Request{Method: http.MethodGet, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	e.http = &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: attempts{transport}},
		RetryMax:   1 << 30, // decide counts the attempts
		CheckRetry: checkRetry, Backoff: backoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// Close closes the idle connections of Transport. An Engine that becomes
// unreachable without it does so too.
func (e *Engine) Close() {
	if e.Transport != nil {
		e.Transport.CloseIdleConnections()
	}
}

// Hide makes the Engine hide secrets from now on, instead of the key, and the
// password of the proxy.
func (e *Engine) Hide(secrets ...string) {
	e.masking.Do(func() {})
	e.masked.Store(mask.NewLazy(e.proxyPassword, secrets...))
}

func (e *Engine) proxyPassword() []string { return mask.ProxyPassword(e.Innermost, e.Target) }

// Mask returns the mask of all texts. The key is hidden by its value if it is
// fixed, and the password of the proxy; the mask is built on first use.
func (e *Engine) Mask() *mask.Mask {
	e.masking.Do(func() {
		key := ""
		if !e.Key.Slow && e.Key.Value != nil {
			if value, err := e.Key.Value(context.Background()); err == nil && len(value) == 1 {
				key = strings.TrimPrefix(value[0], "Bearer ")
			}
		}
		e.masked.Store(mask.NewLazy(e.proxyPassword, key))
	})
	return e.masked.Load()
}

// An Exchange is a request on its way, from its first attempt to its last. Its
// zero value with a Spec is ready to be run, once. It is a context: that of its
// requests, which lets the hooks of retryablehttp find it.
type Exchange struct {
	Caller
	Spec

	engine *Engine

	attempts int32 // requests sent
	failures int32 // failed ones
	refusals int32 // refused with 429
	taken    int32 // retries taken from the budget
	wait     time.Duration
	// notBefore is the instant given by a Retry-After, or nil.
	notBefore *time.Time

	// The outcome of the last attempt.
	resp       *http.Response // nil if there was no answer
	result     Result
	cause      Cause
	again      bool      // another attempt follows
	unknown    bool      // the request may have been executed
	redirect   bool      // repeat with a trailing slash added or removed
	toggled    bool      // the path differs from the route by a trailing slash
	turned     bool      // and does so because of a redirect
	stale      bool      // the attempt used a connection that the server had closed
	unexecuted bool      // the server has said that it did not execute the attempt
	lost       bool      // an earlier attempt may have been executed, without an answer
	holds      bool      // the exchange was admitted
	sending    bool      // the attempt is with the transport
	open       bool      // nobody has taken on to close the body of resp
	failure    *Response // an error answer
	err        error     // any other failure
	last       *Response // the last error answer of any earlier attempt

	// Storage for the first attempt, to save allocations.
	loop  retryablehttp.Request
	first http.Request
	end   deadline
}

// Run sends the request of x, and returns when it is settled.
func (e *Engine) Run(x *Exchange, caller Caller) Outcome {
	x.Caller, x.engine = caller, e
	x.end.Exchange = x
	x.first = *e.template.WithContext(&x.end)
	x.first.Method, x.first.URL = x.Method, &x.URL
	x.loop.Request = &x.first
	if x.Memory != nil && x.Memory.Slash.Load() {
		x.first.URL = x.toggleSlash()
	}
	_, err := e.http.Do(&x.loop) //nolint:bodyclose // attempts read and close their bodies
	x.settleAll(err)
	if x.cause == CauseNone && x.result == Succeeded {
		e.budget.refund(x.taken)
	}
	return x.outcome()
}

// settleAll decides the cause of the whole exchange. ended is set if it was not
// ended by an attempt.
func (x *Exchange) settleAll(ended error) {
	if ended == nil && x.result == Succeeded {
		x.cause, x.err = CauseNone, nil
		return
	}
	ctxErr := x.over()
	switch {
	case ctxErr == nil && ended != nil: // the body could not be built again
		x.cause, x.err = CauseTransport, ended
		return
	case ctxErr == nil || x.cause == CauseGate:
		return
	case ended == nil && retryTable[api.Safe][x.result] == stop && !errors.Is(x.err, ctxErr):
		return // it ended by itself
	}
	if x.Err() == nil { // it is about to, and knows the cause only then
		_ = Sleep(x, noticed)
	}
	if why := context.Cause(x.Caller); why != nil && !errors.Is(ctxErr, why) {
		ctxErr = fmt.Errorf("%w: %w", ctxErr, why)
	}
	if x.failure != nil {
		x.last = x.failure
	}
	x.cause, x.err, x.failure = CauseContext, ctxErr, nil
}

// noticed is how long a context may take to notice its own deadline.
const noticed = 10 * time.Millisecond

// over returns the error of the caller's context, also in the moment between its
// deadline and the context's own notice of it: a transport may be the first to
// see that the time is up.
func (x *Exchange) over() error {
	err := x.Err()
	if end, ok := x.Deadline(); ok && err == nil && !time.Now().Before(end) {
		err = context.DeadlineExceeded
	}
	return err
}

type exchangeKey struct{}

// Value implements [context.Context].
func (x *Exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Caller.Value(key)
}

func exchangeOf(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

// Sleep waits for d, or until the context ends.
func Sleep(ctx context.Context, d time.Duration) error {
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
