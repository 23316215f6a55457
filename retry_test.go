package connic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// The complete retry table, written again: the outcome of a call of each class
// after each result.
func TestRetryTable(t *testing.T) {
	t.Parallel()
	const (
		again   = "again"
		stops   = "stops"
		unknown = "unknown"
	)
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	type outcome struct {
		safe, unsafe string
		first        func(*http.Request) (*http.Response, error)
	}
	status := func(code int) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return respond(code, `{"detail": "x"}`), nil }
	}
	fails := func(err error) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			traceOf(r).GetConn("host")
			traceOf(r).GotConn(httptrace.GotConnInfo{})
			return nil, err
		}
	}
	noConnection := func(err error) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			traceOf(r).GetConn("host")
			return nil, err
		}
	}
	body := func(content string, end error) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			resp := respond(200, "")
			resp.ContentLength = -1
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(content), errorReader{end}))
			return resp, nil
		}
	}
	tests := map[string]outcome{
		"dial refused": {again, again, noConnection(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})},
		"DNS":          {again, again, noConnection(&net.OpError{Op: "dial", Err: &net.DNSError{Name: "x", IsNotFound: true}})},
		"TLS":          {again, again, noConnection(tls.RecordHeaderError{Msg: "not TLS"})},
		"TLS timeout":  {again, again, noConnection(errors.New("net/http: TLS handshake timeout"))},

		"certificate":         {stops, stops, noConnection(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})},
		"host name":           {stops, stops, noConnection(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"})},
		"expired certificate": {stops, stops, noConnection(fmt.Errorf("x: %w", x509.CertificateInvalidError{}))},

		"reset":            {again, unknown, fails(reset)},
		"EOF":              {again, unknown, fails(io.EOF)},
		"unexpected EOF":   {again, unknown, fails(io.ErrUnexpectedEOF)},
		"i/o timeout":      {again, unknown, fails(os.ErrDeadlineExceeded)},
		"silent transport": {again, unknown, func(*http.Request) (*http.Response, error) { return nil, errors.New("who knows") }},
		"silent dial error": {again, unknown, func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}},

		"408": {again, unknown, status(408)}, "425": {again, unknown, status(425)}, "429": {again, again, status(429)},
		"500": {again, unknown, status(500)}, "502": {again, unknown, status(502)}, "503": {again, unknown, status(503)},
		"504": {again, unknown, status(504)}, "520": {again, unknown, status(520)}, "599": {again, unknown, status(599)},
		"501": {stops, stops, status(501)}, "400": {stops, stops, status(400)}, "401": {stops, stops, status(401)},
		"403": {stops, stops, status(403)}, "404": {stops, stops, status(404)}, "409": {stops, stops, status(409)},
		"422": {stops, stops, status(422)}, "302": {stops, stops, status(302)}, "304": {stops, stops, status(304)},

		"body reset":       {again, unknown, body(`{"id": "r`, reset)},
		"body ends early":  {again, unknown, body(`{"id": "r`, io.ErrUnexpectedEOF)},
		"truncated JSON":   {again, unknown, body(`{"id": "r`, io.EOF)},
		"empty body":       {again, unknown, body(``, io.EOF)},
		"HTML":             {again, unknown, body(`<html></html>`, io.EOF)},
		"broken gzip":      {again, unknown, body(``, errors.New("gzip: invalid header"))},
		"not JSON":         {stops, unknown, body(`hello`, io.EOF)},
		"wrong type":       {stops, unknown, body(`[]`, io.EOF)},
		"undecodable time": {stops, unknown, body(`{"id": "r1", "run_id": [], "created_at": "soon", "run_ids": "x"}`, io.EOF)},
	}
	classes := map[string]struct {
		call func(context.Context, *Client) error
		want func(outcome) string
	}{
		"safe": {func(ctx context.Context, c *Client) error { _, err := c.Runs.Get(ctx, "r1"); return err }, func(o outcome) string { return o.safe }},
		"unsafe": {func(ctx context.Context, c *Client) error {
			_, err := c.Agents.Trigger(ctx, "a", TriggerRequest{Message: "x"})
			return err
		}, func(o outcome) string { return o.unsafe }},
		"idempotent": {func(ctx context.Context, c *Client) error { return c.Do(ctx, "PUT", "/x", nil, 1, &Run{}) }, func(o outcome) string { return o.safe }},
	}
	for class, k := range classes {
		for name, test := range tests {
			t.Run(class+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					sent := 0
					c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
						if r.Body != nil {
							_, _ = io.Copy(io.Discard, r.Body)
							r.Body.Close()
						}
						if sent++; sent == 1 {
							return test.first(r)
						}
						return respond(200, `{"id": "r1", "status": "completed"}`), nil
					})
					err := k.call(t.Context(), c)
					want := k.want(test)
					got := again
					switch {
					case sent > 2:
						got = fmt.Sprintf("sent %d times", sent)
					case err != nil && sent == 1 && errors.Is(err, ErrOutcomeUnknown):
						got = unknown
					case err != nil && sent == 1:
						got = stops
					case err != nil || sent != 2:
						got = fmt.Sprintf("%v after %d requests", err, sent)
					}
					if got != want {
						t.Errorf("it %s, want %s (%v)", got, want, err)
					}
				})
			})
		}
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// traceOf never returns nil, nor a trace with nil hooks.
func traceOf(r *http.Request) *httptrace.ClientTrace {
	trace := &httptrace.ClientTrace{GetConn: func(string) {}, GotConn: func(httptrace.GotConnInfo) {}}
	if set := httptrace.ContextClientTrace(r.Context()); set != nil {
		return set
	}
	return trace
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		header string
		client []Option
		call   []RequestOption
		want   int
	}{
		"default":               {status: 503, want: 4},
		"policy":                {status: 503, client: []Option{WithRetry(RetryPolicy{MaxAttempts: 2})}, want: 2},
		"call":                  {status: 503, call: []RequestOption{WithMaxAttempts(6)}, want: 6},
		"call once":             {status: 503, call: []RequestOption{WithMaxAttempts(1)}, want: 1},
		"refused for ever":      {status: 429, header: "1", client: []Option{WithRetry(RetryPolicy{MaxRefusals: 10})}, want: 11},
		"refused, once":         {status: 429, call: []RequestOption{WithMaxAttempts(1)}, want: 1},
		"refused, no waiting":   {status: 429, call: []RequestOption{FailFast()}, want: 1},
		"refused for too long":  {status: 429, header: "121", want: 1},
		"unavailable too long":  {status: 503, header: "121", want: 1},
		"budget of two":         {status: 503, client: []Option{WithRetry(RetryPolicy{Budget: 2})}, want: 3},
		"no bound by a budget":  {status: 503, client: []Option{WithRetry(RetryPolicy{Budget: -1, MaxAttempts: 15})}, want: 15},
		"budget ends the tries": {status: 503, client: []Option{WithRetry(RetryPolicy{MaxAttempts: 15})}, want: 11},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				c := newTestClient(t, func(*http.Request) (*http.Response, error) {
					sent++
					resp := respond(test.status, `{"detail": "no"}`)
					if test.header != "" {
						resp.Header.Set("Retry-After", test.header)
					}
					return resp, nil
				}, test.client...)
				_, err := c.Runs.Get(t.Context(), "r1", test.call...)
				var e *Error
				if !errors.As(err, &e) || e.StatusCode != test.status || e.Attempts != test.want || sent != test.want {
					t.Errorf("%d requests and %v, want %d", sent, err, test.want)
				}
				if test.header == "121" && e.RetryAfter != 121*time.Second {
					t.Errorf("RetryAfter is %v", e.RetryAfter)
				}
			})
		})
	}
}

func TestRetryAfterOfFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			at = append(at, time.Now())
			if len(at) < 3 {
				resp := respond(503, "")
				resp.Header.Set("Retry-After", "30")
				return resp, nil
			}
			return respond(200, `{"id": "r1"}`), nil
		})
		if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(at); i++ {
			if wait := at[i].Sub(at[i-1]); wait < 30*time.Second || wait > 31*time.Second {
				t.Errorf("attempt %d came after %v", i+1, wait)
			}
		}
	})
}

// FuzzRetryAfter sends the fuzzed header twice, with a 429 and with a 503. No
// further attempt may start before it allows, and there must be no busy loop.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{
		"0", "5", "1.5", " 5 ", "-1", "abc", "NaN", "1e400", "9223372037", strings.Repeat("9", 40), "1795428000", "120", "121", "0.5", "1e1", "119.9999999999",
		"Mon, 23 Nov 2026 10:00:05 GMT", "Monday, 23-Nov-26 10:00:05 GMT", "Mon Nov 23 10:00:05 2026", "Sat, 01 Jan 2000 00:00:05 GMT",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, value string, limited bool) {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			c := newTestClient(t, func(*http.Request) (*http.Response, error) {
				at = append(at, time.Now())
				if len(at) > 1 {
					return respond(200, `{"id": "r1"}`), nil
				}
				status := http.StatusServiceUnavailable
				if limited {
					status = http.StatusTooManyRequests
				}
				resp := respond(status, "")
				resp.Header["Retry-After"] = []string{value}
				return resp, nil
			})
			_, err := c.Runs.Get(t.Context(), "r1")
			named, understood := namedWait(value, at[0])
			if len(at) == 1 {
				if err == nil || (understood && named <= 2*time.Minute) {
					t.Fatalf("%q: no second attempt: %v", value, err)
				}
				return
			}
			wait := at[1].Sub(at[0])
			if understood && wait < named {
				t.Fatalf("%q: the second attempt came after %v, before %v", value, wait, named)
			}
			if limited && wait < minPause {
				t.Fatalf("%q: the second attempt came after %v", value, wait)
			}
			if wait > 2*time.Minute+20*time.Second {
				t.Fatalf("%q: the second attempt came after %v", value, wait)
			}
		})
	})
}

