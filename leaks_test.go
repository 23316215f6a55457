package connic_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api/coverage/source"
	"github.com/connic-go/connic/internal/leaktest"
)

// garbled holds responses that net/http or the decoder cannot read and quotes
// in its error.
var garbled = []wireFault{
	{name: "status line", answer: says11(string(canary) + "\r\n\r\n")},
	{name: "status code", answer: says11("HTTP/1.1 " + string(canary) + " OK\r\n\r\n")},
	{name: "protocol", answer: says11(string(canary) + " 200 OK\r\n\r\n")},
	{name: "header line", answer: says11("HTTP/1.1 200 OK\r\n" + string(canary) + "\r\n\r\n")},
	{name: "header name", answer: says11("HTTP/1.1 200 OK\r\nBearer " + string(canary) + ": x\r\n\r\n")},
	{name: "Content-Length", answer: says11("HTTP/1.1 200 OK\r\nContent-Length: " + string(canary) + "\r\n\r\n")},
	{name: "Transfer-Encoding", answer: says11("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + string(canary) + "\r\n\r\n")},
	{name: "chunk", answer: says11("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + string(canary) + "\r\n\r\n")},
	{name: "trailer", answer: says11("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\n" + string(canary) + "\r\n\r\n")},
	{name: "member name", answer: status(200, "", `{"`+string(canary)+`": NaN}`)},
	{name: "gzip", answer: status(200, "Content-Encoding: gzip\r\n", zipped(`{"id": {"key": "`+string(canary)+`"`))},
	{name: "informational", answer: says11("HTTP/1.1 103 " + string(canary) + "\r\nLink: " + string(canary) + "\r\n\r\nHTTP/1.1 404 " + string(canary) + "\r\nContent-Length: 0\r\n\r\n")},
}

func says11(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

// TestS1TheKeyOnBrokenWires complements the fault matrix: every method receives
// the responses that net/http quotes, and methods with several requests meet
// every fault, over pipes and in virtual time.
func TestS1TheKeyOnBrokenWires(t *testing.T) {
	t.Parallel()
	for _, m := range methods(t) {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			faults := garbled
			if composite(m) {
				faults = slices.Concat(garbled, wireFaults)
			}
			for i := range faults {
				if raceDetector && i%32 != 0 { // it is about text
					continue
				}
				p := onBrokenWire(t, &faults[i], m)
				if len(p.String()) < 100 {
					t.Errorf("%s: it shows nothing", faults[i].name)
				}
				if where := keySearch.In(p.String()); where != "" {
					t.Errorf("%s: it shows the key: %s", faults[i].name, where)
				}
			}
		})
	}
}

func onBrokenWire(t *testing.T, fault *wireFault, m source.Method) *leaktest.Record {
	t.Helper()
	p := new(leaktest.Record)
	call := callOf(t, m)
	synctest.Test(t, func(t *testing.T) {
		served := &matrixCase{fault: fault, times: 1000}
		var wg sync.WaitGroup
		transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			if served.dials.Add(1); fault.dial != nil {
				return nil, fault.dial
			}
			near, far := net.Pipe()
			wg.Go(func() {
				defer far.Close()
				served.serve(far)
			})
			return near, nil
		}}
		c := must[*connic.Client](t)(connic.New("p", canary, append(reporting(p),
			connic.WithHTTPClient(&http.Client{Transport: transport}), connic.WithLimiter(open{}))...))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := call(ctx, c)
		p.Print(err)
		p.Reach(err, ofTheUser...)
		synctest.Wait() // a poll may be in progress whose last wait has ended
		transport.CloseIdleConnections()
		wg.Wait()
	})
	return p
}

// ofTheUser are the types of runs and similar items, whose data belongs to the user.
var ofTheUser = []reflect.Type{
	reflect.TypeFor[connic.Run](), reflect.TypeFor[connic.Job](), reflect.TypeFor[connic.Evaluation](), reflect.TypeFor[connic.Deployment](), reflect.TypeFor[connic.TestRun](),
}

// TestS1TheKeyInPrintedOptions prints the values that a program uses to make
// calls.
func TestS1TheKeyInPrintedOptions(t *testing.T) {
	t.Parallel()
	source := connic.KeySourceFunc(func(context.Context) (connic.APIKey, error) { return canary, nil })
	limiter := connic.NewLimiter(60, time.Minute)
	opts := []connic.Option{
		connic.WithKeySource(source), connic.WithLimiter(limiter), connic.WithBaseURL("https://api.connic.test"),
		connic.WithLogger(slog.New(slog.DiscardHandler)), connic.WithApplication("a", "1"), connic.WithRoute("runs.list", "/x"),
		connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
			return transportFunc(func(r *http.Request) (*http.Response, error) { return response(r, 200, `{"id": "r1"}`), nil })
		}),
	}
	for name, key := range map[string]connic.APIKey{"a key": canary, "a source": ""} {
		var p leaktest.Record
		use := opts
		if key != "" {
			use = opts[1:]
		}
		c := must[*connic.Client](t)(connic.New("p", key, use...))
		must[*connic.Run](t)(c.Runs.Get(t.Context(), "r1"))
		p.Print(opts, c, reflect.ValueOf(c).Elem().Interface()) // a copy has no method that redacts it
		for i := range reflect.TypeFor[connic.Client]().NumField() {
			if field := reflect.ValueOf(c).Elem().Field(i); field.CanInterface() {
				p.Print(field.Interface(), field.Elem().Interface())
			}
		}
		p.Print(c.RateLimit(), limiter, connic.Admission{}, must[connic.Permit](t)(limiter.Acquire(t.Context(), connic.Admission{})))
		if where := keySearch.In(p.String()); where != "" {
			t.Errorf("%s shows: %s", name, where)
		}
	}
	var p leaktest.Record
	for _, bad := range []string{" ", "\n", "\x00", "é", "\"", "\u2028"} {
		broken := connic.APIKey(string(canary[:8]) + bad + string(canary[8:]))
		_, err := connic.New("p", broken)
		p.Print(err)
		_, err = connic.New("p", canary, connic.WithBaseURL("https://me:"+string(canary)+"@x"+bad))
		p.Print(err)
		_, err = connic.New(string(broken), canary)
		p.Print(err)
	}
	if where := keySearch.In(p.String()); where != "" || len(p.String()) < 1000 {
		t.Errorf("a refusal shows the key: %s", where)
	}
}

