package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// refusals are requests that are answered without their bodies.
var refusals = []struct {
	head   string
	status int
	full   bool // all places are taken
}{
	{"GET /healthz HTTP/1.1", http.StatusOK, false},
	{"GET /readyz HTTP/1.1", http.StatusOK, false},
	{"GET /readyz HTTP/1.1", http.StatusServiceUnavailable, true},
	{"GET /nowhere HTTP/1.1", http.StatusNotFound, false},
	{"POST /nowhere HTTP/1.1", http.StatusNotFound, false},
	{"DELETE /ask HTTP/1.1", http.StatusMethodNotAllowed, false},
	{"POST /ask HTTP/1.1\r\nContent-Type: text/plain", http.StatusUnsupportedMediaType, false},
	{"POST /ask HTTP/1.1\r\nContent-Type: application/json\r\nOrigin: https://elsewhere.example", http.StatusForbidden, false},
	{"POST /ask HTTP/1.1\r\nContent-Type: application/json", http.StatusServiceUnavailable, true},
}

// refuse sends the requests without their bodies, and reads the responses and the
// ends of the connections.
func refuse(t *testing.T, s *server, dial func() net.Conn) {
	t.Helper()
	for _, r := range refusals {
		for _, length := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			if r.full {
				s.open.Add(int64(s.Callers))
			}
			conn := dial()
			if _, err := fmt.Fprintf(conn, "%s\r\nHost: ask\r\n%s\r\n\r\n", r.head, length); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%q: %v", r.head, err)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != r.status {
				t.Errorf("%q: got %d, %v, want %d", r.head, resp.StatusCode, err, r.status)
			}
			if _, err := in.ReadByte(); err == nil {
				t.Errorf("%q: something follows the response", r.head)
			}
			conn.Close()
			if r.full {
				s.open.Add(-int64(s.Callers))
			}
		}
	}
}

// Neither the response nor the end of the connection waits for a body that does
// not come.
func TestRefusesWithoutTheBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, nil)
		transport, _ := w.http.Transport.(*http.Transport)
		begin := time.Now()
		refuse(t, w.server, func() net.Conn {
			conn, err := transport.DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			return conn
		})
		// The server leaves a connection half a second for its last response.
		if took := time.Since(begin); took > 2*time.Duration(len(refusals))*time.Second {
			t.Errorf("%d refusals took %v", len(refusals), took)
		}
	})
}

// The same over sockets. It hangs if the server waits.
func TestRefusesWithoutTheBodyOverSockets(t *testing.T) {
	t.Parallel()
	fake := connictest.NewServer(t)
	conf := defaults()
	conf.Agent, conf.Log, conf.Client = "support", slog.New(slog.DiscardHandler), fake.Client(connic.WithoutRateLimit())
	s := newServer(conf)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, term := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l, 0, time.Minute) }()
	refuse(t, s, func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	})
	term()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A question that may have been asked is not to be asked again, whatever else its
// error says.
func TestUnknownOutcomeIsNotRetried(t *testing.T) {
	t.Parallel()
	for _, other := range []error{nil, connic.ErrRateLimited, connic.ErrServer, context.DeadlineExceeded} {
		for _, cause := range []error{nil, errShutdown} {
			p := explain(errors.Join(connic.ErrOutcomeUnknown, other), cause)
			if p.Status != http.StatusBadGateway || p.RetryAfter > 0 || p.Seconds > 0 {
				t.Errorf("%v, %v: got %+v", other, cause, p)
			}
		}
	}
}

// A log entry is one safe line.
func TestLogIsClean(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	logger(&out, false).Info("a", "error", errors.New("x\ncnc_0123456789abcdef\x1b[2J"), "s", "\u202ecnc_0123456789abcdef")
	if got := out.String(); strings.Contains(got, "456789") || strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\u202e\x1b") || strings.Contains(got, `\n`) {
		t.Errorf("got %q", got)
	}
}

// Callers that send slowly do not take the places of others.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, func(c *config) { c.Callers = 2 })
		transport, _ := w.http.Transport.(*http.Transport)
		for range 5 {
			conn, err := transport.DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = fmt.Fprint(conn, "POST /ask HTTP/1.1\r\nHost: ask\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		}
		synctest.Wait()
		if status, _, body := ask(t, w, `{"question": "Do you ship?"}`); status != http.StatusOK {
			t.Errorf("got %d %s", status, body)
		}
	})
}
