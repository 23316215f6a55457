package connector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// virtualServer is an HTTP server in virtual time, which is dialed through pipes. It
// serves the connector and tokens; no other host can be dialed.
type virtualServer struct {
	conns   chan net.Conn
	done    chan struct{}
	refuses atomic.Bool  // no connection can be made while it is set
	arrived atomic.Int32 // requests to the connector
	handler http.Handler // instead of n
	serve   func(w http.ResponseWriter, whole bool)
}

const (
	virtualURL = "http://127.0.0.1:1"
	elsewhere  = "http://127.0.0.1:2/audit"
)

func (n *virtualServer) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *virtualServer) Close() error   { close(n.done); return nil }
func (n *virtualServer) Addr() net.Addr { return &net.TCPAddr{} }

func (n *virtualServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hook := r.URL.Path == hookPath
	if hook {
		n.arrived.Add(1)
	}
	_, err := io.Copy(io.Discard, r.Body)
	if !hook {
		_, _ = io.WriteString(w, "token")
		return
	}
	n.serve(w, err == nil)
}

// start starts the server, and returns a transport that reaches it by one
// version of HTTP.
func (n *virtualServer) start(t *testing.T, version int) *http.Transport {
	t.Helper()
	n.conns, n.done = make(chan net.Conn), make(chan struct{})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(version == 1)
	protocols.SetUnencryptedHTTP2(version == 2)
	if n.handler == nil {
		n.handler = n
	}
	server := &http.Server{Handler: n.handler, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		if n.refuses.Load() || ctx.Value(down{}) != nil || !strings.HasSuffix(virtualURL, address) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		near, far := net.Pipe()
		select {
		case n.conns <- far:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	go func() { _ = server.Serve(n) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		synctest.Wait()
	})
	return transport
}

// down is the context key of requests for which no connection can be made.
type down struct{}

// ask sends a request of a transport's own, with the context of another one.
func ask(base http.RoundTripper, r *http.Request, url string) error {
	own, err := http.NewRequestWithContext(r.Context(), http.MethodPost, url, strings.NewReader("x"))
	if err != nil {
		return err
	}
	resp, err := base.RoundTrip(own)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// then returns an answer, unless err is set.
func then(resp *http.Response, err error) (*http.Response, error) {
	if err != nil && resp != nil {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("own request: %w", err)
	}
	return resp, err
}

// foreign are transports that make requests of their own with the context of
// the request, as tracing, auditing and token transports do.
var foreign = map[string]func(base http.RoundTripper, r *http.Request) (*http.Response, error){
	"none": http.RoundTripper.RoundTrip,
	"before": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		if err := ask(base, r, virtualURL+"/token"); err != nil {
			return nil, err
		}
		return base.RoundTrip(r)
	},
	"before, cannot be dialed": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		_ = ask(base, r, elsewhere)
		return base.RoundTrip(r)
	},
	"after": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		return then(resp, ask(base, r, virtualURL+"/audit"))
	},
	"after, cannot be dialed": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		return then(resp, ask(base, r, elsewhere))
	},
	"after a failure, cannot be dialed": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err != nil {
			return nil, ask(base, r, elsewhere)
		}
		return resp, nil
	},
	"after a failure, the same host cannot be dialed": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err != nil {
			return nil, errors.Join(err, ask(base, r.WithContext(context.WithValue(r.Context(), down{}, true)), virtualURL+"/audit"))
		}
		return resp, nil
	},
	"token after a 401": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || r.GetBody == nil {
			return resp, err
		}
		if _, err := then(resp, ask(base, r, virtualURL+"/token")); err != nil {
			return nil, err
		}
		_ = resp.Body.Close()
		again := r.Clone(r.Context())
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
		return base.RoundTrip(again)
	},
	"token after a 401, cannot be dialed": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
		return then(resp, ask(base, r, elsewhere))
	},
	"instead, cannot be dialed": func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		return nil, ask(base, r, elsewhere)
	},
}

