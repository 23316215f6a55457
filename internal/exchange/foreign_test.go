package exchange

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// executing is a server that executes each request and drops the connection.
func executing(t *testing.T) (url string, executed *atomic.Int32) {
	t.Helper()
	executed = new(atomic.Int32)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		executed.Add(1)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, executed
}

var errRefused = errors.New("refused")

// A transport of the user's may take the body by whatever methods it has.
func TestBodiesHaveNoOtherMethods(t *testing.T) {
	t.Parallel()
	url, executed := executing(t)
	fallback := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errRefused }}
	e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
		if at, ok := r.Body.(io.ReaderAt); ok {
			first, err := http.NewRequestWithContext(context.Background(), r.Method, r.URL.String(), io.NewSectionReader(at, 0, r.ContentLength))
			if err != nil {
				return nil, err
			}
			if resp, err := new(http.Transport).RoundTrip(first); err == nil {
				return resp, nil
			}
		}
		return fallback.RoundTrip(r)
	}))
	f := newCall(t.Context(), url, http.MethodPost, api.Unsafe, jsonBody(`{"a":1}`))
	if out := e.Run(&f.x, f); executed.Load() > 0 && !out.Unknown {
		t.Errorf("executed %d times, %+v", executed.Load(), out)
	}
}

// A middleware that repeats a request over one transport, where the second
// connection cannot be made, whatever headers the request has.
func TestRequestsThatAMiddlewareRepeats(t *testing.T) {
	t.Parallel()
	for _, agent := range []string{"", "mine"} {
		url, executed := executing(t)
		var dials atomic.Int32
		next := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1)%2 == 0 {
				return nil, errRefused
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
		e := newEngine(transportFunc(func(r *http.Request) (resp *http.Response, err error) {
			b, _ := io.ReadAll(r.Body)
			for range 2 {
				again := r.Clone(r.Context())
				again.Body, again.GetBody = io.NopCloser(strings.NewReader(string(b))), nil
				if resp, err = next.RoundTrip(again); err == nil {
					return resp, nil
				}
			}
			return nil, err
		}))
		f := newCall(t.Context(), url, http.MethodPost, api.Unsafe, jsonBody(`{"a":1}`))
		if agent != "" {
			f.x.Header = http.Header{"User-Agent": {agent}}
		}
		if out := e.Run(&f.x, f); executed.Load() != 1 || !out.Unknown {
			t.Errorf("%q: executed %d times, unknown %v", agent, executed.Load(), out.Unknown)
		}
	}
}

type closing struct {
	io.Reader
	close func()
}

func (c closing) Close() error {
	c.close()
	return nil
}

// The URL of a request stays what it was, also while its redirect is followed.
func TestURLsOfRequestsDoNotChange(t *testing.T) {
	t.Parallel()
	var seen []string
	e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
		resp := answer(200, "{}")
		path := r.URL.Path
		if !strings.HasSuffix(path, "/") {
			resp = answer(307, "", "Location", path+"/")
		}
		resp.Body = closing{resp.Body, func() { seen = append(seen, path+" "+r.URL.Path) }}
		return resp, nil
	}))
	f := newCall(t.Context(), "https://x.example/a", http.MethodGet, api.Safe, nil)
	if out := e.Run(&f.x, f); out.Result != Succeeded || len(seen) != 2 || seen[0] != "/a /a" || seen[1] != "/a/ /a/" {
		t.Errorf("%+v, %q", out, seen)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A response body that breaks the contract of a reader is an error, not a panic.
func TestResponsesThatMiscount(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]func(p []byte) int{"negative": func([]byte) int { return -1 }, "more": func(p []byte) int { return len(p) + 1 }} {
		e := newEngine(transportFunc(func(*http.Request) (*http.Response, error) {
			resp := answer(200, "{}")
			resp.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) { return n(p), nil }))
			return resp, nil
		}))
		f := newCall(t.Context(), "https://x.example/a", http.MethodGet, api.Unsafe, nil)
		if out := e.Run(&f.x, f); out.Err == nil || !out.Unknown {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

// A call ends with its context although a reader's Close hangs.
func TestClosesThatHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
			_, err := io.Copy(io.Discard, r.Body)
			return answer(200, "{}"), err
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		f := newCall(ctx, "https://x.example/a", http.MethodPost, api.Idempotent, streamed(func() (io.Reader, error) {
			return closing{strings.NewReader("hello"), func() { <-hang }}, nil
		}))
		e.Run(&f.x, f)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// A reader that panics after the response has begun panics in the caller.
func TestPanicsAfterAnEarlyAnswer(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		_, _ = io.WriteString(w, "{")
		_ = c.Flush()
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "}")
	}))
	defer srv.Close()
	answered := make(chan struct{})
	next := NewTransport(10*time.Second, 0)
	defer next.CloseIdleConnections()
	e := newEngine(transportFunc(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		close(answered)
		return resp, err
	}))
	first := true
	f := newCall(t.Context(), srv.URL, http.MethodPost, api.Unsafe, streamed(func() (io.Reader, error) {
		return readerFunc(func(p []byte) (int, error) {
			if first {
				first = false
				return copy(p, "hello"), nil
			}
			<-answered
			panic("mine")
		}), nil
	}))
	defer func() {
		if got := recover(); got != "mine" {
			t.Errorf("it panics with %v", got)
		}
	}()
	out := e.Run(&f.x, f)
	t.Errorf("no panic, but %+v", out)
}
