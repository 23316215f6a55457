package connic

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/route"
)

// An Option configures a Client. Options are passed to [New] and [NewFromEnv].
type Option func(*config) error

// config collects options before a Client exists.
type config struct {
	baseURL      string
	httpClient   *http.Client
	middleware   []func(http.RoundTripper) http.RoundTripper
	timeout      time.Duration
	retry        RetryPolicy
	limiter      Limiter
	environment  string
	keys         KeySource
	application  string
	observers    []Observer
	callContext  func(context.Context, Operation) context.Context
	slowQueue    time.Duration // see WithSlowQueue
	routes       routes
	readOnly     bool
	maxBody      int64
	maxErrorBody int64
}

func badOption(name, reason string) error {
	return &ArgumentError{Op: "connic.New", Arg: name, Reason: reason}
}

// WithBaseURL sets the address of the API, which is [DefaultBaseURL] by
// default. It must be an absolute https URL without user information, query or
// fragment. http is accepted for loopback addresses only.
func WithBaseURL(base string) Option {
	return func(c *config) error {
		c.baseURL = base
		return nil
	}
}

// WithHTTPClient sends requests through the Transport of h. The Timeout of h
// applies to each attempt unless [WithTimeout] is also given. h itself is
// neither modified nor retained; its cookie jar and redirect policy are
// ignored.
func WithHTTPClient(h *http.Client) Option {
	return func(c *config) error {
		if h == nil {
			return badOption("WithHTTPClient", "is nil")
		}
		c.httpClient = h
		return nil
	}
}

// WithTransport wraps the transport, for tracing, metrics or tests. The wrapper
// sees every attempt, including the key in its Authorization header; see
// [OperationFromContext]. Wrappers nest in the order of the options, the last
// one outermost.
//
// A wrapper must not send a request more than once. The client already performs
// all retries that are safe.
func WithTransport(wrap func(next http.RoundTripper) http.RoundTripper) Option {
	return func(c *config) error {
		if wrap == nil {
			return badOption("WithTransport", "is nil")
		}
		c.middleware = append(c.middleware, wrap)
		return nil
	}
}

// WithTimeout limits each attempt, from sending the request to reading the last
// byte of the response. The default is 60 s. Time spent queued for the rate
// limit, backing off between attempts, or waiting for a connection of the pool
// does not count, and the limit starts anew whenever more of a streamed body is
// read. Use the context to limit the whole call.
func WithTimeout(perAttempt time.Duration) Option {
	return func(c *config) error {
		if perAttempt <= 0 {
			return badOption("WithTimeout", "is not positive")
		}
		c.timeout = perAttempt
		return nil
	}
}

// WithRetry sets the retry policy.
func WithRetry(p RetryPolicy) Option {
	return func(c *config) error {
		if p.MaxAttempts < 0 || p.MinWait < 0 || p.MaxWait < 0 || p.MaxRetryAfter < 0 || p.MaxRefusals < 0 {
			return badOption("WithRetry", "has a negative bound")
		}
		c.retry = p
		return nil
	}
}

// WithLimiter sets the Limiter, either to share one between the Clients of a
// project or to use another implementation.
func WithLimiter(l Limiter) Option {
	return func(c *config) error {
		if l == nil {
			return badOption("WithLimiter", "is nil; see WithoutRateLimit")
		}
		c.limiter = l
		return nil
	}
}

// WithRateLimit limits the client to n requests per the given time, instead of
// the documented 60 a minute.
func WithRateLimit(n int, per time.Duration) Option {
	return func(c *config) error {
		if n <= 0 || per <= 0 {
			return badOption("WithRateLimit", "is not positive")
		}
		c.limiter = NewLimiter(n, per)
		return nil
	}
}

// WithoutRateLimit removes the client's own limit. The client still waits after
// a 429 response, and waits still poll at the pace of the documented quota of 60
// requests a minute.
func WithoutRateLimit() Option {
	return func(c *config) error {
		c.limiter = NewLimiter(0, defaultWindow)
		return nil
	}
}

// WithEnvironment sets the environment for calls that need one and do not
// specify it.
func WithEnvironment(id string) Option {
	return func(c *config) error {
		if id == "" {
			return badOption("WithEnvironment", "is empty")
		}
		c.environment = id
		return nil
	}
}

// WithKeySource obtains the API key from s for every attempt, instead of using
// a fixed key. The key argument of [New] may then be empty.
func WithKeySource(s KeySource) Option {
	return func(c *config) error {
		if f, ok := s.(KeySourceFunc); s == nil || ok && f == nil {
			return badOption("WithKeySource", "is nil")
		}
		c.keys = s
		return nil
	}
}

// WithApplication prepends the name and version of the program to the
// User-Agent header. The version may be empty.
func WithApplication(name, version string) Option {
	return func(c *config) error {
		if !isToken(name) || (version != "" && !isToken(version)) {
			return badOption("WithApplication", "is not a pair of plain words without blanks")
		}
		c.application = name
		if version != "" {
			c.application += "/" + version
		}
		return nil
	}
}

// WithLogger logs to l: attempts and completed calls at debug level, long waits
// for the rate limit at info level (see [WithSlowQueue]), and retries, pauses
// and, once per operation, announcements of its end (see [Deprecation]) at warn
// level. Keys, queries and bodies are never logged. Without this
// option nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return badOption("WithLogger", "is nil")
		}
		c.observers = append(c.observers, logObserver(l, &c.slowQueue))
		return nil
	}
}

