package connic

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/hashicorp/go-retryablehttp"
)

//go:generate go run ./internal/api/coverage
//go:generate go run ./internal/api/openapi

// Version is the version of this package.
const Version = "0.1.0"

// DefaultBaseURL is the service's address, as its documentation gives it.
const DefaultBaseURL = "https://api.connic.co/v1"

const (
	defaultTimeout      = 60 * time.Second
	defaultMaxBody      = 64 << 20
	defaultMaxErrorBody = 1 << 20
)

// Client calls the API of one Connic project. Make one with [New] or
// [NewFromEnv] and share it: it is safe for concurrent use, and the rate limit is
// kept within a Client (or within a [Limiter] that several Clients share).
type Client struct {
	Agents       *AgentsService
	Runs         *RunsService
	Knowledge    *KnowledgeService
	Judges       *JudgesService
	Budgets      *BudgetsService
	AuditLogs    *AuditLogsService
	Deployments  *DeploymentsService
	Project      *ProjectService
	Environments *EnvironmentsService
	TestRuns     *TestRunsService

	service service // shared by the services

	project      string
	environment  string
	base         *url.URL
	credential   credential
	http         *retryablehttp.Client
	template     *http.Request // what every request begins as
	limiter      Limiter
	retry        RetryPolicy
	budget       budget
	timeout      time.Duration
	maxBody      int64
	maxErrorBody int64
	userAgent    []string
	observer     Observer
	readOnly     bool
	routes       routes
	close        func()

	closed  atomic.Bool
	slashed [api.NumOps + 1]atomic.Bool  // by operation: the service wants the path with a slash more or less
	sizes   [api.NumOps + 1]atomic.Int64 // by operation: the size of its last answer
}

// service is what all services are: the way to their client.
type service struct{ client *Client }

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
	routes       routes
	readOnly     bool
	maxBody      int64
	maxErrorBody int64
}

// Option changes a Client that is being made.
type Option func(*config) error

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
		if p.MaxAttempts < 0 || p.MinWait < 0 || p.MaxWait < 0 || p.MaxRetryAfter < 0 {
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
		if s == nil {
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

// WithLogger logs to l: attempts and ends of calls at debug level, retries and
// pauses at warn level. Keys, queries and bodies are never logged. Without this
// option nothing is logged at all.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return badOption("WithLogger", "is nil")
		}
		c.observers = append(c.observers, logObserver(l))
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
		c.maxBody, c.maxErrorBody = n, min(n, defaultMaxErrorBody)
		return nil
	}
}

// New makes a Client for a project. It checks its arguments and does nothing
// else: it sends nothing and reads neither environment nor files. What it objects
// to is an [*ArgumentError].
func New(projectID string, key APIKey, opts ...Option) (*Client, error) {
	conf := config{
		baseURL: DefaultBaseURL, maxBody: defaultMaxBody, maxErrorBody: defaultMaxErrorBody,
	}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&conf); err != nil {
			return nil, err
		}
	}
	projectID = strings.TrimSpace(projectID)
	if reason := checkSegment(projectID); reason != "" {
		return nil, badOption("project id", reason)
	}
	base, err := parseBaseURL(conf.baseURL)
	if err != nil {
		return nil, err
	}
	c := &Client{
		project: projectID, environment: conf.environment, base: base,
		limiter: conf.limiter, retry: conf.retry.withDefaults(), timeout: conf.timeout,
		maxBody: conf.maxBody, maxErrorBody: conf.maxErrorBody,
		readOnly: conf.readOnly, routes: conf.routes, observer: joinObservers(conf.observers),
		userAgent: userAgent(conf.application),
	}
	c.budget.init(c.retry.Budget)
	if conf.keys != nil {
		c.credential = sourceCredential(conf.keys)
	} else {
		if key, err = parseKey(key); err != nil {
			return nil, err
		}
		c.credential = staticCredential(key)
	}
	if c.limiter == nil {
		c.limiter = newGovernor(defaultQuota, defaultWindow)
	}
	var next http.RoundTripper
	if h := conf.httpClient; h != nil {
		next = h.Transport
		if c.timeout == 0 {
			c.timeout = h.Timeout
		}
	}
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	if next == nil {
		own := newTransport()
		next, c.close = own, own.CloseIdleConnections
	}
	for _, wrap := range conf.middleware {
		if next = wrap(next); next == nil {
			return nil, badOption("WithTransport", "returned nil")
		}
	}
	c.template = &http.Request{
		Method: http.MethodGet, URL: base, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	c.http = &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: attempts{next}},
		RetryMax:   1 << 30, // judge counts
		CheckRetry: checkRetry, Backoff: backoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	c.service.client = c
	c.Agents = (*AgentsService)(&c.service)
	c.Runs = (*RunsService)(&c.service)
	c.Knowledge = (*KnowledgeService)(&c.service)
	c.Judges = (*JudgesService)(&c.service)
	c.Budgets = (*BudgetsService)(&c.service)
	c.AuditLogs = (*AuditLogsService)(&c.service)
	c.Deployments = (*DeploymentsService)(&c.service)
	c.Project = (*ProjectService)(&c.service)
	c.Environments = (*EnvironmentsService)(&c.service)
	c.TestRuns = (*TestRunsService)(&c.service)
	return c, nil
}

