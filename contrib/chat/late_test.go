package chat_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/chat"
)

// answering answers the messages of a session: each is a list of frames, in
// which ID is the id of the message, and a number is a pause in seconds.
func answering(replies ...[]string) script {
	return func(ctx context.Context, c *websocket.Conn) {
		ids := make(chan string)
		go func() { // pings are answered
			defer close(ids)
			for {
				id := hear(ctx, c)
				if id == "" {
					return
				}
				select {
				case ids <- id:
				case <-ctx.Done():
					return
				}
			}
		}()
		for _, frames := range replies {
			id, more := <-ids
			if !more {
				return
			}
			for _, frame := range frames {
				if d, err := time.ParseDuration(frame); err == nil {
					select {
					case <-time.After(d):
					case <-ctx.Done():
					}
					continue
				}
				say(ctx, c, strings.ReplaceAll(frame, "ID", id))
			}
		}
		for range ids {
			say(ctx, c, `{"type":"error","message":"the script has ended"}`)
		}
	}
}

// What belongs to a reply that has failed does not end the next one.
func TestTheEndOfAFailedReply(t *testing.T) {
	t.Parallel()
	answer := []string{"1s", `{"type":"stream_start"}`, `{"type":"stream_chunk","chunk":"the real answer"}`, `{"type":"stream_end","full_response":"the real answer"}`}
	unstarted := []string{"1s", `{"type":"stream_chunk","chunk":"the real answer"}`, `{"type":"stream_end"}`}
	whole := []string{"1s", `{"type":"response","response":"the real answer"}`}
	named := []string{"1s", `{"type":"stream_end","id":"ID","full_response":"the real answer"}`}
	for name, test := range map[string]struct{ failing, next []string }{
		"its end":                          {[]string{`{"type":"stream_start"}`, `{"type":"error"}`, "100ms", `{"type":"stream_end"}`}, answer},
		"its text":                         {[]string{`{"type":"stream_start"}`, `{"type":"error"}`, "100ms", `{"type":"stream_chunk","chunk":"x"}`, `{"type":"stream_end","full_response":"x"}`}, answer},
		"never begun":                      {[]string{`{"type":"error"}`, "100ms", `{"type":"stream_end"}`}, answer},
		"without starts":                   {[]string{`{"type":"stream_chunk","chunk":"x"}`, `{"type":"error"}`, "100ms", `{"type":"stream_end"}`}, unstarted},
		"nothing, start":                   {[]string{`{"type":"stream_start"}`, `{"type":"error"}`}, answer},
		"nothing, chunk":                   {[]string{`{"type":"stream_chunk","chunk":"x"}`, `{"type":"error"}`}, unstarted},
		"not streamed":                     {[]string{`{"type":"stream_start"}`, `{"type":"error"}`, "100ms", `{"type":"stream_end"}`}, whole},
		"with ids":                         {[]string{`{"type":"stream_start","id":"ID"}`, `{"type":"error","id":"ID"}`, "100ms", `{"type":"stream_chunk","id":"ID","chunk":"x"}`, `{"type":"stream_end","id":"ID"}`}, named},
		"ids, error not":                   {[]string{`{"type":"stream_start","id":"ID"}`, `{"type":"error"}`, "100ms", `{"type":"stream_end","id":"ID"}`}, named},
		"text, while it is sent":           {[]string{`{"type":"stream_start"}`, `{"type":"error"}`, "2s", `{"type":"stream_chunk","chunk":"x"}`, `{"type":"stream_end"}`}, answer},
		"without starts, while it is sent": {[]string{`{"type":"stream_chunk","chunk":"x"}`, `{"type":"error"}`, "2s", `{"type":"stream_end"}`}, unstarted},
		"while it is sent":                 {[]string{`{"type":"stream_start"}`, `{"type":"error"}`, "2s", `{"type":"stream_end"}`}, answer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtually(t, answering(test.failing, test.next), func(t *testing.T, s *chat.Session) {
				t.Helper()
				var failed *connic.RunError
				if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); !errors.As(err, &failed) {
					t.Errorf("%v", err)
				}
				if !strings.HasSuffix(name, "while it is sent") {
					time.Sleep(500 * time.Millisecond)
				}
				if answer, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil || answer.Text != "the real answer" {
					t.Errorf("%+v, %v", answer, err)
				}
			})
		})
	}
}