// namedWait parses a Retry-After independently: plain seconds, and dates.
func namedWait(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

func TestR4RandomRetryAfters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// One client, 10,000 headers: the attempt after each comes no earlier
		// than its header allows.
		var notBefore time.Time
		refuse, early := false, 0
		random := newSequence(1)
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			now := time.Now()
			if now.Before(notBefore) {
				early++
			}
			if refuse = !refuse; !refuse {
				return respond(200, `{"id": "r1"}`), nil
			}
			wait := time.Duration(random(130_000)) * time.Millisecond
			resp := respond(http.StatusTooManyRequests, "")
			value := strconv.FormatFloat(wait.Seconds(), 'f', -1, 64)
			if random(3) == 0 {
				wait = wait.Truncate(time.Second)
				value = now.Add(wait).UTC().Format(http.TimeFormat)
				wait -= time.Duration(now.Nanosecond())
			}
			resp.Header.Set("Retry-After", value)
			notBefore = now.Add(wait)
			return resp, nil
		}, WithoutRateLimit())
		for range 10_000 {
			_, err := c.Runs.Get(t.Context(), "r1")
			var e *Error
			if errors.As(err, &e) && e.RetryAfter > 2*time.Minute {
				time.Sleep(e.RetryAfter) // that is left to the caller
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if early > 0 {
			t.Errorf("%d attempts started too early", early)
		}
	})
}

// newSequence returns a small reproducible random source.
func newSequence(seed uint64) func(n uint64) uint64 {
	return func(n uint64) uint64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return (seed >> 33) % n
	}
}

func TestClassesOfTheTable(t *testing.T) {
	t.Parallel()
	for i := range api.Table {
		o := &api.Table[i]
		if o.Op != api.Op(i) {
			t.Errorf("%s stands in the wrong place", o.Name)
		}
		switch {
		case o.Method == http.MethodGet && o.Class != api.Safe:
			t.Errorf("%s is a GET and not safe", o.Name)
		case o.Method == http.MethodDelete && o.Class != api.Idempotent:
			t.Errorf("%s is a DELETE and not idempotent", o.Name)
		}
	}
	for _, name := range []string{"agents.trigger", "runs.rerun", "knowledge.upload_text", "knowledge.upload_file", "judges.create", "judges.evaluate", "budgets.create", "deployments.upload", "test_runs.create"} {
		if o, ok := api.Lookup(name); !ok || o.Class != api.Unsafe {
			t.Errorf("%s must be unsafe", name)
		}
	}
}
