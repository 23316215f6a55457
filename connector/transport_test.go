package connector

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

const completed = `{"status": "ok", "result": {"run_id": "run-1", "agent_name": "a", "status": "completed", "output": "done"}}`

// cut is a connection that sends nothing more once it is dead.
type cut struct {
	net.Conn
	dead *atomic.Bool
}

func (c cut) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// pipeListener accepts the ends of pipes.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l pipeListener) Close() error { close(l.done); return nil }
func (pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestAConnectionThatHasDied is noticed by pings, long before a call would time
// out, and is not used again.
func TestAConnectionThatHasDied(t *testing.T) {
	t.Parallel()
	if strings.HasPrefix(runtime.Version(), "go1.25") {
		t.Skip("the HTTP/2 server of this release mixes the channels of bubbles of virtual time")
	}
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	certified.Close()
	synctest.Test(t, func(t *testing.T) {
		dead, dials := new(atomic.Bool), new(atomic.Int32)
		l := pipeListener{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{
			TLSConfig: &tls.Config{Certificates: certified.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}, ReadHeaderTimeout: time.Minute,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != 2 {
					t.Errorf("%s", r.Proto)
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, completed)
			}),
		}
		go func() { _ = server.ServeTLS(l, "", "") }()
		defer synctest.Wait()
		defer server.Close()
		own := newTransport(maxInFlight)
		defer own.CloseIdleConnections()
		own.TLSClientConfig.RootCAs = x509.NewCertPool()
		own.TLSClientConfig.RootCAs.AddCert(certified.Certificate())
		own.DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			l.conns <- far
			if dials.Add(1) > 1 {
				return near, nil
			}
			return cut{near, dead}, nil
		}
		c, err := New("https://example.com/x", "a-secret", WithHTTPClient(&http.Client{Transport: own}))
		if err != nil {
			t.Fatal(err)
		}
		for i, broken := range []bool{false, true, false} {
			start := time.Now()
			_, err := c.Call(t.Context(), Input{Message: "m"})
			if errors.Is(err, connic.ErrOutcomeUnknown) != broken || !broken && err != nil || time.Since(start) > 30*time.Second {
				t.Errorf("call %d: %v after %v", i, err, time.Since(start))
			}
			dead.Store(true)
		}
		if n := dials.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestHeadersAreBounded: net/http accepts 10 MiB by default.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 9 {
			w.Header().Add("X-Large", strings.Repeat("x", 1<<20))
		}
		_, _ = io.WriteString(w, completed)
	}))
	defer server.Close()
	c, err := New(server.URL+"/x", "a-secret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Call(t.Context(), Input{Message: "m"}); !errors.Is(err, connic.ErrOutcomeUnknown) {
		t.Errorf("%v", err)
	}
}

// TestConnectionsOfAConnector are closed when it is garbage collected, not
// after 90 s.
func TestConnectionsOfAConnector(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, completed)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		default:
		}
	}
	server.Start()
	defer server.Close()
	for range 10 {
		c, err := New(server.URL+"/x", "a-secret")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Call(t.Context(), Input{Message: "m"}); err != nil {
			t.Error(err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); open.Load() > 0; runtime.GC() { // of a failure
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", open.Load())
		}
	}
}
