package connic

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/mask"
)

// A RequestOption configures a single call.
type RequestOption func(*callOptions)

// callOptions holds the combined options of a call.
type callOptions struct {
	header   http.Header
	query    url.Values
	attempts int
	failFast bool
	lane     *Lane
	spare    time.Duration // see request
	admitted func()        // see request
	// begin is called when an attempt is admitted. If it fails, nothing is sent.
	begin    func() error
	queued   func(Reason, time.Duration)
	sent     func() (landed func()) // called when an attempt is sent, and landed at its end
	received func(http.Header)      // see request
	capture  *Response
	timeout  time.Duration // of an attempt; 0 means the default
	raw      bool
	outside  bool // the path does not begin with the project
	fields   []bodyField
	bad      *ArgumentError
	hide     *mask.Mask // hides what the request contains in what the service says of it; may be nil
}

// hiding hides secrets that a request contains in the errors of the call, which
// quote the service.
func hiding(opts []RequestOption, secrets ...string) []RequestOption {
	if len(secrets) == 0 || len(secrets) == 1 && secrets[0] == "" {
		return opts
	}
	m := mask.New(secrets...)
	return append(slices.Clip(opts), func(o *callOptions) { o.hide = m })
}

// with applies the options of a call, and returns o.
func (o *callOptions) with(opts []RequestOption) *callOptions {
	for _, opt := range opts {
		if opt != nil {
			opt(o)
		}
	}
	return o
}

// withBegin sets callOptions.begin. The response is not captured: many calls have
// one.
func withBegin(begin func() error) RequestOption {
	if begin == nil {
		return nil
	}
	return func(o *callOptions) { o.begin, o.capture = begin, nil }
}

// noOptions is used for calls without options. It is never written to.
var noOptions callOptions

// once reports whether the request must not be sent twice, whatever the
// response.
func (o *callOptions) once() bool { return o.attempts == 1 }

// ownHeaders lists the headers that WithHeader rejects, because the client sets
// them or must not send them. An idempotency key is among them: net/http
// repeats a POST that carries one, and this API does not honor it.
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

// WithHeader sets a header of the call's requests. Headers that the client
// controls, and values with line breaks, are refused with an [*ArgumentError]
// before anything is sent.
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

// WithQuery adds a query parameter that this package does not support to the
// call's requests.
func WithQuery(key, value string) RequestOption {
	return func(o *callOptions) {
		if o.query == nil {
			o.query = make(url.Values)
		}
		o.query.Add(key, value)
	}
}

// bodyField is a member to add to the body of a request.
type bodyField struct {
	name   string
	member []byte // "name":value
}

// WithBodyField adds a key that this package does not know to the JSON body of
// the call's requests, as in WithBodyField("priority", "high"). The value is
// encoded when the option is made. If a name is given more than once, the last
// value is sent.
//
// The call is refused with an [*ArgumentError], before anything is sent, if the
// package itself has the key: among the parameters of the operation, or in the
// body of this call, in any letter case. It is also refused if the body is not a
// JSON object, or is a multipart form, as that of [KnowledgeService.UploadFile]
// is, and if the method is GET or DELETE, which have no body. Any other operation
// without a body sends an object with the added keys.
//
// The fake of package connictest refuses keys that it does not know, unless
// Server.Lenient is called.
func WithBodyField(name string, value any) RequestOption {
	object, err := json.Marshal(map[string]any{name: value})
	return func(o *callOptions) {
		switch {
		case name == "" || !utf8.ValidString(name):
			o.bad = &ArgumentError{Arg: "body field", Reason: "has a name that is empty or not valid UTF-8"}
		case err != nil:
			o.bad = &ArgumentError{Arg: "body field " + name, Reason: "cannot be encoded as JSON: " + err.Error()}
		default:
			o.fields = slices.DeleteFunc(o.fields, func(f bodyField) bool { return f.name == name })
			o.fields = append(o.fields, bodyField{name, object[1 : len(object)-1]})
		}
	}
}

// WithMaxAttempts limits how often the call's request is sent if it fails,
// overriding [RetryPolicy.MaxAttempts]. If n is 1, the request is sent at most
// once, whatever the response, even a 429. Values below 1 are ignored.
func WithMaxAttempts(n int) RequestOption {
	return func(o *callOptions) { o.attempts = n }
}

// WithAttemptTimeout limits each attempt of the call, overriding [WithTimeout]
// and the longer default of some operations. Values below 1 ns are ignored.
func WithAttemptTimeout(d time.Duration) RequestOption {
	return func(o *callOptions) { o.timeout = d }
}

// FailFast makes the call fail at once with [ErrRateLimited] if it would have
// to wait for the rate limit, whether in the client's own queue or after a 429.
func FailFast() RequestOption {
	return func(o *callOptions) { o.failFast = true }
}

// WithLane assigns the call to another lane of the rate limit, such as
// [LaneLow] for background work that yields to all other calls.
func WithLane(l Lane) RequestOption {
	return func(o *callOptions) {
		if l > LaneLow {
			o.bad = &ArgumentError{Arg: "lane", Reason: "is not a lane of this package"}
			return
		}
		o.lane = &l
	}
}

// Response is the last response to a call as it was received. See
// [CaptureResponse].
type Response struct {
	StatusCode int         // 0 if there was no response
	Header     http.Header // with API keys masked
	Body       []byte      // complete and unmodified if successful; otherwise as in Error.Body
	RequestID  string
	Attempts   int           // how often the request was sent
	Duration   time.Duration // of the whole call, including waits
}

// CaptureResponse stores the last response to the call in r, whether or not the
// call succeeds. Use it for headers, and for fields that this package does not
// know. It copies the body.
func CaptureResponse(r *Response) RequestOption {
	return func(o *callOptions) { o.capture = r }
}

// KeepRaw retains the JSON of every item that the call returns, for the item's
// Raw method, so that an export keeps fields that this package does not know.
// The JSON is copied, so each item takes about twice the memory.
func KeepRaw() RequestOption {
	return func(o *callOptions) { o.raw = true }
}

// WithoutProject makes [Client.Do] call a path that does not begin with the
// project: the path "/test-sessions/abc" is then used as is. All other methods
// refuse it.
func WithoutProject() RequestOption {
	return func(o *callOptions) { o.outside = true }
}