// TestS1TheKeyInCapturedAnswers inspects the responses that a call retains for
// the caller. The body of a successful one is the user's own data and is not
// modified.
func TestS1TheKeyInCapturedAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range echoes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { captures(t, answer) })
		})
	}
}

func captures(t *testing.T, answer echo) {
	t.Helper()
	var code int
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		status, header, body, err := answer(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		code = status
		header.Add("Set-Cookie", "key="+url.QueryEscape(string(canary)))
		header.Add("X-Echo", "Bearer "+string(canary))
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, err
	})
	c := must[*connic.Client](t)(connic.New("p", canary, connic.WithTransport(func(http.RoundTripper) http.RoundTripper { return transport })))
	calls := map[string]func(...connic.RequestOption) error{
		"get":    func(o ...connic.RequestOption) error { _, err := c.Runs.Get(t.Context(), "r1", o...); return err },
		"delete": func(o ...connic.RequestOption) error { return c.Runs.Delete(t.Context(), "r1", o...) },
		"do":     func(o ...connic.RequestOption) error { return c.Do(t.Context(), "GET", "/x", nil, nil, nil, o...) },
		"trigger": func(o ...connic.RequestOption) error {
			_, err := c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"}, o...)
			return err
		},
	}
	for method, call := range calls {
		var captured connic.Response
		_ = call(connic.CaptureResponse(&captured), connic.WithMaxAttempts(1))
		if captured.StatusCode != code || len(captured.Header["X-Echo"]) != 1 {
			t.Errorf("%s: it captured %+v", method, captured)
		}
		if code == 200 {
			captured.Body = nil
		}
		var p leaktest.Record
		p.Print(captured, &captured)
		p.Reach(captured)
		if where := keySearch.In(p.String()); where != "" {
			t.Errorf("%s: it shows the key: %s", method, where)
		}
	}
}

