package connector

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/hook"
	"github.com/connic-go/connic/internal/mask"
)

const (
	// callTimeout is a quarter of a minute more than the service takes to answer, so
	// that an answer at the last moment still arrives.
	callTimeout = 5*time.Minute + 15*time.Second
	// sendTimeout is for an answer that comes at once, behind an upload of files.
	sendTimeout = time.Minute

	maxInFlight = 256
	maxBody     = 16 << 20
)

// Connector calls one webhook connector. It is safe for concurrent use, has no
// goroutine, and needs no closing.
type Connector struct {
	// The secret and the URL live in closures, so that printing a Connector cannot
	// reach them.
	request func() (*url.URL, http.Header)
	mask    *mask.Mask
	host    string // scheme and host

	transport   http.RoundTripper
	callTimeout time.Duration
	sendTimeout time.Duration
	maxBody     int64
	slots       chan struct{} // full when as many calls are in flight as may be
	pause       pause
	h2c         bool // the transport may speak HTTP/2 without TLS
}

// Option changes a [Connector].
type Option func(*config) error

type config struct {
	client      *http.Client
	timeout     time.Duration
	maxInFlight int
	maxBody     int64
}

// WithHTTPClient takes the Transport of h for the requests, and its Timeout for each
// attempt unless [WithTimeout] is given too. H itself is neither changed nor kept: its
// cookie jar and its redirect policy are not used.
func WithHTTPClient(h *http.Client) Option {
	return func(c *config) error {
		if h == nil {
			return argument("New", "WithHTTPClient", "is nil")
		}
		c.client = h
		return nil
	}
}

// WithTimeout bounds each attempt, from its first byte to the last one of its answer.
// The default is 5 min 15 s for [Connector.Call], a quarter of a minute more than the
// service takes to answer, and 1 min for [Connector.Send].
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return argument("New", "WithTimeout", "is not positive")
		}
		c.timeout = d
		return nil
	}
}

// WithMaxInFlight bounds the calls that are in flight at once: 256 by default. The
// API's quota does not bound them here. Further calls wait until one has ended, or
// their context has.
func WithMaxInFlight(n int) Option {
	return func(c *config) error {
		if n < 1 {
			return argument("New", "WithMaxInFlight", "is less than 1")
		}
		c.maxInFlight = n
		return nil
	}
}

// WithMaxResponseBytes bounds an answer, after decompression: 16 MiB by default. The
// error of a larger one matches [connic.ErrTooLarge] and [connic.ErrOutcomeUnknown].
func WithMaxResponseBytes(n int64) Option {
	return func(c *config) error {
		if n < 1 {
			return argument("New", "WithMaxResponseBytes", "is less than 1")
		}
		c.maxBody = n
		return nil
	}
}

// New makes a Connector from the URL and the secret that the dashboard shows. It does
// no I/O.
//
// The URL is https, or http for loopback addresses, and has neither user nor fragment.
// A parameter secret in it is taken out and sent as a header, as the vendor prefers.
// With an empty secret, and none in the URL, calls carry none. The secret goes nowhere
// but to the URL's host: no redirect is followed.
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

	header := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {"connic-go/" + connic.Version + " (" + runtime.Version() + "; " + runtime.GOOS + "/" + runtime.GOARCH + ")"},
	}
	if parsed.Secret != "" {
		header[hook.SecretHeader] = []string{parsed.Secret}
	}
	c := &Connector{
		request: func() (*url.URL, http.Header) {
			own := *u // a transport may change what it gets
			return &own, header.Clone()
		},
		mask: mask.New(parsed.Hidden()...), host: parsed.Host(),
		transport: shared(), callTimeout: callTimeout, sendTimeout: sendTimeout,
		maxBody: conf.maxBody, slots: make(chan struct{}, conf.maxInFlight),
	}
	if h := conf.client; h != nil {
		if h.Transport != nil {
			c.transport = h.Transport
		}
		if conf.timeout == 0 {
			conf.timeout = h.Timeout
		}
	}
	if t, ok := c.transport.(*http.Transport); ok && t.Protocols != nil {
		c.h2c = t.Protocols.UnencryptedHTTP2()
	}
	if conf.timeout > 0 {
		c.callTimeout, c.sendTimeout = conf.timeout, conf.timeout
	}
	return c, nil
}

// Format implements [fmt.Formatter]: a Connector prints as its scheme and host.
func (c *Connector) Format(f fmt.State, _ rune) {
	if c == nil {
		_, _ = f.Write([]byte("connector.Connector(nil)"))
		return
	}
	_, _ = f.Write([]byte("connector.Connector(" + c.host + ")"))
}

// shared is the transport of all Connectors that were not given one: a sync call holds
// its connection as long as its run lasts, so there are many, and net/http would keep
// two of them.
var shared = sync.OnceValue(func() http.RoundTripper {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
	}
})
