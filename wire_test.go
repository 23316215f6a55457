package connic_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func response(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

const canary = connic.APIKey("cnc_CANARY-9f8e7d6c5b4a")

// quick keeps waits short in tests on real sockets.
var quick = connic.WithRetry(connic.RetryPolicy{MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond, MaxRefusals: 10})

func newClient(t *testing.T, base string, opts ...connic.Option) *connic.Client {
	t.Helper()
	c, err := connic.New("p", canary, append([]connic.Option{connic.WithBaseURL(base), quick, connic.WithoutRateLimit()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestS2RedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var others atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		others.Add(1)
		_, _ = io.WriteString(w, `{"id": "stolen", "run_id": "stolen"}`)
	}))
	t.Cleanup(elsewhere.Close)
	_, port, _ := net.SplitHostPort(elsewhere.Listener.Addr().String())

	var status atomic.Int64
	var target atomic.Value
	var hits atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		w.Header().Set("Location", target.Load().(string))
		w.WriteHeader(int(status.Load()))
	}))
	t.Cleanup(srv.Close)
	// Every name resolves to one of the two servers, so that names differ as on
	// the internet.
	transport := srv.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.InsecureSkipVerify = true
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := elsewhere.Listener.Addr().String()
		if addr == "api.connic.test:443" {
			to = srv.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	t.Cleanup(transport.CloseIdleConnections)
	c := newClient(t, "https://api.connic.test/v1", connic.WithHTTPClient(&http.Client{Transport: transport}))

	targets := map[string]string{
		"https://evil.test/x?token=" + string(canary):    "https://evil.test/x",
		"https://api.connic.test:8443/v1":                "https://api.connic.test:8443/v1",
		"https://sub.api.connic.test/":                   "https://sub.api.connic.test/",
		"http://api.connic.test/v1/projects/p":           "http://api.connic.test/v1/projects/p",
		"http://127.0.0.1:" + port + "/":                 "http://127.0.0.1:" + port + "/",
		"https://user:" + string(canary) + "@evil.test/": "https://evil.test/",
		"/v1/projects/p/other":                           "https://api.connic.test/v1/projects/p/other",
		"//evil.test/x":                                  "https://evil.test/x",
		"https://evil.test/" + string(canary):            "https://evil.test/cnc_…",
		"https://[::1":                                   "(an invalid URL)",
		"":                                               "",
	}
	for to, shown := range targets {
		for _, code := range []int{301, 302, 303, 307, 308} {
			status.Store(int64(code))
			target.Store(to)
			for name, call := range map[string]func() error{
				"get": func() error { _, err := c.Runs.Get(t.Context(), "r1"); return err },
				"trigger": func() error {
					_, err := c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})
					return err
				},
				"delete": func() error { return c.Runs.Delete(t.Context(), "r1") },
			} {
				hits.Store(0)
				err := call()
				var e *connic.Error
				if !errors.As(err, &e) || e.StatusCode != code || e.Location != shown || errors.Is(err, connic.ErrOutcomeUnknown) {
					t.Errorf("%s, %d to %q: %v, location %q", name, code, to, err, e.Location)
				}
				if hits.Load() != 1 || others.Load() != 0 {
					t.Fatalf("%s, %d to %q: %d requests, %d to another host", name, code, to, hits.Load(), others.Load())
				}
				if strings.Contains(fmt.Sprintf("%v %+v", err, e), string(canary)) {
					t.Errorf("the key shows in %v", err)
				}
			}
		}
	}
}

func TestS2SlashRedirectIsAskedAgainAtTheBaseURL(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.TrailingSlash()
	c := srv.Client()
	for range 2 {
		page, err := c.Environments.List(t.Context())
		if err != nil || len(page.Items) == 0 {
			t.Fatal(err)
		}
	}
	var paths []string
	for _, r := range srv.Requests() {
		paths = append(paths, fmt.Sprint(r.Status, " ", strings.TrimPrefix(r.Path, "/v1/projects/"+connictest.ProjectID)))
	}
	if got := strings.Join(paths, ", "); got != "307 /environments, 200 /environments/, 200 /environments/" {
		t.Errorf("it asked %s", got)
	}

	// A service that redirects back and forth fails the call, and an unsafe
	// call at once. The query is preserved.
	var seen []string
	both := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.RequestURI())
		to := strings.TrimSuffix(r.URL.Path, "/")
		if to == r.URL.Path {
			to += "/"
		}
		w.Header().Set("Location", "http://elsewhere.invalid"+to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	t.Cleanup(both.Close)
	c = newClient(t, both.URL)
	var e *connic.Error
	if _, err := c.Runs.List(t.Context(), &connic.RunListParams{AgentName: "a"}); !errors.As(err, &e) || e.StatusCode != 307 {
		t.Error(err)
	}
	if got := strings.Join(seen, " "); got != "/projects/p/runs?agent_name=a /projects/p/runs/?agent_name=a" {
		t.Errorf("it asked %s", got)
	}
	seen = nil
	if _, err := c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"}); !errors.As(err, &e) || len(seen) != 1 || errors.Is(err, connic.ErrOutcomeUnknown) {
		t.Errorf("%v after %s", err, seen)
	}
	seen = nil
	if err := c.Do(t.Context(), "GET", "/x", nil, nil, nil); !errors.As(err, &e) || len(seen) != 2 {
		t.Errorf("%v after %s", err, seen)
	}
}

