package connector

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/hook"
	"github.com/connic-go/connic/internal/mask"
)

const (
	// callTimeout exceeds the response time of the service by 15 s, so that a
	// response at the last moment still arrives.
	callTimeout = 5*time.Minute + 15*time.Second
	// sendTimeout allows for an upload of files, followed by an immediate
	// response.
	sendTimeout = time.Minute

	maxInFlight = 256
	maxBody     = 16 << 20
)

// A Connector calls one webhook connector. It is safe for concurrent use, has
// no goroutines, and need not be closed: idle connections are closed after 90 s,
// and when the Connector is garbage collected.
type Connector struct {
	// The secret and the URL are captured in closures, so that printing a
	// Connector cannot reveal them.
	url  func() url.URL
	mask *mask.Mask
	host string // scheme and host

	engine      exchange.Engine
	callTimeout time.Duration
	sendTimeout time.Duration
	slots       chan struct{} // semaphore of the calls in flight
	pause       pause
	telemetry   *connic.Telemetry // nil if there is none
	calls       exchange.Memory
	sends       exchange.Memory
}

// An Option configures a [Connector].
type Option func(*config) error

type config struct {
	client      *http.Client
	timeout     time.Duration
	maxInFlight int
	maxBody     int64
	observed    []connic.Option // of telemetry
	telemetry   *connic.Telemetry
}

// WithHTTPClient sends requests through the Transport of h. The Timeout of h
// applies to each attempt unless [WithTimeout] is also given. h itself is
// neither modified nor retained; its cookie jar and redirect policy are
// ignored.
func WithHTTPClient(h *http.Client) Option {
	return func(c *config) error {
		if h == nil {
			return argument("New", "WithHTTPClient", "is nil")
		}
		c.client = h
		return nil
	}
}

// WithTimeout limits each attempt, from the first byte of the request to the
// last byte of the response. The default is 5 min 15 s for [Connector.Call],
// which is 15 s more than the service takes to respond, and 1 min for
// [Connector.Send]. Waiting for a connection does not count, and the limit
// starts anew whenever more of a file is read.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return argument("New", "WithTimeout", "is not positive")
		}
		c.timeout = d
		return nil
	}
}

// WithMaxInFlight limits the number of calls in flight. The default is 256. The
// API quota does not limit them here. Further calls wait until one has ended,
// or until their context ends.
func WithMaxInFlight(n int) Option {
	return func(c *config) error {
		if n < 1 {
			return argument("New", "WithMaxInFlight", "is less than 1")
		}
		c.maxInFlight = n
		return nil
	}
}

// WithMaxResponseBytes limits the body of a response, after decompression. The
// default is 16 MiB. A larger body fails the call with an error that matches
// [connic.ErrTooLarge] and [connic.ErrOutcomeUnknown].
func WithMaxResponseBytes(n int64) Option {
	return func(c *config) error {
		if n < 1 {
			return argument("New", "WithMaxResponseBytes", "is less than 1")
		}
		c.maxBody = n
		return nil
	}
}

// WithTelemetry observes calls with the options [connic.WithObserver],
// [connic.WithLogger], [connic.WithSlowQueue] and [connic.WithCallContext], which
// can be the ones that a client was made with: the steps of a call are the same
// events. The operations are "connectors.call" and "connectors.send", and their
// route is "{connector}", because the URL may be all that is needed to call the
// connector. A call that waits for one of [WithMaxInFlight] is queued, and so is
// one that waits for the end of a pause after a 429. [connic.EventDeprecated] is
// reported once per operation and Connector. The error of the last event
// is that of the method, such as a [*connic.RunError]. Until then the call counts
// against [WithMaxInFlight], so an observer must not wait for another one. If
// WithTelemetry is given more than once, all of its options apply.
func WithTelemetry(opts ...connic.Option) Option {
	return func(c *config) (err error) {
		c.observed = append(c.observed, opts...)
		c.telemetry, err = connic.NewTelemetry(c.observed...)
		return err
	}
}

// New returns a Connector for the URL and the secret shown in the dashboard. It
// performs no I/O.
//
// The URL must use https, or http for loopback addresses, without user
// information or fragment. A query parameter named secret is removed from the
// URL and sent as a header, as the vendor recommends. If secret is empty and
// the URL contains none, calls are sent without one. A secret of fewer than 8
// characters is refused, because it could not be told from other text and
// hidden. The secret is sent only to the host of the URL: redirects are not
// followed.
func New(rawURL string, secret Secret, opts ...Option) (*Connector, error) {
	parsed, err := hook.Parse(rawURL, string(secret))
	if err != nil {
		return nil, argument("New", err.Arg, err.Reason)
	}
	u := parsed.URL
	if scheme, _, _ := strings.Cut(strings.TrimSpace(rawURL), ":"); !strings.EqualFold(scheme, u.Scheme) {
		return nil, argument("New", "URL", "is one of a WebSocket; see the module contrib/chat")
	}
	conf := config{maxInFlight: maxInFlight, maxBody: maxBody}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&conf); err != nil {
			return nil, err
		}
	}

	c := &Connector{
		url:         func() url.URL { return *u },
		host:        parsed.Host(),
		callTimeout: callTimeout, sendTimeout: sendTimeout, slots: make(chan struct{}, conf.maxInFlight),
		telemetry: conf.telemetry,
	}
	c.engine.Inject = conf.telemetry != nil
	c.engine.Policy, c.engine.UserAgent = policy, userAgent
	c.engine.MaxBody, c.engine.MaxErrorBody = conf.maxBody, min(conf.maxBody, 1<<20)
	if value := []string{parsed.Secret}; parsed.Secret != "" {
		c.engine.Key = exchange.Key{Name: hook.SecretHeader, Value: func(context.Context) ([]string, error) { return value, nil }}
	}
	var transport http.RoundTripper
	if h := conf.client; h != nil {
		transport = h.Transport
		if conf.timeout == 0 {
			conf.timeout = h.Timeout
		}
	}
	if transport == nil {
		c.engine.Transport = newTransport(conf.maxInFlight)
		transport = c.engine.Transport
	}
	c.engine.Innermost, c.engine.Target = transport, u
	c.engine.Hide(parsed.Hidden()...)
	c.mask = c.engine.Mask()
	c.engine.Start(transport)
	if conf.timeout > 0 {
		c.callTimeout, c.sendTimeout = conf.timeout, conf.timeout
	}
	return c, nil
}

// Format implements [fmt.Formatter]. A Connector prints as its scheme and host.
func (c *Connector) Format(f fmt.State, _ rune) {
	if c == nil {
		_, _ = f.Write([]byte("connector.Connector(nil)"))
		return
	}
	_, _ = f.Write([]byte("connector.Connector(" + c.host + ")"))
}

// newTransport returns the default transport of a Connector. A sync call holds
// its connection for as long as its run lasts, so there are many connections,
// and net/http would keep only two of them.
func newTransport(conns int) *http.Transport {
	t := exchange.NewTransport(10*time.Second, 0)
	t.MaxIdleConnsPerHost = conns
	return t
}

var userAgent = []string{exchange.UserAgent(connic.Version)}
