package connic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/route"
)

// A LoginPrompt tells the user how to confirm a login.
type LoginPrompt struct {
	UserCode        string // to compare with, or type into, the page
	VerificationURL string // the page; https, or http on a loopback address
	ExpiresAt       time.Time
}

const (
	// ErrLoginDenied marks a login that the user denied.
	ErrLoginDenied = sentinel("connic: the login was denied")
	// ErrLoginExpired marks a login that was not confirmed in time.
	ErrLoginExpired = sentinel("connic: the login expired")
)

// Limits for the values in the response, and defaults for those that it omits.
const (
	loginInterval    = 5 * time.Second // as in RFC 8628
	maxLoginInterval = time.Minute
	leastCode        = 8 // characters of a device code; a shorter one cannot be hidden
	loginExpiry      = 15 * time.Minute
	maxLoginExpiry   = time.Hour
	loginSlower      = 2 * time.Second // after a 429
)

type loginStart struct {
	DeviceCode      string  `json:"device_code" api:"observed"`
	UserCode        string  `json:"user_code" api:"observed"`
	VerificationURL string  `json:"verification_url" api:"observed,verification_uri"`
	ExpiresIn       float64 `json:"expires_in" api:"observed"` // seconds
	Interval        float64 `json:"interval" api:"observed"`   // seconds
}

type loginToken struct {
	ProjectID string `json:"project_id" api:"observed"`
	APIKey    string `json:"api_key" api:"observed"`
}

func seconds(n float64, assumed, most time.Duration) time.Duration {
	switch {
	case !(n > 0): // NaN too
		return assumed
	case n > most.Seconds():
		return most
	}
	return max(time.Second, time.Duration(n*float64(time.Second)))
}

// Login obtains a key for a user who confirms the login in a browser, as the
// vendor's own client does (the OAuth 2.0 device authorization grant, RFC
// 8628). It calls show once with the code and the page, and then polls the
// service until the user has decided, the code expires ([ErrLoginExpired]), or
// ctx ends. The results are suitable for [New]. An error from show ends the
// login, and so does a denial ([ErrLoginDenied]). A service that does not
// support login yet responds with [ErrNotFound].
//
// The host name of this machine is sent, for the page to display. The requests
// carry no key. The options are those of [New]; options about keys, projects
// and read-only access have no effect.
//
// It costs one request to start, and one per interval, which is 5 s unless the
// service specifies another. Network errors and 5xx responses are retried at
// the next interval.
//
// The device code, with which the key is obtained, is hidden in errors, events
// and logs from the response that names it on.
func Login(ctx context.Context, show func(LoginPrompt) error, opts ...Option) (projectID string, key APIKey, err error) {
	bad := func(arg, reason string) (string, APIKey, error) {
		return "", "", &ArgumentError{Op: "login", Arg: arg, Reason: reason}
	}
	switch {
	case ctx == nil:
		return bad("context", "is nil")
	case show == nil:
		return bad("show", "is nil")
	}
	nobody := func(context.Context) (APIKey, error) { return "", errors.New("a login has no key") }
	c, err := New("login", "", append(append([]Option{}, opts...), WithKeySource(KeySourceFunc(nobody)))...)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = c.Close() }()
	c.readOnly = false // login changes nothing in a project
	c.credential = credential{
		header: func(context.Context) ([]string, error) { return nil, nil },
		name:   func() string { return "none" },
	}
	c.engine.Key = c.credential.key()
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	decode := func(d *lenient.Decoder) (*loginStart, error) {
		start := new(loginStart)
		err := d.Decode(start)
		c.engine.Hide(start.DeviceCode) // whoever has it gets the key
		return start, err
	}
	start, err := do(ctx, &c.scope, request{op: api.LoginStart, body: map[string]string{"hostname": host}}, decode, nil)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", "", fmt.Errorf("connic: login.start: the service offers no login; use a key from Project Settings → API Keys & MCP Auth: %w", err)
	case err != nil:
		return "", "", err
	case len(start.DeviceCode) < leastCode || start.UserCode == "" || strings.ContainsFunc(start.UserCode, isControl):
		return "", "", errors.New("connic: login.start: the response has no code")
	case !pageURL(start.VerificationURL):
		// Programs open this URL in a browser.
		return "", "", errors.New("connic: login.start: the response has no https page to confirm the code")
	}
	expires := time.Now().Add(seconds(start.ExpiresIn, loginExpiry, maxLoginExpiry))
	if err := show(LoginPrompt{UserCode: start.UserCode, VerificationURL: start.VerificationURL, ExpiresAt: expires}); err != nil {
		return "", "", err
	}
	return c.awaitLogin(ctx, start.DeviceCode, seconds(start.Interval, loginInterval, maxLoginInterval), expires)
}

// awaitLogin polls for the key until it arrives or the login fails.
func (c *scope) awaitLogin(ctx context.Context, code string, interval time.Duration, expires time.Time) (string, APIKey, error) {
	asking, cancel := context.WithDeadlineCause(ctx, expires, ErrLoginExpired)
	defer cancel()
	once := []RequestOption{WithMaxAttempts(1)} // the next poll is the retry
	for {
		if err := sleep(asking, interval); err != nil {
			return "", "", loginEnded(ctx)
		}
		got, err := do(asking, c, request{op: api.LoginToken, body: map[string]string{"device_code": code}}, decodeInto[loginToken], once)
		if err == nil {
			key, bad := parseKey(APIKey(got.APIKey))
			if bad != nil || route.Check(got.ProjectID) != "" {
				return "", "", errors.New("connic: login.token: the response has no project id and key")
			}
			return got.ProjectID, key, nil
		}
		if asking.Err() != nil {
			return "", "", loginEnded(ctx)
		}
		var answer *Error
		var argument *ArgumentError
		var decode *DecodeError
		switch {
		case errors.As(err, &answer):
			state := loginState(answer)
			switch {
			case state == "authorization_pending", answer.StatusCode >= 500, answer.StatusCode == http.StatusRequestTimeout:
			case answer.StatusCode == http.StatusTooManyRequests, state == "slow_down":
				interval = min(interval+loginSlower, maxLoginInterval)
			case state == "access_denied":
				return "", "", fmt.Errorf("%w: %w", ErrLoginDenied, err)
			case state == "expired_token":
				return "", "", fmt.Errorf("%w: %w", ErrLoginExpired, err)
			default:
				return "", "", err
			}
		case errors.As(err, &argument), errors.As(err, &decode), errors.Is(err, ErrClosed), exchange.CertificateError(err):
			return "", "", err
		}
	}
}

// loginEnded returns the error of a login that ran out of time, whether by its
// context or by expiry.
func loginEnded(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("connic: login.token: %w", contextError(ctx))
	}
	return ErrLoginExpired
}

// loginState returns the OAuth error code of a response, which tells the state
// of the login.
func loginState(e *Error) string {
	var body struct {
		Error string `json:"error"`
	}
	if e.StatusCode != http.StatusBadRequest || json.Unmarshal(e.Body, &body) != nil {
		return ""
	}
	return body.Error
}

// pageURL reports whether s may be opened in a browser.
func pageURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && mask.Text(s) == s && u.User == nil && u.Hostname() != "" &&
		(u.Scheme == "https" || u.Scheme == "http" && route.Loopback(u.Hostname()))
}
