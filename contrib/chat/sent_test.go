package chat_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/chat"
)

// breaking is a connection whose next write fails after some bytes once it is
// armed.
type breaking struct {
	net.Conn
	after *atomic.Int64 // -1: it does not fail
}

func (b breaking) Write(p []byte) (int, error) {
	after := b.after.Load()
	if after < 0 {
		return b.Conn.Write(p)
	}
	n, _ := b.Conn.Write(p[:after])
	return n, errors.New("the cable is cut")
}

// Whether a message may have been received is decided by its bytes.
func TestWhetherAByteLeft(t *testing.T) {
	t.Parallel()
	for after, unknown := range map[int64]bool{0: false, 1: true, 20: true} {
		url := scripted(t, func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); hear(ctx, c) })
		var fail atomic.Int64
		fail.Store(-1)
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return breaking{conn, &fail}, err
		}}
		s := dial(t, url, chat.WithHTTPClient(&http.Client{Transport: transport}))
		fail.Store(after)
		_, err := s.Send(t.Context(), chat.Message{Text: strings.Repeat("m", 100)})
		if !errors.Is(err, chat.ErrLost) || errors.Is(err, connic.ErrOutcomeUnknown) != unknown {
			t.Errorf("after %d bytes: %v", after, err)
		}
		<-s.Done()
	}
}

// auditing is a transport of the user's: it makes calls of its own with the
// context of each request, before and after it.
type auditing struct {
	base  *http.Transport
	audit string
	calls atomic.Int32
}

func (a *auditing) call(ctx context.Context) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.audit, http.NoBody)
	if err != nil {
		return
	}
	if resp, err := a.base.RoundTrip(r); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		a.calls.Add(1)
	}
}

func (a *auditing) RoundTrip(r *http.Request) (*http.Response, error) {
	a.call(r.Context())
	defer a.call(r.Context())
	return a.base.RoundTrip(r)
}

// A session closes its own connection, and none of those that the user's
// transport has made meanwhile.
func TestATransportWithCallsOfItsOwn(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	audit := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	audit.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	audit.Start()
	t.Cleanup(audit.Close)
	left := make(chan struct{})
	url := scripted(t, func(ctx context.Context, c *websocket.Conn) { // it does not respond to the close
		hear(ctx, c)
		for {
			if c.Write(ctx, websocket.MessageText, []byte(`{"type":"tool_call"}`)) != nil {
				close(left)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	transport := &auditing{base: &http.Transport{}, audit: audit.URL}
	t.Cleanup(transport.base.CloseIdleConnections)
	s := dial(t, url, chat.WithHTTPClient(&http.Client{Transport: transport}))
	if _, err := s.Send(t.Context(), chat.Message{Text: "m"}); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	<-left // the connection of the session is closed
	transport.call(t.Context())
	if calls, conns := transport.calls.Load(), conns.Load(); calls != 3 || conns != 1 {
		t.Errorf("%d calls over %d connections", calls, conns)
	}
}

// Close does not wait for a service that is replying.
func TestCloseDuringAReply(t *testing.T) {
	t.Parallel()
	for name, during := range map[string]bool{"idle": false, "during a reply": true} {
		virtually(t, func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); <-ctx.Done() }, func(t *testing.T, s *chat.Session) {
			t.Helper()
			limit := 500 * time.Millisecond
			if during {
				limit = 50 * time.Millisecond
				if _, err := s.Send(t.Context(), chat.Message{Text: "m"}); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			_ = s.Close()
			if took := time.Since(start); took > limit {
				t.Errorf("%s: %v", name, took)
			}
		})
	}
}

// A message of which the service has read no byte when the session is closed was
// not sent.
func TestCloseWhileAMessageIsWritten(t *testing.T) {
	t.Parallel()
	virtually(t, func(ctx context.Context, _ *websocket.Conn) { <-ctx.Done() }, func(t *testing.T, s *chat.Session) {
		t.Helper()
		sent := make(chan error)
		go func() {
			_, err := s.Send(t.Context(), chat.Message{Text: strings.Repeat("m", 1<<20)}) // the service reads none of it
			sent <- err
		}()
		time.Sleep(time.Second)
		start := time.Now()
		_ = s.Close()
		if err := <-sent; !errors.Is(err, chat.ErrClosed) || errors.Is(err, connic.ErrOutcomeUnknown) || time.Since(start) > 50*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A session that has ended is closed at once.
func TestCloseAfterTheEnd(t *testing.T) {
	t.Parallel()
	virtually(t, func(ctx context.Context, c *websocket.Conn) {
		hear(ctx, c)
		say(ctx, c, `{"type":"stream_chunk","chunk":"`+strings.Repeat("x", 1000)+`"}`)
		<-ctx.Done()
	}, func(t *testing.T, s *chat.Session) {
		t.Helper()
		if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); !errors.Is(err, chat.ErrTooLarge) {
			t.Errorf("%v", err)
		}
		start := time.Now()
		_ = s.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("%v", took)
		}
	}, chat.WithMaxMessageBytes(100))
}

// broken is a context that panics, or exits the goroutine.
type broken struct {
	context.Context
	exits bool
}

func (b broken) Done() <-chan struct{} {
	if b.exits {
		runtime.Goexit()
	}
	panic("a context of the user's")
}

// A context that panics leaves the session as it was.
func TestAContextThatPanics(t *testing.T) {
	t.Parallel()
	virtually(t, answering([]string{`{"type":"response","id":"ID","response":"ab"}`}), func(t *testing.T, s *chat.Session) {
		t.Helper()
		start := time.Now()
		for _, exits := range []bool{false, true} {
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				defer func() { _ = recover() }()
				_, _ = s.Send(broken{t.Context(), exits}, chat.Message{Text: "m"})
			}()
			<-gone
		}
		if answer, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil || answer.Text != "ab" || time.Since(start) != 0 {
			t.Errorf("%+v, %v after %v", answer, err, time.Since(start))
		}
	})
}
