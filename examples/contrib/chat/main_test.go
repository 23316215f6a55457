package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// dial opens a session with an agent that answers "You said: …".
func dial(t *testing.T, configure func(*chattest.Server)) *chat.Session {
	t.Helper()
	srv := connictest.New(t)
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		if in.Message == "fail" {
			return nil, errors.New("no idea")
		}
		return "You said: " + in.Message, nil
	})
	hook := srv.Connector("support")
	server := chattest.New(hook)
	server.Pause = time.Second
	if configure != nil {
		configure(server)
	}
	session, err := chat.Dial(t.Context(), "ws://127.0.0.1/", hook.Secret(), chat.WithHTTPClient(chattest.Client(t, server)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func TestChat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		err := converse(t.Context(), dial(t, nil), strings.NewReader("hello\n\nand again\n"), &out)
		if want := "> You said: hello\n> > You said: and again\n> "; err != nil || out.String() != want {
			t.Errorf("%q, %v", &out, err)
		}
	})
}

func TestChatThatEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		input     string
		configure func(*chattest.Server)
		want      string
		failed    bool
	}{
		"the agent fails":    {"fail\n", nil, "> ", true},
		"no more messages":   {"one\ntwo\n", func(s *chattest.Server) { s.MaxMessages = 1 }, "> You said: one\n> ", true},
		"nobody says a word": {"", func(s *chattest.Server) { s.Idle = time.Minute }, "> ", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				in, keyboard := io.Pipe()
				defer in.Close()
				go func() { _, _ = io.WriteString(keyboard, test.input) }() // it does not end
				var out bytes.Buffer
				err := converse(t.Context(), dial(t, test.configure), in, &out)
				if (err != nil) != test.failed || out.String() != test.want {
					t.Errorf("%q, %v", &out, err)
				}
			})
		})
	}
}

func TestCtrlC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		session := dial(t, nil)
		in, keyboard := io.Pipe()
		defer keyboard.Close()
		time.AfterFunc(time.Minute, cancel)
		var out bytes.Buffer
		if err := converse(ctx, session, in, &out); err != nil || out.String() != "> " {
			t.Errorf("%q, %v", &out, err)
		}
	})
}