func TestConcurrentSlashRedirects(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.TrailingSlash()
	c := srv.Client()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := c.Environments.List(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(w, `{"id": "r1"}`)
	}))
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)

	// The client's own transport does not trust the server's authority.
	c := newClient(t, srv.URL)
	for name, call := range map[string]func() error{
		"get": func() error { _, err := c.Runs.Get(t.Context(), "r1"); return err },
		"trigger": func() error {
			_, err := c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})
			return err
		},
	} {
		err := call()
		var unknown *tls.CertificateVerificationError
		var transport *connic.TransportError
		if !errors.As(err, &unknown) || !errors.As(err, &transport) || transport.Attempts != 1 || errors.Is(err, connic.ErrOutcomeUnknown) || hits.Load() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}

	// One that does is served.
	c = newClient(t, srv.URL, connic.WithHTTPClient(srv.Client()))
	if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
		t.Error(err)
	}

	// TLS 1.1 is refused.
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("served over TLS 1.1") }))
	old.Config.ErrorLog = quiet()
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	t.Cleanup(old.Close)
	c = newClient(t, old.URL)
	if _, err := c.Runs.Get(t.Context(), "r1"); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

func TestHeadersAreCheckedByNetHTTPToo(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	// The key of a KeySource is checked for each attempt, before net/http sees
	// it.
	c, err := connic.New(connictest.ProjectID, "", connic.WithBaseURL(srv.URL()),
		connic.WithKeySource(connic.KeySourceFunc(func(context.Context) (connic.APIKey, error) { return "cnc_x\r\nX-Evil: 1", nil })))
	if err != nil {
		t.Fatal(err)
	}
	var bad *connic.ArgumentError
	if _, err := c.Project.Get(t.Context()); !errors.As(err, &bad) || len(srv.Requests()) != 0 {
		t.Errorf("%v after %d requests", err, len(srv.Requests()))
	}
}

func TestTheUsersHTTPClientIsLeftAlone(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	transport := &closeCounter{Transport: &http.Transport{}}
	user := &http.Client{Transport: transport, Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		t.Error("the user's redirect policy is asked")
		return nil
	}}
	before := *user
	c := srv.Client(connic.WithHTTPClient(user), quick)
	srv.Fault(connictest.Fault{Op: "project.get", Times: 4, Status: 500})
	srv.Fault(connictest.Fault{Op: "runs.list", Times: 4, Drop: true})
	_, _ = c.Project.Get(t.Context())
	_, _ = c.Runs.List(t.Context(), nil)
	_ = c.Close()
	if transport.closed.Load() != 0 {
		t.Error("the idle connections of the user's transport were closed")
	}
	if user.Transport != before.Transport || user.Timeout != before.Timeout || user.Jar != nil || user.CheckRedirect == nil {
		t.Error("the user's client was changed")
	}
	transport.Transport.CloseIdleConnections()
}

type closeCounter struct {
	*http.Transport
	closed atomic.Int64
}

func (c *closeCounter) CloseIdleConnections() { c.closed.Add(1) }

// connections counts the connections to a server.
func connections(srv *httptest.Server) *atomic.Int64 {
	opened := new(atomic.Int64)
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	return opened
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>gateway</p>", 64<<10/14)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/error"):
			w.WriteHeader(404)
			_, _ = io.WriteString(w, page)
		default:
			_, _ = io.WriteString(w, `{"id": "r1"}`)
		}
	}))
	opened := connections(srv)
	srv.Start()
	t.Cleanup(srv.Close)
	c := newClient(t, srv.URL)
	for range 100 {
		_, _ = c.Runs.Get(t.Context(), "r1")
		if _, err := c.Runs.Get(t.Context(), "error"); !errors.Is(err, connic.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("200 calls opened %d connections", n)
	}
}

