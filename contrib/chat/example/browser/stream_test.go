package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// forwarding is a forwarder for one visitor, whose session is with a connector.
func forwarding(t *testing.T, url, secret string, opts ...chat.Option) (f *forwarder, log *bytes.Buffer) {
	t.Helper()
	log = new(bytes.Buffer)
	dial := func(ctx context.Context) (*chat.Session, error) {
		return chat.Dial(ctx, url, connector.Secret(secret), opts...)
	}
	session, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return &forwarder{
		dial: dial, logger: slog.New(slog.NewTextHandler(log, nil)), base: t.Context(),
		visitors: map[string]*visitor{"me": newVisitor(session)},
	}, log
}

// virtually runs f in virtual time, with a forwarder whose visitor talks to an agent that
// says a text. The service waits for 100 ms after each chunk.
func virtually(t *testing.T, said string, split func(string) []string, f func(*testing.T, *forwarder, *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("talk", func(context.Context, connictest.Input) (any, error) { return said, nil })
		hook := srv.Connector("talk")
		service := chattest.New(hook)
		service.Split, service.Pause = split, 100*time.Millisecond
		forward, log := forwarding(t, "ws://localhost/x", string(hook.Secret()), chat.WithHTTPClient(chattest.Client(t, service)))
		session := forward.visitors["me"].session
		f(t, forward, log)
		_ = session.Close()
	})
}

// question is a request of the visitor.
func question(ctx context.Context) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/ask", strings.NewReader(`{"text": "m"}`))
	r.Header.Set("Cookie", "visitor=me")
	return r
}

// event is an event as a browser sees it.
type event struct{ kind, data string }

// events reads a stream as the standard has it: a line ends with CR, LF or both, and
// an empty one ends an event.
func events(stream string) (all []event) {
	var e event
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream), "\n") {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && e.data != "":
			all = append(all, e)
			e = event{}
		case field == "event":
			e.kind = value
		case field == "data":
			e.data += value
		}
	}
	return all
}

// What an agent says arrives as it said it, however it is cut into chunks, and forges
// no event.
func TestChunksArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	const said = "one\ntwo\r\nthree\rdata: x\n\nevent: end\ndata: {}\n\nid: 7\nretry: 1\n: silent\n\u2028\u2029\u0085\x00\ufeff</script> \U0001f642\n\n"
	for name, split := range map[string]func(string) []string{
		"whole": func(s string) []string { return []string{s} },
		"characters": func(s string) (all []string) {
			for _, r := range s {
				all = append(all, string(r))
			}
			return all
		},
		"lines": func(s string) []string { return strings.SplitAfter(s, "\n") },
		"CR":    func(s string) []string { return strings.SplitAfter(s, "\r") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtually(t, said, split, func(t *testing.T, f *forwarder, _ *bytes.Buffer) {
				w := httptest.NewRecorder()
				f.ask(w, question(t.Context()))
				got, all := "", events(w.Body.String())
				for i, e := range all {
					var data struct{ Text string }
					if err := json.Unmarshal([]byte(e.data), &data); err != nil {
						t.Errorf("%q: %v", e.data, err)
					}
					switch {
					case e.kind == "chunk" && i < len(all)-2:
						got += data.Text
					case e.kind == "answer" && i == len(all)-2 && data.Text == said, e.kind == "end" && i == len(all)-1:
					default:
						t.Errorf("event %d of %d is %+v", i, len(all), e)
					}
				}
				if got != said || len(all) < len(split(said)) {
					t.Errorf("%d events for %d chunks, %q", len(all), len(split(said)), got)
				}
			})
		})
	}
}

