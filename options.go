package connic

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// Option changes a Client that is being made.
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

// WithBaseURL sets the address of the API, in place of [DefaultBaseURL]: an
// absolute https URL without user, query and fragment. http is accepted for
// loopback addresses only.
func WithBaseURL(base string) Option {
	return func(c *config) error {
		c.baseURL = base
		return nil
	}
}

// WithHTTPClient takes the Transport of h for the requests, and its Timeout for
// each attempt unless [WithTimeout] is given too. H itself is neither changed nor
// kept: its cookie jar and its redirect policy are not used.
func WithHTTPClient(h *http.Client) Option {
	return func(c *config) error {
		if h == nil {
			return badOption("WithHTTPClient", "is nil")
		}
		c.httpClient = h
		return nil
	}
}

// WithTransport wraps the transport of the requests, for tracing, metrics or
// tests. It sees every attempt, with the key in its Authorization header; see
// [OperationFromContext]. Wrappers nest in the order of the options, the last one
// outermost.
//
// A wrapper must not send a request twice: the retries that are safe are made
// above it.
func WithTransport(wrap func(next http.RoundTripper) http.RoundTripper) Option {
	return func(c *config) error {
		if wrap == nil {
			return badOption("WithTransport", "is nil")
		}
		c.middleware = append(c.middleware, wrap)
		return nil
	}
}

// WithTimeout bounds each attempt, from the moment it is sent to the last byte of
// the answer: 60 s by default. Time in line for the rate limit and between
// attempts does not count. The context bounds the whole call.
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

// WithLimiter sets the Limiter, to share it between the Clients of one project,
// or to bring another one.
func WithLimiter(l Limiter) Option {
	return func(c *config) error {
		if l == nil {
			return badOption("WithLimiter", "is nil; see WithoutRateLimit")
		}
		c.limiter = l
		return nil
	}
}

// WithRateLimit sets the quota that the client keeps to, in place of the
// documented 60 requests a minute.
func WithRateLimit(n int, per time.Duration) Option {
	return func(c *config) error {
		if n <= 0 || per <= 0 {
			return badOption("WithRateLimit", "is not positive")
		}
		c.limiter = NewLimiter(n, per)
		return nil
	}
}

// WithoutRateLimit lifts the client's own limit. The service's 429s are waited
// out all the same.
func WithoutRateLimit() Option {
	return func(c *config) error {
		c.limiter = NewLimiter(0, defaultWindow)
		return nil
	}
}

// WithEnvironment sets the environment for calls that need one and are not given
// another.
func WithEnvironment(id string) Option {
	return func(c *config) error {
		if id == "" {
			return badOption("WithEnvironment", "is empty")
		}
		c.environment = id
		return nil
	}
}

// WithKeySource takes the API key from s for every attempt, in place of a fixed
// one. The key argument of New may then be empty.
func WithKeySource(s KeySource) Option {
	return func(c *config) error {
		if f, ok := s.(KeySourceFunc); s == nil || ok && f == nil {
			return badOption("WithKeySource", "is nil")
		}
		c.keys = s
		return nil
	}
}

// WithApplication puts the name and version of the program in front of the
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

// WithLogger logs to l: attempts and ends of calls at debug level, long times in
// line at info level (see [WithSlowQueue]), retries and pauses at warn level. Keys, queries and bodies are never logged. Without this
// option nothing is logged at all.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return badOption("WithLogger", "is nil")
		}
		c.observers = append(c.observers, logObserver(l, &c.slowQueue))
		return nil
	}
}

// WithSlowQueue sets how long a call has to stand in line for the rate limit for
// [WithLogger] to log it at info level: 10 s by default. It is logged when the wait
// is foreseen, and at the end of the call with the time that it really took.
func WithSlowQueue(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return badOption("WithSlowQueue", "is not positive")
		}
		c.slowQueue = d
		return nil
	}
}

// WithObserver tells o about each step of each call. Several observers are told
// in turn.
func WithObserver(o Observer) Option {
	return func(c *config) error {
		if o == nil {
			return badOption("WithObserver", "is nil")
		}
		c.observers = append(c.observers, o)
		return nil
	}
}

// WithRoute moves an operation to another path, where this package's table turns
// out to be wrong: WithRoute("runs.list", "/projects/{project}/runs/search"). The
// path is relative to the base URL and has the placeholders of the original.
// Operation names stand in docs/api-coverage.md.
func WithRoute(op, path string) Option {
	return func(c *config) error {
		o, ok := api.Lookup(op)
		if !ok {
			return badOption("WithRoute", "names an unknown operation")
		}
		return c.setRoute(o, path)
	}
}

// WithReadOnly refuses every operation that changes something, with
// [ErrReadOnly].
func WithReadOnly() Option {
	return func(c *config) error {
		c.readOnly = true
		return nil
	}
}

// WithMaxResponseBytes bounds the body of a successful answer, after
// decompression: 64 MiB by default. A larger one ends the call with [ErrTooLarge].
// Of an answer with an error status at most 1 MiB is read, or n if that is less.
func WithMaxResponseBytes(n int64) Option {
	return func(c *config) error {
		if n <= 0 {
			return badOption("WithMaxResponseBytes", "is not positive")
		}
		n = min(n, math.MaxInt64-1) // one byte more is read, to see the end
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

// routes holds the paths of operations that were moved.
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
		if checkSegment(segment) != "" || strings.ContainsAny(segment, "{}") {
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

// placeholder returns the name of the placeholder of a route besides {project}.
func placeholder(route string) string {
	for segment := range strings.SplitSeq(route, "/") {
		if strings.HasPrefix(segment, "{") && segment != "{project}" {
			return strings.Trim(segment, "{}")
		}
	}
	return ""
}