func TestDefaultPoolServesManyCallers(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"id": "r1"}`)
	}))
	opened := connections(srv)
	srv.Start()
	t.Cleanup(srv.Close)
	c := newClient(t, srv.URL)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 50 {
				if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := opened.Load(); n > 64 {
		t.Errorf("32 callers and 1600 calls opened %d connections", n)
	}
}

func TestCompressedAnswers(t *testing.T) {
	t.Parallel()
	var mode atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("no compression is asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		switch mode.Load() {
		case "bomb":
			chunk := bytes.Repeat([]byte(" "), 1<<20)
			for range 100 {
				_, _ = z.Write(chunk)
			}
		default:
			_, _ = io.WriteString(z, `{"id": "r1", "status": "completed"}`)
		}
		_ = z.Close()
		body := b.Bytes()
		if mode.Load() == "broken" {
			body = body[:len(body)/2]
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(srv.Close)
	c := newClient(t, srv.URL, connic.WithMaxResponseBytes(10<<20))
	mode.Store("fine")
	if run, err := c.Runs.Get(t.Context(), "r1"); err != nil || run.ID != "r1" {
		t.Error(err)
	}
	mode.Store("bomb")
	if _, err := c.Runs.Get(t.Context(), "r1"); !errors.Is(err, connic.ErrTooLarge) {
		t.Errorf("a bomb: %v", err)
	}
	mode.Store("broken")
	var transport *connic.TransportError
	if _, err := c.Runs.Get(t.Context(), "r1"); !errors.As(err, &transport) || transport.Attempts != 4 {
		t.Errorf("broken: %v", err)
	}
}

// raw is a listener that handles each connection with a function.
func raw(t *testing.T, serve func(n int, conn net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				serve(n, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String()
}

func TestF2GoldenAnswerCutAtEveryByte(t *testing.T) {
	t.Parallel()
	golden := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-A: b\r\nContent-Length: 36\r\n\r\n" + `{"run_id": "r1", "status": "queued"}`
	for _, chunked := range []bool{false, true} {
		answer := golden
		if chunked {
			answer = strings.Replace(golden, "Content-Length: 36\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n24\r\n", 1) + "\r\n0\r\n\r\n"
		}
		var cut atomic.Int64
		base := raw(t, func(_ int, conn net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(conn, answer[:cut.Load()])
		})
		c := newClient(t, base)
		for n := range len(answer) {
			cut.Store(int64(n))
			if run, err := c.Runs.Get(t.Context(), "r1"); err == nil {
				t.Errorf("chunked %v: cut after %d bytes, a read succeeds with %+v", chunked, n, run)
			}
			result, err := c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})
			if !errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Errorf("chunked %v: cut after %d bytes, a trigger ends with %v", chunked, n, err)
			}
			if result != nil && result.RunID != "r1" {
				t.Errorf("chunked %v: cut after %d bytes, %+v is salvaged", chunked, n, result)
			}
		}
		cut.Store(int64(len(answer)))
		if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
			t.Error(err)
		}
	}
}

// quiet is a logger for servers that are expected to fail.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// An attempt that found no connection costs nothing, even a safe one, whose
// transport is not observed.
func TestDialFailuresCostNoQuota(t *testing.T) {
	t.Parallel()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}}
	c := must[*connic.Client](t)(connic.New("p", canary, connic.WithBaseURL("http://localhost:1"), quick,
		connic.WithHTTPClient(&http.Client{Transport: transport})))
	if _, err := c.Runs.Get(t.Context(), "r1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	if used := c.RateLimit().Used; used != 0 {
		t.Errorf("%d attempts count", used)
	}
}

// A foreign Limiter may admit a refused attempt too early.
func TestRetryAfterHoldsUnderAnyLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		transport := transportFunc(func(r *http.Request) (*http.Response, error) {
			at = append(at, time.Since(start))
			answer := &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"7"}}, Body: http.NoBody, Request: r}
			if len(at) > 1 {
				answer.StatusCode, answer.Body = 200, io.NopCloser(strings.NewReader(`{"id": "r1"}`))
			}
			return answer, nil
		})
		c := must[*connic.Client](t)(connic.New("p", canary, connic.WithLimiter(open{}), connic.WithHTTPClient(&http.Client{Transport: transport})))
		if _, err := c.Runs.Get(t.Context(), "r1"); err != nil || len(at) != 2 || at[1] < 7*time.Second {
			t.Errorf("attempts at %v: %v", at, err)
		}
	})
}