// WithSlowQueue sets how long a call must be queued for the rate limit before
// [WithLogger] logs it at info level. The default is 10 s. The wait is logged
// when it is predicted, and again at the end of the call with its actual
// length.
func WithSlowQueue(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return badOption("WithSlowQueue", "is not positive")
		}
		c.slowQueue = d
		return nil
	}
}

// WithObserver calls o for each step of each call. Several observers are called
// in the order of the options.
func WithObserver(o Observer) Option {
	return func(c *config) error {
		if o == nil {
			return badOption("WithObserver", "is nil")
		}
		c.observers = append(c.observers, o)
		return nil
	}
}

// WithRoute changes the path of an operation whose route in this package turns
// out to be wrong, as in WithRoute("runs.list",
// "/projects/{project}/runs/search"). The path is relative to the base URL and
// must contain the placeholders of the original route. Operation names are
// listed in docs/api-coverage.md.
func WithRoute(op, path string) Option {
	return func(c *config) error {
		o, ok := api.Lookup(op)
		if !ok {
			return badOption("WithRoute", "names an unknown operation")
		}
		return c.setRoute(o, path)
	}
}

// WithReadOnly makes every operation that changes something fail with
// [ErrReadOnly].
func WithReadOnly() Option {
	return func(c *config) error {
		c.readOnly = true
		return nil
	}
}

// WithMaxResponseBytes limits the body of a successful response, after
// decompression. The default is 64 MiB. A larger body fails the call with
// [ErrTooLarge]. At most 1 MiB of an error response is read, or n if that is
// less.
func WithMaxResponseBytes(n int64) Option {
	return func(c *config) error {
		if n <= 0 {
			return badOption("WithMaxResponseBytes", "is not positive")
		}
		n = min(n, math.MaxInt64-1) // one more byte is read, to detect the end
		c.maxBody, c.maxErrorBody = n, min(n, defaultMaxErrorBody)
		return nil
	}
}

func joinObservers(observers []Observer) Observer {
	switch len(observers) {
	case 0:
		return nil
	case 1:
		return observers[0]
	}
	return func(ctx context.Context, e Event) {
		for _, o := range observers {
			o(ctx, e)
		}
	}
}

// routes maps operations to the paths set by WithRoute.
type routes map[api.Op]string

func (r routes) of(op api.Op) string {
	if moved, ok := r[op]; ok {
		return moved
	}
	return api.Table[op].Route
}

func (c *config) setRoute(o *api.Operation, path string) error {
	bad := func(reason string) error { return badOption("WithRoute", reason) }
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
		return bad("has a path that does not begin with a slash, or has a query")
	}
	own := placeholder(o.Route)
	for i, segment := range strings.Split(path, "/")[1:] {
		if segment == "" && i == strings.Count(path, "/")-1 {
			continue // a trailing slash
		}
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			if name, ok = strings.CutSuffix(name, "}"); ok && (name == "project" || name == own) {
				continue
			}
			return bad("has a placeholder that the operation does not have")
		}
		if route.Check(segment) != "" || strings.ContainsAny(segment, "{}") {
			return bad("has a segment that is empty or not plain")
		}
	}
	if own != "" && strings.Count(path, "{"+own+"}") != 1 {
		return bad("lacks the operation's placeholder {" + own + "}")
	}
	if c.routes == nil {
		c.routes = make(routes)
	}
	c.routes[o.Op] = path
	return nil
}

// placeholder returns the name of the placeholder in a route other than
// {project}, or "".
func placeholder(route string) string {
	for segment := range strings.SplitSeq(route, "/") {
		if strings.HasPrefix(segment, "{") && segment != "{project}" {
			return strings.Trim(segment, "{}")
		}
	}
	return ""
}

// RetryPolicy limits the retries of a Client. Zero fields select the defaults.
type RetryPolicy struct {
	// MaxAttempts is how often a request is sent if it fails. The default is 4;
	// 1 disables retries. Refusals with 429 are counted separately: see
	// MaxRefusals.
	MaxAttempts int
	// MinWait and MaxWait bound the exponential backoff. The defaults are 0.5 s
	// and 20 s. The wait before the nth retry is random, between 0 and MinWait
	// × 2^(n-1), but at most MaxWait.
	MinWait, MaxWait time.Duration
	// MaxRefusals is how many 429 responses a call absorbs before it returns
	// the next one as an error. The default, 0, means no limit: a call waits as
	// long as its context allows.
	MaxRefusals int
	// MaxRetryAfter is the longest Retry-After that a call waits for. The
	// default is 2 minutes. If the service asks for more, the call returns at
	// once.
	MaxRetryAfter time.Duration
	// Budget is the number of retries available to the Client. The default is
	// 10. Each retry costs one. A call that succeeds restores the retries it
	// used and adds another half, up to Budget. An outage therefore costs a
	// Client at most 10 retries in total, however many calls it affects. A
	// negative Budget means no limit.
	Budget int
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.MaxAttempts <= 0 {
		p.MaxAttempts = 4
	}
	if p.MinWait <= 0 {
		p.MinWait = 500 * time.Millisecond
	}
	if p.MaxWait <= 0 {
		p.MaxWait = 20 * time.Second
	}
	p.MaxWait = max(p.MaxWait, p.MinWait)
	if p.MaxRetryAfter <= 0 {
		p.MaxRetryAfter = 2 * time.Minute
	}
	if p.Budget == 0 {
		p.Budget = 10
	}
	return p
}

// isToken reports whether s is a valid header name.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

const (
	defaultTimeout      = 60 * time.Second
	defaultMaxBody      = 64 << 20
	defaultMaxErrorBody = 1 << 20
)
