package connic

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/environ"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/route"
)

//go:generate go run ./internal/encode/generate .
//go:generate go run ./internal/encode/generate connector Result Dispatch Delivery Sent
//go:generate go run ./internal/api/coverage
//go:generate go run ./internal/api/surface . testdata/api.golden
//go:generate go run ./internal/api/openapi

// DefaultBaseURL is the documented address of the service.
const DefaultBaseURL = "https://api.connic.co/v1"

// A Client calls the API of one Connic project. Create one with [New] or
// [NewFromEnv] and share it. A Client is safe for concurrent use. The rate
// limit is enforced per Client, or per [Limiter] if several Clients share one.
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
	DevSessions  *DevSessionsService
	Bridges      *BridgesService
	Approvals    *ApprovalsService
	Connectors   *ConnectorsService

	scope
	service service // shared by all sections
}

// New returns a Client for a project. It only validates its arguments: it sends
// no request and reads neither the environment nor any file. An invalid
// argument is reported as an [*ArgumentError].
func New(projectID string, key APIKey, opts ...Option) (*Client, error) {
	conf := config{
		slowQueue: defaultSlowQueue,
		baseURL:   DefaultBaseURL, maxBody: defaultMaxBody, maxErrorBody: defaultMaxErrorBody,
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
	if reason := route.Check(projectID); reason != "" {
		return nil, badOption("project id", reason)
	}
	base, reason := &url.URL{Scheme: "https", Host: "api.connic.co", Path: "/v1"}, ""
	if conf.baseURL != DefaultBaseURL {
		base, reason = route.ParseBase(conf.baseURL)
	}
	if reason != "" {
		return nil, badOption("base URL", reason)
	}
	made := new(struct {
		client Client
		core   core
	})
	c := &made.client
	c.environment, c.core = conf.environment, &made.core
	made.core = core{
		project: projectID, base: base,
		limiter: conf.limiter, retry: conf.retry.withDefaults(), timeout: conf.timeout,
		readOnly: conf.readOnly, routes: conf.routes, telemetry: conf.telemetry(),
	}
	if conf.keys != nil {
		c.credential = sourceCredential(conf.keys)
	} else {
		var err error
		if key, err = parseKey(key); err != nil {
			return nil, err
		}
		c.credential = staticCredential(key)
	}
	if c.limiter == nil {
		c.limiter = NewLimiter(defaultQuota, defaultWindow)
	}
	var next http.RoundTripper
	var own *http.Transport
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
		own = newTransport(c.timeout, c.limiter)
		next = own
	}
	innermost := next
	for _, wrap := range conf.middleware {
		if next = wrap(next); next == nil {
			return nil, badOption("WithTransport", "returned nil")
		}
	}
	c.engine = exchange.Engine{
		Policy: exchange.Policy(c.retry), Key: c.credential.key(), UserAgent: userAgent(conf.application),
		MaxBody: conf.maxBody, MaxErrorBody: conf.maxErrorBody, Transport: own, Inject: c.telemetry.callContext != nil,
		Innermost: innermost, Target: base,
	}
	c.engine.Start(next)
	c.serve()
	return c, nil
}

// serve sets up the services.
func (c *Client) serve() {
	c.service.of = &c.scope
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
	c.DevSessions = (*DevSessionsService)(&c.service)
	c.Bridges = (*BridgesService)(&c.service)
	c.Approvals = (*ApprovalsService)(&c.service)
	c.Connectors = (*ConnectorsService)(&c.service)
}

// ForEnvironment returns a Client that uses the environment with the given id
// for calls that need an environment and do not specify one. An empty id means
// no environment. The returned Client shares everything else with c, including
// the rate limit, the connections and the polls of waits. Closing either closes
// both.
func (c *Client) ForEnvironment(id string) *Client {
	d := &Client{scope: scope{c.core, id}}
	d.serve()
	return d
}

