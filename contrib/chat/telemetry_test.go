package chat_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/internal/inject"
)

// steps are the events of a session, one a line.
type steps struct {
	mu    sync.Mutex
	lines []string
	last  error // of the last call
}

func (s *steps) observe(_ context.Context, e connic.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%s %s %d", e.Kind, strings.TrimPrefix(e.Op, "chat."), e.Attempt)
	if e.StatusCode != 0 {
		line += fmt.Sprintf(" %d", e.StatusCode)
	}
	if e.Duration > 0 {
		line += fmt.Sprintf(" in %v", e.Duration)
	}
	if e.Queued > 0 {
		line += fmt.Sprintf(" queued %v", e.Queued)
	}
	if e.Reason != "" {
		line += " " + string(e.Reason)
	}
	if e.Err != nil {
		line += " error"
	}
	if e.Route != "{connector}" || (e.Method == "") != (e.Op == "chat.send") {
		line += fmt.Sprintf(" %+v", e)
	}
	s.lines = append(s.lines, line)
	if e.Kind == connic.EventDone {
		s.last = e.Err
	}
}

// taken returns the lines since the last call.
func (s *steps) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

func TestSessionsAreObserved(t *testing.T) {
	t.Parallel()
	var seen steps
	virtually(t, answering(
		[]string{"2s", `{"type":"response","id":"ID","response":"ab"}`},
		[]string{"2s", `{"type":"error","id":"ID","message":"no"}`},
		[]string{"1s", `{"type":"stream_chunk","id":"ID","chunk":"ab"}`, "5s", `{"type":"stream_end"}`},
		[]string{"2s", `{"type":"response","id":"ID","response":"ab"}`},
		[]string{`{"type":"response","id":"ID","response":"ab"}`},
		nil, nil,
	), func(t *testing.T, s *chat.Session) {
		t.Helper()
		want := func(lines ...string) {
			t.Helper()
			if got := seen.taken(); !slices.Equal(got, lines) {
				t.Errorf("%q, want %q", got, lines)
			}
		}
		ask := func(ctx context.Context, m chat.Message) {
			t.Helper()
			_, err := s.Ask(ctx, m)
			if err != seen.last { //nolint:errorlint // it is the same one
				t.Errorf("%v, and the event has %v", err, seen.last)
			}
		}
		send := func(ctx context.Context) *chat.Reply {
			t.Helper()
			r, err := s.Send(ctx, chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		want("attempt dial 1 101", "done dial 1 101") // in no time
		ask(t.Context(), chat.Message{Text: "m"})
		want("attempt send 1 in 2s", "done send 1 in 2s")
		ask(t.Context(), chat.Message{Text: "m"}) // the agent fails
		var failed *connic.RunError
		if !errors.As(seen.last, &failed) {
			t.Errorf("%v", seen.last)
		}
		want("attempt send 1 in 2s error", "done send 1 in 2s error")
		var bad *connic.ArgumentError
		if _, err := s.Ask(t.Context(), chat.Message{}); !errors.As(err, &bad) {
			t.Errorf("%v", err)
		}
		want()

		r := send(t.Context())
		ask(t.Context(), chat.Message{Text: "m"}) // while a reply is read
		want("done send 0 error")
		for range r.Chunks() {
			break
		}
		if !errors.Is(seen.last, context.Canceled) {
			t.Errorf("%v", seen.last)
		}
		want("attempt send 1 in 1s error", "done send 1 in 1s error")
		ask(t.Context(), chat.Message{Text: "m", FailFast: true})
		if !errors.Is(seen.last, chat.ErrBusy) {
			t.Errorf("%v", seen.last)
		}
		want("done send 0 error")
		ask(t.Context(), chat.Message{Text: "m"}) // it waits for the rest
		want("queued send 0 enough requests are in flight", "attempt send 1 in 2s", "done send 1 in 7s queued 5s")

		send(t.Context()) // it is not read
		time.Sleep(time.Second)
		want()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r = send(ctx)
		want("attempt send 1", "done send 1")
		_, err := r.Wait()
		if _, again := r.Wait(); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(again, err) {
			t.Errorf("%v, %v", err, again)
		}
		want("attempt send 1 in 3s error", "done send 1 in 3s error")
		_ = s.Close()
		want()
		ask(t.Context(), chat.Message{Text: "m"})
		want("done send 0 error")
	}, chat.WithTelemetry(connic.WithObserver(seen.observe)))
}

// The end of each reply is reported once, whoever sees it first, before the
// methods that wait for it return.
func TestTheEndIsReportedOnce(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*chat.Session, *chat.Reply){
		"closed": func(s *chat.Session, _ *chat.Reply) { _ = s.Close() },
		"waits": func(s *chat.Session, r *chat.Reply) {
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() { _, _ = r.Wait() })
				all.Go(func() { _ = s.Close() })
			}
			all.Wait()
		},
		"idle":   func(_ *chat.Session, r *chat.Reply) { _, _ = r.Wait() },
		"events": func(_ *chat.Session, r *chat.Reply) { r.Events()(func(chat.Event, error) bool { return true }) },
		"panics": func(_ *chat.Session, r *chat.Reply) {
			defer func() { _ = recover() }()
			for range r.Chunks() {
				panic("the caller")
			}
		},
	} {
		var seen steps
		virtually(t, answering([]string{`{"type":"stream_chunk","id":"ID","chunk":"ab"}`}), func(t *testing.T, s *chat.Session) {
			t.Helper()
			seen.taken()
			r, err := s.Send(t.Context(), chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			read(s, r)
			_ = s.Close()
			lines := seen.taken()
			if len(lines) != 2 || !strings.HasPrefix(lines[0], "attempt send 1") || !strings.HasPrefix(lines[1], "done send 1") {
				t.Errorf("%s: %q", name, lines)
			}
		}, chat.WithTelemetry(connic.WithObserver(seen.observe)))
	}
}