// A reply that never ends does not block the session: the next one has an id
// of its own.
func TestAReplyThatNeverEnds(t *testing.T) {
	t.Parallel()
	stuck := []string{`{"type":"ack","id":"ID"}`, `{"type":"stream_start","id":"ID"}`, `{"type":"stream_chunk","id":"ID","chunk":"ab"}`}
	next := []string{
		`{"type":"stream_chunk","id":"connic-go-1","chunk":"cd"}`, `{"type":"stream_end","id":"connic-go-1"}`,
		`{"type":"stream_chunk","id":"ID","chunk":"ef"}`, `{"type":"stream_end","id":"ID"}`,
	}
	for name, test := range map[string]struct {
		stuck   []string
		abandon bool
	}{"within": {stuck, false}, "silent": {nil, false}, "abandoned": {stuck, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtually(t, answering(test.stuck, next), func(t *testing.T, s *chat.Session) {
				t.Helper()
				start := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r, err := s.Send(ctx, chat.Message{Text: "m"})
				if err != nil {
					t.Fatal(err)
				}
				var want error = chat.ErrIdle
				if test.abandon {
					time.Sleep(time.Second)
					cancel()
					want = context.Canceled
				}
				if _, err := r.Wait(); !errors.Is(err, want) {
					t.Errorf("%v", err)
				}
				if answer, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil || answer.Text != "ef" {
					t.Errorf("%+v, %v", answer, err)
				}
				if took := time.Since(start); took < 5*time.Minute || took > 5*time.Minute+time.Second { // the idle timeout, once
					t.Errorf("%v", took)
				}
			})
		})
	}
}

// An error that does not say which message it responds to concerns the last one,
// if the service says so otherwise.
func TestAnErrorAfterAReplyThatNeverEnds(t *testing.T) {
	t.Parallel()
	virtually(t, answering([]string{`{"type":"stream_start","id":"ID"}`}, []string{`{"type":"error","message":"too many messages"}`}), func(t *testing.T, s *chat.Session) {
		t.Helper()
		var failed *connic.RunError
		if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); !errors.Is(err, chat.ErrIdle) {
			t.Errorf("%v", err)
		}
		if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); !errors.As(err, &failed) || failed.Run.Error != "too many messages" {
			t.Errorf("%v", err)
		}
	})
}

// A service that does not say which message it responds to could end the next
// reply with the rest of the one before, so nothing is sent.
func TestAReplyThatCannotBeToldFromTheNext(t *testing.T) {
	t.Parallel()
	virtually(t, answering([]string{`{"type":"stream_chunk","chunk":"ab"}`}), func(t *testing.T, s *chat.Session) {
		t.Helper()
		if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); !errors.Is(err, chat.ErrIdle) {
			t.Errorf("%v", err)
		}
		start := time.Now()
		_, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if !errors.Is(err, chat.ErrBusy) || errors.Is(err, connic.ErrOutcomeUnknown) || time.Since(start) != 5*time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Many replies that never end take no memory, and do not end others.
func TestManyRepliesThatNeverEnd(t *testing.T) {
	t.Parallel()
	var replies [][]string
	for range 40 {
		replies = append(replies, nil)
	}
	replies = append(replies, []string{`{"type":"stream_end","id":"ID","full_response":"ab"}`})
	virtually(t, answering(replies...), func(t *testing.T, s *chat.Session) {
		t.Helper()
		for range 40 {
			if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); !errors.Is(err, chat.ErrIdle) {
				t.Fatalf("%v", err)
			}
		}
		if n := s.OpenForTest(); n > 16 {
			t.Errorf("%d replies are open", n)
		}
		if answer, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil || answer.Text != "ab" {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}

// A message from the service cannot respond to one that is not being written.
func TestFramesBeforeTheirMessage(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{"type":"stream_end"}`, `{"type":"response","response":"x"}`, `{"type":"error"}`, `{"type":"tool_call"}`} {
		if chat.RouteForTest([]byte(data), false) || !chat.RouteForTest([]byte(data), true) {
			t.Error(data)
		}
	}
}