// TestS1TheKeyInCauses inspects the causes of errors from elsewhere.
func TestS1TheKeyInCauses(t *testing.T) {
	t.Parallel()
	proxy := must[*url.URL](t)(url.Parse("http://user:" + string(canary) + "@127.0.0.1:1"))
	refused := errors.New("401 from the vault for " + string(canary))
	count := 0
	tests := map[string][]connic.Option{
		"proxy": {connic.WithHTTPClient(&http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}})},
		"no proxy": {connic.WithHTTPClient(&http.Client{Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) {
			return nil, &url.Error{Op: "parse", URL: proxy.String(), Err: refused}
		}}})},
		"a kind of proxy": {connic.WithHTTPClient(&http.Client{Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) {
			return &url.URL{Scheme: "cnc", User: proxy.User, Host: string(canary)}, nil
		}}})},
		"transport": {connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
			return transportFunc(func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("sealed: %w", refused) })
		})},
		"key source": {connic.WithKeySource(connic.KeySourceFunc(func(context.Context) (connic.APIKey, error) { return "", refused }))},
		"keys that change": {
			connic.WithKeySource(connic.KeySourceFunc(func(context.Context) (connic.APIKey, error) {
				count++
				return connic.APIKey(fmt.Sprint(string(canary[:10]), count, string(canary[10:]))), nil
			})),
			connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
				return transportFunc(func(r *http.Request) (*http.Response, error) {
					return response(r, 503, `{"detail": "no `+r.Header.Get("Authorization")+`"}`), nil
				})
			}),
		},
		"a key that is none": {connic.WithKeySource(connic.KeySourceFunc(func(context.Context) (connic.APIKey, error) { return "x" + canary, nil }))},
	}
	for name, opts := range tests {
		var p leaktest.Record
		c := must[*connic.Client](t)(connic.New("p", canary, append(reporting(&p), append(opts, quick)...)...))
		_, err := c.Runs.Get(t.Context(), "r1")
		p.Print(err)
		p.Reach(err)
		_, second := c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "x"})
		p.Print(second)
		if err == nil || second == nil {
			t.Errorf("%s: it does not fail", name)
		}
		if (name == "transport" || name == "key source" || name == "no proxy") && !errors.Is(err, refused) {
			t.Errorf("%s: the cause is lost: %v", name, err)
		}
		if where := keySearch.In(p.String()); where != "" {
			t.Errorf("%s: the key shows: %s", name, where)
		}
	}
}

// TestS1TheKeyInARequest verifies that the key is in one header of each
// request, and nowhere else in it.
func TestS1TheKeyInARequest(t *testing.T) {
	t.Parallel()
	for _, m := range methods(t) {
		var p leaktest.Record
		sent := 0
		synctest.Test(t, func(t *testing.T) {
			transport := transportFunc(func(r *http.Request) (*http.Response, error) {
				sent++
				if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+string(canary) {
					t.Errorf("%s: it sends %d keys", m, len(got))
				}
				r = r.Clone(context.WithoutCancel(r.Context()))
				r.Header.Del("Authorization")
				if err := r.Write(&p); err != nil {
					t.Error(err)
				}
				return response(r, 404, ""), nil
			})
			c := must[*connic.Client](t)(connic.New("p", canary, connic.WithEnvironment("e"), connic.WithHTTPClient(&http.Client{Transport: transport})))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // some wait for something that never happens
			defer cancel()
			_ = callOf(t, m)(ctx, c)
		})
		if where := keySearch.In(p.String()); where != "" || sent == 0 {
			t.Errorf("%s: of %d requests one has the key: %s", m, sent, where)
		}
	}
}