func TestDialsAreObserved(t *testing.T) {
	t.Parallel()
	for status, handler := range map[int]http.HandlerFunc{
		http.StatusUnauthorized:       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		http.StatusSwitchingProtocols: closing(4401),
	} {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		var seen steps
		_, err := chat.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), canary, chat.WithTelemetry(connic.WithObserver(seen.observe)))
		if !errors.Is(err, connic.ErrUnauthorized) || !errors.Is(seen.last, err) || len(seen.lines) != 2 || !strings.HasPrefix(seen.lines[1], fmt.Sprintf("done dial 1 %d", status)) {
			t.Errorf("%v: %q", err, seen.lines)
		}
		if info, ok := connic.Describe(err); ok != (status == http.StatusUnauthorized) || ok && (info.Op != "chat.dial" || info.StatusCode != status) {
			t.Errorf("%+v", info)
		}
	}
	var bad *connic.ArgumentError
	if _, err := chat.Dial(t.Context(), "ws://localhost", canary, chat.WithTelemetry(connic.WithReadOnly())); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
}

// injector adds a header to the handshake.
type injector struct{ context.Context }

func (i injector) Value(key any) any {
	if key == (inject.Key{}) {
		return i
	}
	return i.Context.Value(key)
}

func (i injector) Inject(r *http.Request) {
	r.Header.Set("Traceparent", fmt.Sprint(r.Context().Value(nameKey{})))
}

type nameKey struct{}

type operationOf struct{ got *connic.Operation }

func (o operationOf) RoundTrip(r *http.Request) (*http.Response, error) {
	*o.got, _ = connic.OperationFromContext(r.Context())
	return http.DefaultTransport.RoundTrip(r)
}

// The context of a call is that of its handshake.
func TestTheContextOfADial(t *testing.T) {
	t.Parallel()
	var header, secret string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header, secret = r.Header.Get("Traceparent"), r.Header.Get("X-Connic-Secret")
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		say(r.Context(), c, `{"type": "connected", "connector_run_id": "cr-1"}`)
		hear(r.Context(), c)
	}))
	t.Cleanup(server.Close)
	var op connic.Operation
	s, err := chat.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), canary, chat.WithHTTPClient(&http.Client{Transport: operationOf{&op}}),
		chat.WithTelemetry(connic.WithLogger(slog.New(slog.DiscardHandler)), connic.WithCallContext(func(ctx context.Context, op connic.Operation) context.Context {
			return injector{context.WithValue(ctx, nameKey{}, op.Name)}
		})))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	want := connic.Operation{Name: "chat.dial", Method: "GET", Route: "{connector}", Class: "unsafe", Status: "documented"}
	if header != "chat.dial" || secret != string(canary) || op != want {
		t.Errorf("%q, %q, %+v", header, secret, op)
	}
}

// An observer that panics, or exits, leaves the session as it was.
func TestObserversThatDoNotReturn(t *testing.T) {
	t.Parallel()
	for _, exits := range []bool{false, true} {
		for _, kind := range []connic.EventKind{connic.EventQueued, connic.EventAttempt, connic.EventDone, "context"} {
			broken := false
			die := func(at connic.EventKind) {
				if broken && at == kind {
					broken = false
					if exits {
						runtime.Goexit()
					}
					panic("an observer")
				}
			}
			reply := []string{`{"type":"stream_chunk","id":"ID","chunk":"ab"}`, "5s", `{"type":"stream_end","id":"ID"}`}
			virtually(t, answering(reply, reply, reply, reply), func(t *testing.T, s *chat.Session) {
				t.Helper()
				r, err := s.Send(t.Context(), chat.Message{Text: "m"})
				if err != nil {
					t.Fatal(err)
				}
				for range r.Chunks() {
					break
				}
				broken = true
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					defer func() { _ = recover() }()
					_, _ = s.Ask(t.Context(), chat.Message{Text: "m"})
				}()
				<-gone
				if answer, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil || answer.Text != "ab" || broken {
					t.Errorf("%s, %v: %+v, %v", kind, exits, answer, err)
				}
			}, chat.WithTelemetry(
				connic.WithObserver(func(_ context.Context, e connic.Event) { die(e.Kind) }),
				connic.WithCallContext(func(ctx context.Context, _ connic.Operation) context.Context { die("context"); return ctx }),
			))
		}
	}
}

// A handshake whose observer does not return leaves no connection.
func TestObserversOfADialThatDoNotReturn(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	url := scripted(t, func(ctx context.Context, c *websocket.Conn) {
		hear(ctx, c)
		close(closed)
	})
	func() {
		defer func() { _ = recover() }()
		_, _ = chat.Dial(t.Context(), url, canary, chat.WithTelemetry(connic.WithObserver(func(context.Context, connic.Event) { panic("an observer") })))
	}()
	<-closed // or the test's own timeout
}

// Options given in two parts all apply.
func TestTelemetryInParts(t *testing.T) {
	t.Parallel()
	var first, second steps
	virtually(t, answering([]string{`{"type":"response","id":"ID","response":"ab"}`}), func(t *testing.T, s *chat.Session) {
		t.Helper()
		if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil {
			t.Error(err)
		}
		if lines := first.taken(); len(lines) != 4 || !slices.Equal(lines, second.taken()) {
			t.Errorf("%q", lines)
		}
	}, chat.WithTelemetry(connic.WithObserver(first.observe)), chat.WithTelemetry(connic.WithObserver(second.observe)))
}