// remoteFaults are what the server does with a request that has arrived.
var remoteFaults = map[string]func(w http.ResponseWriter){
	"none":     nil,
	"no route": nil, // no connection can be made
	"401":      func(w http.ResponseWriter) { w.WriteHeader(401) },
	"429":      func(w http.ResponseWriter) { w.WriteHeader(429) },
	"500":      func(w http.ResponseWriter) { w.WriteHeader(500) },
	"no answer": func(http.ResponseWriter) {
		panic(http.ErrAbortHandler)
	},
	"half an answer": func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, syncAnswer[:40])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	},
	"another answer": func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"status": "ok"}`) },
}

// recorder is the transport that an engine is given. It records what each
// request came to.
type recorder struct {
	server *virtualServer
	next   func(*http.Request) (*http.Response, error)

	attempts int
	repeated bool // although it may have been executed
	maybe    bool // the last one may have been executed
}

func (w *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	w.attempts++
	w.repeated = w.repeated || w.maybe
	before := w.server.arrived.Load()
	resp, err := w.next(r)
	arrived := w.server.arrived.Load() > before
	w.maybe = arrived && (err != nil || resp.StatusCode < 400 || resp.StatusCode >= 500)
	return resp, err
}

// TestF6TransportsWithRequestsOfTheirOwn: whatever a transport does before,
// after or instead of a request, it is executed at most once, not repeated once
// it may have been, and the error says so exactly if that is so.
func TestF6TransportsWithRequestsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, version := range httpVersions {
		for transport, roundTrip := range foreign {
			for fault, behave := range remoteFaults {
				for name, operation := range operations {
					for _, times := range []int{1, -1} {
						t.Run(fmt.Sprintf("HTTP%d/%s/%s/%s/%d", version, transport, fault, name, times), func(t *testing.T) {
							t.Parallel()
							synctest.Test(t, func(t *testing.T) {
								var mu sync.Mutex
								executed, left := 0, times
								n := new(virtualServer)
								n.refuses.Store(fault == "no route")
								n.serve = func(w http.ResponseWriter, whole bool) {
									mu.Lock()
									spoil := behave != nil && left != 0
									left--
									if whole && (!spoil || fault != "401" && fault != "429") {
										executed++
									}
									mu.Unlock()
									if spoil {
										behave(w)
										return
									}
									_, _ = io.WriteString(w, syncAnswer)
								}
								base := n.start(t, version)
								w := &recorder{server: n, next: func(r *http.Request) (*http.Response, error) { return roundTrip(base, r) }}
								if n.refuses.Load() && times > 0 {
									time.AfterFunc(time.Nanosecond, func() { n.refuses.Store(false) })
								}
								c := must(connector.New(virtualURL+hookPath, canary, connector.WithHTTPClient(&http.Client{Transport: w})))(t)
								ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
								defer cancel()
								err := operation(ctx, c)
								synctest.Wait()
								if executed > 1 || w.repeated || err == nil && executed != 1 {
									t.Errorf("executed %d times in %d attempts, repeated %v: %v", executed, w.attempts, w.repeated, err)
								}
								if got, want := errors.Is(err, connic.ErrOutcomeUnknown), err != nil && w.maybe; got != want {
									t.Errorf("outcome unknown: %v, not %v: %v", got, want, err)
								}
								if nothing := n.arrived.Load() == 0; nothing && w.attempts != 4 {
									t.Errorf("nothing was sent, and %d attempts were made: %v", w.attempts, err)
								}
								if fault == "none" && !strings.Contains(transport, "cannot") && err != nil {
									t.Error(err)
								}
								show(t, err)
							})
						})
					}
				}
			}
		}
	}
}

// TestATokenFromTheSameHost is fetched over the connection of the request, with
// its context: over HTTP/2 with TLS that looks like a repetition.
func TestATokenFromTheSameHost(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/x" {
			arrived.Add(1)
		}
		_, _ = io.WriteString(w, syncAnswer)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	base := server.Client().Transport
	c := must(connector.New(server.URL+"/x", canary, connector.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if err := ask(base, r, server.URL+"/token"); err != nil {
			return nil, err
		}
		return base.RoundTrip(r)
	})})))(t)
	for i := range int32(3) {
		if _, err := c.Call(t.Context(), connector.Input{Message: "m"}); err != nil || arrived.Load() != i+1 {
			t.Errorf("call %d: %v, %d requests", i, err, arrived.Load())
		}
	}
}