// NewFromEnv returns a Client configured from the sources that the vendor's own
// client reads, in this order: the variables CONNIC_API_KEY and
// CONNIC_PROJECT_ID, the file .connic in the working directory (JSON with
// api_key and project_id), and the variable CONNIC_TOKEN (project_id:api_key).
// The key and the project id may come from different sources, unless those name
// different projects. An unreadable file is treated as absent.
//
// CONNIC_API_URL sets the base URL, and CONNIC_ENVIRONMENT the id of the
// environment. Options are applied last and take precedence.
//
// NewFromEnv sends no request. Its error names what is missing and where it
// looked.
func NewFromEnv(opts ...Option) (*Client, error) {
	found := environ.Read(os.Getenv, os.ReadFile)
	if reason := lacking(&found); reason != "" {
		return nil, &ArgumentError{Op: "connic.NewFromEnv", Arg: "credentials", Reason: reason}
	}
	var own []Option
	if found.URL != "" {
		own = append(own, WithBaseURL(found.URL))
	}
	if found.Environment != "" {
		own = append(own, WithEnvironment(found.Environment))
	}
	return New(found.Project.Project, APIKey(found.Key.Key), append(own, opts...)...)
}

// lacking says what keeps a client from being made of what was found, or "".
func lacking(found *environ.Settings) string {
	var missing []string
	if found.Key.Key == "" {
		missing = append(missing, "an API key ("+environ.Key+"; see Project Settings → API Keys & MCP Auth)")
	}
	if found.Project.Project == "" {
		missing = append(missing, "a project id ("+environ.Project+"; see Project Settings → General)")
	}
	var reason string
	switch {
	case len(missing) > 0:
		reason = "lack " + strings.Join(missing, " and ") + "; looked at " + environ.Key + ", " + environ.Project + ", the file " +
			environ.File + " (JSON with api_key and project_id) and " + environ.Token + " (project_id:api_key)"
	case found.Apart:
		reason = "do not go together: the API key is from " + found.Key.Name + ", the project id is from " + found.Project.Name +
			", and the sources name different projects; set both " + environ.Key + " and " + environ.Project
	default:
		return ""
	}
	return strings.Join(append([]string{reason}, found.Broken...), "; ")
}

// Close closes the client's idle connections, unless the transport was supplied
// by the caller. Calls in progress continue; later calls fail with [ErrClosed]. To
// wait for those in progress, use [Client.Drain].
// Close always returns nil.
func (c *Client) Close() error {
	if c.core != nil && !c.closed.Swap(true) {
		c.engine.Close()
	}
	return nil
}

// RateLimit returns the state of the rate limit as known to the client's
// [Limiter]. It costs no request.
func (c *Client) RateLimit() RateLimitStatus {
	if c.core == nil {
		return RateLimitStatus{}
	}
	return c.limiter.Status()
}

// String returns a description of the client. The key appears in redacted form
// only.
func (c *Client) String() string {
	if c == nil || c.core == nil {
		return "connic.Client(not made by New)"
	}
	return fmt.Sprintf("connic.Client(project %s at %s, key %s)", c.project, c.base, c.credential.name())
}

// GoString returns the same text as String.
func (c *Client) GoString() string { return c.String() }

// Format implements [fmt.Formatter], so that no verb prints the client's
// fields.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue implements [slog.LogValuer].
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// String.
func (c *Client) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// newTransport returns the default transport of a client. It keeps every
// connection for reuse, where net/http keeps two, and opens as many as the
// Limiter admits attempts, at least 64, or 64 if it has no limit.
//
// All attempts may share one HTTP/2 connection, so a dead one must be detected
// and abandoned before an attempt times out. A connection that is silent while
// in use is pinged after a sixth of the timeout, and given up after another
// sixth.
func newTransport(timeout time.Duration, limiter Limiter) *http.Transport {
	return exchange.NewTransport(min(timeout, defaultTimeout)/6, max(limiter.Status().Limit, 64))
}
