package chattest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// reports is a TB that collects what is reported.
type reports struct {
	mu       sync.Mutex
	cleanups []func()
	errors   []string
}

func (*reports) Helper()                        {}
func (r *reports) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }
func (r *reports) Fatalf(f string, args ...any) { r.Errorf(f, args...) }
func (r *reports) Errorf(f string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(f, args...))
}

func (r *reports) end() string {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return strings.Join(r.errors, "\n")
}

// talk asks two questions over a recording.
func talk(t *testing.T, r *reports, rec *connictest.Recording, service *chattest.Server, second string) {
	t.Helper()
	url, secret, client := "", connector.Secret("another-secret"), (*http.Client)(nil)
	if service != nil {
		url, secret, client = "ws://connect.test/chat-of-the-test", service.Secret(), chattest.Client(r, service)
	}
	handler := chattest.Recorded(r, rec, url, secret, client)
	s, err := chat.Dial(t.Context(), "ws://localhost/x", secret, chat.WithHTTPClient(chattest.Client(r, handler)))
	if err != nil {
		r.Errorf("%v", err)
		return
	}
	for _, question := range []string{"Where is bob@acme.example?", "Where is bob@acme.example?", second} {
		answer, err := s.Ask(t.Context(), chat.Message{Text: question, Files: []chat.File{{Name: "a.txt", MIMEType: "text/plain", Data: []byte("x")}}})
		if err != nil || len(answer.Answers) != 2 {
			r.Errorf("%+v, %v", answer, err)
			break
		}
		if service != nil && !strings.HasPrefix(answer.Answers[0].Text, "to bob@acme.example") {
			r.Errorf("%+v", answer)
		}
	}
	_ = s.Close()
}

// TestRecordedSessions records a session of two agents, and replays it.
func TestRecordedSessions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.json")
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		for _, name := range []string{"support", "sales"} {
			srv.Agent(name, func(context.Context, connictest.Input) (any, error) { return "to bob@acme.example: it is here", nil })
		}
		service := chattest.New(srv.Connector("support"), srv.Connector("sales"))
		service.Agents, service.Pause = []string{"support", "sales"}, time.Second
		service.Split = func(output string) []string { return strings.SplitAfter(output, "ac") } // within the address
		service.Events = func(string, string) []chattest.Event { return []chattest.Event{{Type: "tool_call", After: 1}} }
		r := new(reports)
		talk(t, r, connictest.Record(r, path, &connictest.RecordOptions{Texts: connictest.KeepTexts}), service, "Thanks")
		if told := r.end(); told != "" {
			t.Fatal(told)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, private := range []string{string(service.Secret()), "bob@", "me.example", "chat-of-the-test"} {
			if strings.Contains(string(text), private) {
				t.Errorf("%s is in\n%s", private, text)
			}
		}
	})
	for second, want := range map[string]string{"Thanks": "", "Bye": "payload.message"} {
		synctest.Test(t, func(t *testing.T) {
			r := new(reports)
			talk(t, r, connictest.Replay(r, path, nil), nil, second)
			if told := r.end(); (told == "") != (want == "") || !strings.Contains(told, want) {
				t.Errorf("%s: %s", second, told)
			}
		})
	}
}

// TestRecordedRefusals records a connector that refuses the secret.
func TestRecordedRefusals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.json")
	dial := func(t *testing.T, r *reports, rec *connictest.Recording, client *http.Client) {
		t.Helper()
		handler := chattest.Recorded(r, rec, "ws://connect.test/x", "a-wrong-secret", client)
		_, err := chat.Dial(t.Context(), "ws://localhost/x", "a-wrong-secret", chat.WithHTTPClient(chattest.Client(r, handler)))
		if err == nil || !strings.Contains(err.Error(), "401") {
			r.Errorf("%v", err)
		}
		if told := r.end(); told != "" {
			t.Error(told)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("x", func(context.Context, connictest.Input) (any, error) { return "x", nil })
		r := new(reports)
		dial(t, r, connictest.Record(r, path, nil), chattest.Client(r, chattest.New(srv.Connector("x"))))
	})
	synctest.Test(t, func(t *testing.T) {
		r := new(reports)
		dial(t, r, connictest.Replay(r, path, nil), nil)
	})
}
