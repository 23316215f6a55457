package chattest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// An agent may take an hour and an approval six days: pings are answered
// meanwhile, and the idle time of the session is between messages only.
func TestAgentsThatTakeLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("slow", func(context.Context, connictest.Input) (any, error) {
			time.Sleep(time.Hour)
			return "done", nil
		})
		service := chattest.New(srv.Connector("slow"))
		service.Idle = time.Minute
		service.Events = func(agent, message string) []chattest.Event {
			return []chattest.Event{
				{Type: "approval_required", Data: map[string]any{"tool": agent + " " + message}},
				{Type: "approval_approved", Pause: 144 * time.Hour},
			}
		}
		s, err := chat.Dial(t.Context(), "ws://localhost/x", service.Secret(), chat.WithHTTPClient(chattest.Client(t, service)), chat.WithIdleTimeout(2*time.Hour), chat.WithPing(10*time.Minute, time.Second))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		answer, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if took := time.Since(start); err != nil || answer.Text != "done" || took != 145*time.Hour {
			t.Errorf("%+v, %v after %v", answer, err, took)
		}
		if len(answer.Unknown) != 2 || !strings.Contains(string(answer.Unknown[0]), `"tool":"slow m"`) {
			t.Errorf("%s", answer.Unknown)
		}
		start = time.Now()
		<-s.Done()
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the session was idle for %v: %v", took, s.Err())
		}
		_ = s.Close()
	})
}

// An agent that requires a file does not answer a message without one, and is
// missing from the reply, or not awaited.
func TestAgentsThatRequireAFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		for _, name := range []string{"talk", "read"} {
			srv.Agent(name, func(context.Context, connictest.Input) (any, error) { return name, nil })
		}
		service := chattest.New(srv.Connector("talk"), srv.Connector("read"))
		service.Agents, service.FilesRequired = []string{"talk", "read"}, []string{"read"}
		s, err := chat.Dial(t.Context(), "ws://localhost/x", service.Secret(), chat.WithHTTPClient(chattest.Client(t, service)))
		if err != nil {
			t.Fatal(err)
		}
		file := chat.File{Name: "a.txt", MIMEType: "text/plain", Data: []byte("x")}
		if answer, err := s.Ask(t.Context(), chat.Message{Text: "m", Files: []chat.File{file}}); err != nil || len(answer.Answers) != 2 {
			t.Errorf("%+v, %v", answer, err)
		}
		if answer, err := s.Ask(t.Context(), chat.Message{Text: "m", Agents: []string{"talk"}}); err != nil || answer.Text != "talk" {
			t.Errorf("%+v, %v", answer, err)
		}
		var missing *chat.ReplyError
		answer, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if !errors.As(err, &missing) || !slices.Equal(missing.Missing, []string{"read"}) || !errors.Is(err, chat.ErrIdle) || answer.Text != "talk" {
			t.Errorf("%+v, %v", answer, err)
		}
		_ = s.Close()
	})
}
