package connic

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// RequestOption changes a single call.
type RequestOption func(*callOptions)

// callOptions is what the options of a call add up to.
type callOptions struct {
	header   http.Header
	query    url.Values
	attempts int
	failFast bool
	lane     *Lane
	spare    time.Duration // see request
	admitted func()        // see request
	capture  *Response
	timeout  time.Duration // of an attempt; 0: the usual one
	raw      bool
	outside  bool // the path has no project in front
	bad      *ArgumentError
}

// noOptions are those of a call without any. Nobody writes to them.
var noOptions callOptions

// once reports whether the request must not be sent twice, whatever comes back.
func (o *callOptions) once() bool { return o.attempts == 1 }

// ownHeaders cannot be set by WithHeader: the client sets them, or must not send
// them. net/http itself repeats a POST that carries an idempotency key, which
// this API does not honour.
var ownHeaders = map[string]string{
	"Authorization":     "belongs to the API key; see WithKeySource",
	"Host":              "belongs to the base URL",
	"Content-Length":    "is computed",
	"Transfer-Encoding": "is computed",
	"Content-Type":      "belongs to the operation",
	"Accept-Encoding":   "belongs to the transport",
	"Connection":        "belongs to the transport",
	"Idempotency-Key":   "is not honoured by the service and would make net/http repeat requests",
	"X-Idempotency-Key": "is not honoured by the service and would make net/http repeat requests",
}

// WithHeader sets a header of the call's requests. Headers that the client is
// responsible for, and values with line breaks, are refused with an
// [*ArgumentError] before anything is sent.
func WithHeader(key, value string) RequestOption {
	return func(o *callOptions) {
		name := http.CanonicalHeaderKey(key)
		if reason, own := ownHeaders[name]; own {
			o.bad = &ArgumentError{Arg: "header " + name, Reason: reason}
			return
		}
		if !isToken(key) {
			o.bad = &ArgumentError{Arg: "header name", Reason: "is not a valid header name"}
			return
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			o.bad = &ArgumentError{Arg: "header " + name, Reason: "has a line break or another control character in its value"}
			return
		}
		if o.header == nil {
			o.header = make(http.Header)
		}
		o.header.Set(name, value)
	}
}

// isToken reports whether s is a header name.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// WithQuery adds a query parameter to the call's requests, for what this package
// does not know yet.
func WithQuery(key, value string) RequestOption {
	return func(o *callOptions) {
		if o.query == nil {
			o.query = make(url.Values)
		}
		o.query.Add(key, value)
	}
}

// WithMaxAttempts bounds how often the call's request is sent when it fails, in
// place of [RetryPolicy.MaxAttempts]. With 1 the request is sent at most once,
// whatever comes back, a 429 included. Less than 1 changes nothing.
func WithMaxAttempts(n int) RequestOption {
	return func(o *callOptions) { o.attempts = n }
}

// WithAttemptTimeout bounds each attempt of the call, in place of [WithTimeout]
// and of the longer time that some operations have. Less than 1 ns changes nothing.
func WithAttemptTimeout(d time.Duration) RequestOption {
	return func(o *callOptions) { o.timeout = d }
}

// FailFast makes the call fail with [ErrRateLimited] at once where it would have
// to wait for the rate limit: in the client's own line, or after a 429.
func FailFast() RequestOption {
	return func(o *callOptions) { o.failFast = true }
}

// WithLane puts the call into another lane of the rate limit: [LaneLow] for
// background work that stands back for everything else.
func WithLane(l Lane) RequestOption {
	return func(o *callOptions) {
		if l > LaneLow {
			o.bad = &ArgumentError{Arg: "lane", Reason: "is none of this package's"}
			return
		}
		o.lane = &l
	}
}

// Response is the last answer to a call as it came, for [CaptureResponse].
type Response struct {
	StatusCode int         // 0 if there was no answer
	Header     http.Header // with API keys masked
	Body       []byte      // all of a successful answer, as it came; of others what Error.Body has
	RequestID  string
	Attempts   int           // how often the request was sent
	Duration   time.Duration // the whole call, waits included
}

// CaptureResponse stores the last answer to the call in r, whether the call
// succeeds or not: for headers, and for fields that this package does not know.
// It copies the body.
func CaptureResponse(r *Response) RequestOption {
	return func(o *callOptions) { o.capture = r }
}

// KeepRaw keeps the JSON of every item that the call returns, for its Raw method:
// with it, an export loses nothing that this package does not know. It copies the
// JSON, so each item takes about twice its memory.
func KeepRaw() RequestOption {
	return func(o *callOptions) { o.raw = true }
}

// WithoutProject makes [Client.Do] call a path that does not begin with the
// project: Do with "/test-sessions/abc" then calls just that. Methods with a route
// of their own refuse it.
func WithoutProject() RequestOption {
	return func(o *callOptions) { o.outside = true }
}