// NewFromEnv makes a Client from the environment: CONNIC_API_KEY and
// CONNIC_PROJECT_ID, or else CONNIC_TOKEN (project_id:api_key), or else the file
// .connic in the working directory (JSON with api_key and project_id), each for
// what is still missing. CONNIC_API_URL sets the base URL. Options come after
// the environment and win.
//
// It sends nothing. The error names what is missing and where it looked.
func NewFromEnv(opts ...Option) (*Client, error) {
	env, err := osEnvironment()
	if err != nil {
		return nil, err
	}
	if env.url != "" {
		opts = append([]Option{WithBaseURL(env.url)}, opts...)
	}
	return New(env.project, env.key, opts...)
}

// Close closes the idle connections of a Client that uses a transport of its own.
// Calls that come later fail with [ErrClosed]; those under way go on. It always
// returns nil.
func (c *Client) Close() error {
	if !c.closed.Swap(true) && c.close != nil {
		c.close()
	}
	return nil
}

// RateLimit describes the state of the rate limit, as far as this Client's
// [Limiter] knows it. It costs no request.
func (c *Client) RateLimit() RateLimitStatus { return c.limiter.Status() }

// String describes the client. It contains the key in its redacted form only.
func (c *Client) String() string {
	return fmt.Sprintf("connic.Client(project %s at %s, key %s)", c.project, c.base, c.credential.name())
}

// GoString is String.
func (c *Client) GoString() string { return c.String() }

// Format implements [fmt.Formatter], so that no verb prints the client's parts.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue implements [slog.LogValuer].
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler] with what String returns.
func (c *Client) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

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

var platform = "connic-go/" + Version + " (" + runtime.Version() + "; " + runtime.GOOS + "/" + runtime.GOARCH + ")"

var platformAgent = []string{platform}

func userAgent(application string) []string {
	if application == "" {
		return platformAgent
	}
	return []string{application + " " + platform}
}

// parseBaseURL checks a base URL. It returns it without a trailing slash.
func parseBaseURL(s string) (*url.URL, error) {
	if s == DefaultBaseURL {
		return &url.URL{Scheme: "https", Host: "api.connic.co", Path: "/v1"}, nil
	}
	bad := func(reason string) (*url.URL, error) { return nil, badOption("base URL", reason) }
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case err != nil:
		return bad("is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("is not an absolute https URL")
	case u.Host == "" || u.Hostname() == "":
		return bad("has no host")
	case u.User != nil:
		return bad("contains a user; the API key is the only credential")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("has a query or a fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return bad("is not https; http is accepted for loopback addresses only")
	}
	path := strings.TrimRight(u.Path, "/")
	for _, segment := range strings.Split(path, "/")[min(1, strings.Count(path, "/")):] {
		if path != "" && checkSegment(segment) != "" {
			return bad("has an empty segment, a dot segment or a control character in its path")
		}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// newTransport makes the transport of a client that was not given one. It keeps
// every connection for the next call, where net/http keeps two, and opens no more
// than 64: far more than a quota of 60 requests a minute can use.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxConnsPerHost:       64,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
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
