package chat_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// virtually runs f in virtual time, with a session whose service follows a script.
func virtually(t *testing.T, do script, f func(*testing.T, *chat.Session), opts ...chat.Option) {
	t.Helper()
	virtuallyConnected(t, `{"type": "connected", "connector_run_id": "cr-1"}`, do, f, opts...)
}

// virtuallyConnected is virtually with the first message of the service.
func virtuallyConnected(t *testing.T, connected string, do script, f func(*testing.T, *chat.Session), opts ...chat.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service := chattest.Client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = c.CloseNow() }()
			say(r.Context(), c, connected)
			do(r.Context(), c)
		}))
		s, err := chat.Dial(t.Context(), "ws://localhost/x", canary, append(opts, chat.WithHTTPClient(service))...)
		if err != nil {
			t.Fatal(err)
		}
		f(t, s)
		_ = s.Close()
	})
}

// TestClose takes less than a second, whatever the peer does.
func TestClose(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]script{
		"reads":         func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); hear(ctx, c) },
		"does not read": func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); <-ctx.Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtually(t, do, func(t *testing.T, s *chat.Session) {
				t.Helper()
				r, err := s.Send(t.Context(), chat.Message{Text: "m"})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				var closers sync.WaitGroup
				for range 3 {
					closers.Go(func() { _ = s.Close() })
				}
				if _, err := collect(r); !errors.Is(err, chat.ErrClosed) || !errors.Is(err, connic.ErrOutcomeUnknown) {
					t.Errorf("%v", err)
				}
				closers.Wait()
				if took := time.Since(start); took > time.Second {
					t.Errorf("%v", took)
				}
				if err := s.Err(); !errors.Is(err, chat.ErrClosed) {
					t.Errorf("%v", err)
				}
				if _, err := s.Send(t.Context(), chat.Message{Text: "m"}); !errors.Is(err, chat.ErrClosed) || errors.Is(err, connic.ErrOutcomeUnknown) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestPings: a service that does not answer them is lost, and one that does is not, however
// long it is silent.
func TestPings(t *testing.T) {
	t.Parallel()
	virtually(t, func(ctx context.Context, _ *websocket.Conn) { <-ctx.Done() }, func(t *testing.T, s *chat.Session) {
		t.Helper()
		start := time.Now()
		<-s.Done()
		if took := time.Since(start); !errors.Is(s.Err(), chat.ErrLost) || took < 30*time.Second || took > 40*time.Second {
			t.Errorf("%v after %v", s.Err(), took)
		}
	})
	virtually(t, func(ctx context.Context, c *websocket.Conn) { hear(ctx, c) }, func(t *testing.T, s *chat.Session) {
		t.Helper()
		select {
		case <-s.Done():
			t.Error(s.Err())
		case <-time.After(time.Hour):
		}
	})
}

// TestAReplyThatStops: the session lives, and its next message waits for the rest.
func TestAReplyThatStops(t *testing.T) {
	t.Parallel()
	virtually(t, func(ctx context.Context, c *websocket.Conn) {
		hear(ctx, c)
		say(ctx, c, `{"type":"stream_chunk","content":"ab"}`)
		go hear(ctx, c) // pings are answered
		select {
		case <-time.After(10 * time.Minute):
		case <-ctx.Done():
		}
		say(ctx, c, `{"type":"stream_chunk","content":"cd"}`, `{"type":"stream_end"}`)
		<-ctx.Done()
	}, func(t *testing.T, s *chat.Session) {
		t.Helper()
		start := time.Now()
		answer, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if took := time.Since(start); !errors.Is(err, chat.ErrIdle) || !errors.Is(err, connic.ErrOutcomeUnknown) || answer.Text != "ab" || took != 5*time.Minute {
			t.Errorf("%+v, %v after %v", answer, err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Ask(ctx, chat.Message{Text: "m"}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("%v", err)
		}
		if _, err = s.Send(t.Context(), chat.Message{Text: "m"}); err != nil || time.Since(start) != 10*time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestASlowReaderIsBounded(t *testing.T) {
	t.Parallel()
	chunk := strings.Repeat("x", 1<<20)
	virtually(t, func(ctx context.Context, c *websocket.Conn) {
		for hear(ctx, c) != "" {
			for range 12 {
				say(ctx, c, `{"type":"stream_chunk","content":"`+chunk+`"}`)
			}
			say(ctx, c, `{"type":"stream_end"}`)
		}
	}, func(t *testing.T, s *chat.Session) {
		t.Helper()
		r, err := s.Send(t.Context(), chat.Message{Text: "m"})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range r.Chunks() {
			if err != nil {
				break
			}
			select { // the service says everything meanwhile, and the session goes on
			case <-time.After(5 * time.Minute):
			case <-s.Done():
				t.Error(s.Err())
			}
		}
		if _, err = r.Wait(); !errors.Is(err, chat.ErrTooLarge) {
			t.Errorf("%v", err)
		}
		if answer, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil || len(answer.Text) != 12<<20 {
			t.Errorf("%d bytes, %v", len(answer.Text), err)
		}
	})
}