// A session that ends within a reply is told to the browser without the service's
// words, and the next question begins another one.
func TestASessionThatEndsWithinAReply(t *testing.T) {
	t.Parallel()
	const words = "internal words of the service"
	for name, test := range map[string]struct {
		end   func(ctx context.Context, c *websocket.Conn)
		begun bool // the next question gets another session
	}{
		"closed":  {func(_ context.Context, c *websocket.Conn) { _ = c.Close(websocket.StatusNormalClosure, words) }, true},
		"crashed": {func(_ context.Context, c *websocket.Conn) { _ = c.Close(websocket.StatusInternalError, words) }, true},
		"cut":     {func(_ context.Context, c *websocket.Conn) { _ = c.CloseNow() }, true},
		"not JSON": {func(ctx context.Context, c *websocket.Conn) {
			_ = c.Write(ctx, websocket.MessageText, []byte(`{"type": "stream_`+words))
			_ = c.CloseNow()
		}, true},
		"error": {func(ctx context.Context, c *websocket.Conn) {
			_ = c.Write(ctx, websocket.MessageText, []byte(`{"type": "error", "message": "`+words+`"}`))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := websocket.Accept(w, r, nil)
				if err != nil {
					return
				}
				defer func() { _ = c.CloseNow() }()
				say := func(text string) { _ = c.Write(r.Context(), websocket.MessageText, []byte(text)) }
				say(`{"type": "connected", "connector_run_id": "cr"}`)
				for range 2 {
					if _, _, err := c.Read(r.Context()); err != nil {
						return
					}
					say(`{"type": "stream_start"}`)
					say(`{"type": "stream_chunk", "content": "Once upon"}`)
					test.end(r.Context(), c)
				}
			}))
			t.Cleanup(service.Close)
			t.Cleanup(service.CloseClientConnections)
			f, log := forwarding(t, "ws"+strings.TrimPrefix(service.URL, "http"), "")
			for nth := range 2 {
				w := httptest.NewRecorder()
				f.ask(w, question(t.Context()))
				all := events(w.Body.String())
				var kinds []string
				for _, e := range all {
					kinds = append(kinds, e.kind)
				}
				want := "chunk error end"
				if nth > 0 && test.begun {
					want = "new " + want
				}
				if got := strings.Join(kinds, " "); got != want || w.Code != http.StatusOK {
					t.Errorf("%d, %s, want %s", w.Code, got, want)
				}
				if strings.Contains(w.Body.String(), words) || !strings.Contains(log.String(), "the reply broke off") {
					t.Errorf("the browser is sent %q, and the log is sent %q", w.Body, log)
				}
			}
		})
	}
}

// slow is a browser that stops reading after a while: as over a socket, a write then
// ends with its deadline.
type slow struct {
	*httptest.ResponseRecorder
	takes int // writes

	mu       sync.Mutex
	deadline time.Time
}

func (s *slow) SetWriteDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = at
	return nil
}

func (s *slow) Write(data []byte) (int, error) { return len(data), s.write(string(data)) }

func (s *slow) WriteString(text string) (int, error) { return len(text), s.write(text) }

func (s *slow) write(text string) error {
	if s.takes--; s.takes >= 0 {
		_, err := s.ResponseRecorder.WriteString(text)
		return err
	}
	s.mu.Lock()
	left := time.Until(s.deadline)
	s.mu.Unlock()
	time.Sleep(left) // without a deadline, at once: the test then sees how long it took
	return os.ErrDeadlineExceeded
}

// A browser that does not read is left after ten seconds, not held for ever, and its
// session lives for the next question.
func TestABrowserThatDoesNotRead(t *testing.T) {
	t.Parallel()
	virtually(t, strings.Repeat("word ", 40), nil, func(t *testing.T, f *forwarder, log *bytes.Buffer) {
		w := &slow{ResponseRecorder: httptest.NewRecorder(), takes: 5}
		start := time.Now()
		f.ask(w, question(t.Context()))
		if took := time.Since(start); took < writeTime || took > writeTime+2*time.Second {
			t.Errorf("the browser was left after %v", took)
		}
		if n := len(events(w.Body.String())); n != 5 || !strings.Contains(log.String(), "i/o timeout") {
			t.Errorf("%d events; %s", n, log)
		}
		next := httptest.NewRecorder()
		f.ask(next, question(t.Context()))
		if all := events(next.Body.String()); len(all) != 42 || all[40].kind != "answer" {
			t.Errorf("the next answer has %d events: %+v", len(all), all)
		}
	})
}
