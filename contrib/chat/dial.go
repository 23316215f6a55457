package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/internal/hook"
	"github.com/connic-go/connic/internal/inject"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/problem"
)

// An Option configures a [Session].
type Option func(*config) error

type config struct {
	client            *http.Client
	interval, timeout time.Duration
	idle, approval    time.Duration
	maxMessage        int64
	observed          []connic.Option   // of telemetry
	telemetry         *connic.Telemetry // nil if there is none
}

func defaultConfig() config {
	return config{interval: pingInterval, timeout: pingTimeout, idle: idleTime, approval: approvalTime, maxMessage: maxMessage}
}

func badOption(name, reason string) error {
	return &connic.ArgumentError{Op: "chat.Dial", Arg: name, Reason: reason}
}

// WithHTTPClient uses the Transport of h for the handshake. h itself is neither
// modified nor retained.
func WithHTTPClient(h *http.Client) Option {
	return func(c *config) error {
		if h == nil {
			return badOption("WithHTTPClient", "is nil")
		}
		c.client = h
		return nil
	}
}

// WithPing sets the interval at which the connection is probed, 30 s by
// default, and how long a response may take, 10 s by default. If a ping is not
// answered in time, the session ends with [ErrLost]. Whether pings count
// against the idle time of the session is not documented.
func WithPing(interval, timeout time.Duration) Option {
	return func(c *config) error {
		if interval <= 0 || timeout <= 0 {
			return badOption("WithPing", "is not positive")
		}
		c.interval, c.timeout = interval, timeout
		return nil
	}
}

// WithIdleTimeout limits the time between two messages of a reply. The default
// is 5 min. A reply that receives none for that long ends with [ErrIdle]. While
// a run waits for an approval, [WithApprovalTimeout] applies instead.
func WithIdleTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return badOption("WithIdleTimeout", "is not positive")
		}
		c.idle = d
		return nil
	}
}

// WithApprovalTimeout limits how long a reply waits for the decision about an
// approval. The default is 7 days, the maximum of the service. It is assumed
// that a progress event whose type contains "approval" announces one, and that
// the next message of that agent ends the wait.
func WithApprovalTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return badOption("WithApprovalTimeout", "is not positive")
		}
		c.approval = d
		return nil
	}
}

// WithMaxMessageBytes limits the size of each message from the service, and of
// the text of each reply. The default is 16 MiB. A larger message ends the
// session with [ErrTooLarge]; a larger reply ends only that reply.
func WithMaxMessageBytes(n int64) Option {
	return func(c *config) error {
		if n < 1 {
			return badOption("WithMaxMessageBytes", "is less than 1")
		}
		c.maxMessage = n
		return nil
	}
}

// Dial opens a session. It returns after the first message from the service, so
// that a wrong secret, or a URL that is not that of a WebSocket connector, is
// reported here as a [*DialError]. It takes at most 10 s. The context applies
// to dialing only.
//
// The URL must use wss or https, or ws or http for loopback addresses. The
// secret is sent as a header, even if it is part of the URL, and has at least 8
// characters. Redirects are not followed.
func Dial(ctx context.Context, rawURL string, secret connector.Secret, opts ...Option) (*Session, error) {
	if ctx == nil {
		return nil, badOption("context", "is nil")
	}
	h, bad := hook.Parse(rawURL, string(secret))
	if bad != nil {
		return nil, badOption(bad.Arg, bad.Reason)
	}
	conf := defaultConfig()
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&conf); err != nil {
			return nil, err
		}
	}
	shake := newHandshake(conf.client)
	hidden := mask.NewLazy(func() []string { return mask.ProxyPassword(shake.next, h.URL) }, h.Hidden()...)
	s := &Session{conf: conf, mask: hidden, out: make(chan outgoing), done: make(chan struct{}), gone: make(chan struct{})}
	own, start, ready := conf.telemetry.Begin(ctx, dialing), time.Now(), false
	defer func() {
		if s.conn != nil && !ready { // an observer has panicked
			_ = s.conn.CloseNow()
		}
	}()
	err := s.dial(own, h, shake)
	conf.dialed(own, start, err)
	if err != nil {
		return nil, err
	}
	ready = true
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go s.read()
	go s.write()
	return s, nil
}

func (s *Session) dial(ctx context.Context, h *hook.Hook, shake *handshake) error {
	bounded, stop := context.WithTimeoutCause(ctx, dialTime, errors.New("the first message has not come within 10 s"))
	defer stop()
	fail := &DialError{Host: h.Host()}
	client := &http.Client{Transport: shake, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	header := http.Header{"User-Agent": {"connic-go/" + connic.Version}}
	if h.Secret != "" {
		header[hook.SecretHeader] = []string{h.Secret}
	}
	if in, ok := ctx.Value(inject.Key{}).(inject.Injector); ok {
		in.Inject((&http.Request{Method: http.MethodGet, URL: h.URL, Header: header}).WithContext(ctx))
	}
	bounded = context.WithValue(bounded, inject.Operation{}, dialing)
	conn, resp, err := websocket.Dial(bounded, h.URL.String(), &websocket.DialOptions{HTTPClient: client, HTTPHeader: header})
	if err != nil {
		if resp != nil {
			fail.StatusCode = resp.StatusCode
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // best effort
			detail, _ := problem.Parse(body)
			fail.Detail = s.line(detail)
			_ = resp.Body.Close()
		}
		if fail.StatusCode == 0 {
			fail.Err = s.cause(bounded, err)
		} else if fail.StatusCode == http.StatusSwitchingProtocols || fail.StatusCode < http.StatusMultipleChoices {
			fail.Err = errors.New("the response is not one to a WebSocket handshake")
		}
		return fail
	}
	conn.SetReadLimit(s.conf.maxMessage)
	for {
		_, data, err := conn.Read(bounded)
		if err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				fail.Code, fail.Detail = int(closed.Code), s.line(closed.Reason)
			} else {
				fail.Err = s.cause(bounded, err)
			}
			_ = conn.CloseNow()
			return fail
		}
		e := s.parse(data)
		if id, ok := e.text("connector_run_id", "session_id"); ok || e.kind == "connected" {
			s.conn, s.wire, s.id, s.agents = conn, shake.wire, s.mask.Line(id, maxName), s.names(&e)
			return nil
		}
		if detail, bad := e.text("error", "detail", "message"); e.kind == "error" || (bad && e.kind == "") {
			fail.Detail = s.line(detail)
			fail.Err = errors.New("the service refuses the session")
			_ = conn.CloseNow()
			return fail
		}
	}
}

// cause returns the error of the connection, or of the context if that has
// ended. The errors of the library contain the URL.
func (s *Session) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return causeOf(ctx)
	}
	var request *url.Error // its text contains the URL
	if errors.As(err, &request) {
		err = request.Err
	}
	return s.mask.Error(err)
}

// causeOf returns why a context has ended. The error also matches the error of
// the context.
func causeOf(ctx context.Context) error {
	err, why := ctx.Err(), context.Cause(ctx)
	if errors.Is(why, err) {
		return why
	}
	return fmt.Errorf("%w: %w", err, why)
}
