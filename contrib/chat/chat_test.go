package chat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

const canary = connector.Secret("canary-7f3a9c15e8b2d604")

// script is the service's side of a session, after its first message.
type script func(ctx context.Context, c *websocket.Conn)

// scripted is a service that follows a script, and the URL that leads to it.
func scripted(t *testing.T, do script) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(64 << 20)
		say(r.Context(), c, `{"type": "connected", "connector_run_id": "cr-1"}`)
		do(r.Context(), c)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/chat/4f2a1c9d8e7b6a50"
}

func say(ctx context.Context, c *websocket.Conn, messages ...string) {
	for _, m := range messages {
		_ = c.Write(ctx, websocket.MessageText, []byte(m))
	}
}

// hear waits for a message of the client and returns its id.
func hear(ctx context.Context, c *websocket.Conn) string {
	var m struct{ ID string }
	_, data, err := c.Read(ctx)
	if err == nil {
		_ = json.Unmarshal(data, &m)
	}
	return m.ID
}

func dial(t *testing.T, url string, opts ...chat.Option) *chat.Session {
	t.Helper()
	s, err := chat.Dial(t.Context(), url, canary, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func collect(r *chat.Reply) (chunks []string, err error) {
	for chunk, failed := range r.Chunks() {
		if failed != nil {
			err = failed
		} else {
			chunks = append(chunks, chunk)
		}
	}
	return chunks, err
}

func TestAConversation(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("talk", func(_ context.Context, in connictest.Input) (any, error) {
		in.Tokens(connic.TokenUsage{Input: 3, Output: 2})
		if in.Message == "fail" {
			return nil, errors.New("no idea")
		}
		var history []struct{ Content string }
		_ = json.Unmarshal(in.Payload["history"], &history)
		return fmt.Sprintf("%s, after %d, with %s and %d files", in.Message, len(history)/2, string(in.Payload["context"]), len(in.Files)), nil
	})
	service := chattest.NewServer(t, srv.Connector("talk"))
	session, err := chat.Dial(t.Context(), service.URL(), service.Secret())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if run, err := srv.Client().Runs.Get(t.Context(), session.ID()); err != nil || run.Status != connic.RunRunning {
		t.Errorf("%q: %+v, %v", session.ID(), run, err)
	}
	reply, err := session.Send(t.Context(), chat.Message{Text: "hello", Context: map[string]int{"user": 7}, Files: []chat.File{{Name: "a.txt", MIMEType: "text/plain", Data: []byte("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `hello, after 0, with {"user":7} and 1 files`
	chunks, err := collect(reply)
	if err != nil || strings.Join(chunks, "") != want {
		t.Errorf("%q, %v", chunks, err)
	}
	answer, err := reply.Wait()
	if err != nil || answer.Text != want || answer.TokenUsage != (connic.TokenUsage{Input: 3, Output: 2, Total: 5}) {
		t.Errorf("%+v, %v", answer, err)
	}
	var failed *chat.ReplyError
	if _, err := session.Ask(t.Context(), chat.Message{Text: "fail"}); !errors.As(err, &failed) || failed.Detail != "no idea" || errors.Is(err, connic.ErrOutcomeUnknown) {
		t.Errorf("%v", err)
	}
	if answer, err := session.Ask(t.Context(), chat.Message{Text: "again"}); err != nil || answer.Text != "again, after 1, with  and 0 files" {
		t.Errorf("%+v, %v", answer, err)
	}
	if page, err := srv.Client().Runs.List(t.Context(), nil); err != nil || len(page.Items) != 4 { // one is the session
		t.Errorf("%+v, %v", page, err)
	}
}

func TestSessionsOfTheFakeEnd(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	service := chattest.NewServer(t, srv.Connector("echo"))
	service.MaxMessages, service.Split = 2, func(string) []string { return nil }
	s, err := chat.Dial(t.Context(), service.URL()+"?secret="+string(service.Secret()), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := s.Send(t.Context(), chat.Message{Text: "whole"})
		if err != nil {
			t.Fatal(err)
		}
		if chunks, err := collect(r); err != nil || len(chunks) != 1 || chunks[0] != "whole" {
			t.Errorf("%q, %v", chunks, err)
		}
	}
	<-s.Done()
	var end *chat.EndError
	if err := s.Err(); !errors.Is(err, chat.ErrEnded) || !errors.As(err, &end) || end.Code != 1000 || !strings.Contains(end.Reason, "limit") {
		t.Errorf("%v", err)
	}
	_, err = s.Send(t.Context(), chat.Message{Text: "more"})
	if !errors.Is(err, chat.ErrEnded) || errors.Is(err, connic.ErrOutcomeUnknown) {
		t.Errorf("%v", err)
	}
	if _, err := chat.Dial(t.Context(), service.URL(), "another-secret"); !errors.Is(err, connic.ErrUnauthorized) {
		t.Errorf("%v", err)
	}
	// Without a secret in the handshake the service waits for a first message that has it.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := chat.Dial(ctx, service.URL(), ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestSpellings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		messages []string
		text     string
		chunks   int
	}{
		"documented": {[]string{`{"type":"ack"}`, `{"type":"stream_start"}`, `{"type":"stream_chunk","content":"a "}`, `{"type":"stream_end","full_response":"a b","token_usage":{"input_tokens":1,"output":"2"}}`}, "a b", 1},
		"chunk":      {[]string{`{"type":"stream_chunk","chunk":"a "}`, `{"type":"stream_chunk","text":"b"}`, `{"type":"stream_end","token_usage":{"input":1,"output_tokens":2}}`}, "a b", 2},
		"payload":    {[]string{`{"type":"stream_chunk","payload":{"content":"a b"}}`, `{"type":"stream_end","payload":{"full_response":"a b","token_usage":{"input":1,"output":2}}}`}, "a b", 1},
		"response":   {[]string{`{"type":"response","response":"a b","usage":{"input":1,"output":2}}`}, "a b", 1},
		"content":    {[]string{`{"type":"response","data":{"content":"a b","token_usage":{"input":1,"output":2}}}`}, "a b", 1},
		"object":     {[]string{`{"type":"response","response":{"a":1},"token_usage":{"input":1,"output":2}}`}, `{"a":1}`, 1},
		"unknown":    {[]string{`{"type":"tool_call","name":"x"}`, `5`, `{`, `{"type":null}`, `{"type":"stream_chunk","content":"a b"}`, `{"type":"stream_end","full_response":"a b","token_usage":{"input":1,"output":2}}`}, "a b", 1},
		"an old id":  {[]string{`{"type":"stream_chunk","id":"connic-go-0","content":"x"}`, `{"type":"stream_end","id":"connic-go-0"}`, `{"type":"stream_chunk","id":"m-7","content":"a b"}`, `{"type":"stream_end","id":"m-7","full_response":"a b","token_usage":{"input":1,"output":2}}`}, "a b", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dial(t, scripted(t, func(ctx context.Context, c *websocket.Conn) {
				hear(ctx, c)
				say(ctx, c, test.messages...)
				hear(ctx, c)
			}))
			r, err := s.Send(t.Context(), chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			chunks, err := collect(r)
			answer, failed := r.Wait()
			if err != nil || failed != nil || strings.TrimSpace(strings.Join(chunks, "")) != strings.TrimSpace(test.text) && name != "documented" {
				t.Errorf("%q, %v, %v", chunks, err, failed)
			}
			if answer.Text != test.text || answer.TokenUsage.Input != 1 || answer.TokenUsage.Output != 2 || len(chunks) > test.chunks {
				t.Errorf("%+v, %q", answer, chunks)
			}
			if name == "unknown" && (len(answer.Unknown) != 4 || string(answer.Unknown[0]) != test.messages[0]) {
				t.Errorf("%q", answer.Unknown)
			}
		})
	}
}

// TestRepliesThatBreakOff: only stream_end and response are an end, and the error has what
// came so far.
func TestRepliesThatBreakOff(t *testing.T) {
	t.Parallel()
	reset := func(_ context.Context, c *websocket.Conn) { _ = c.CloseNow() }
	closes := func(code websocket.StatusCode, reason string) script {
		return func(_ context.Context, c *websocket.Conn) { _ = c.Close(code, reason) }
	}
	for name, test := range map[string]struct {
		how  script
		want error
	}{
		"cut": {reset, chat.ErrLost}, "1000": {closes(1000, "Idle timeout"), chat.ErrEnded}, "1001": {closes(1001, ""), chat.ErrEnded},
		"1008": {closes(1008, "policy"), chat.ErrEnded}, "1011": {closes(1011, ""), chat.ErrEnded}, "4000": {closes(4000, "own"), chat.ErrEnded},
		"too large": {func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"type":"stream_end","full_response":"`+strings.Repeat("x", 2<<20)+`"}`)
			hear(ctx, c)
		}, chat.ErrTooLarge},
		"error": {func(ctx context.Context, c *websocket.Conn) {
			say(ctx, c, `{"type":"error","error":"`+string(canary)+` failed\n\u001b[31m"}`)
			hear(ctx, c)
		}, nil},
	} {
		for after := range 3 {
			t.Run(fmt.Sprintf("%s/%d", name, after), func(t *testing.T) {
				t.Parallel()
				s := dial(t, scripted(t, func(ctx context.Context, c *websocket.Conn) {
					hear(ctx, c)
					for range after {
						say(ctx, c, `{"type":"stream_chunk","content":"ab"}`)
					}
					test.how(ctx, c)
				}), chat.WithMaxMessageBytes(1<<20))
				r, err := s.Send(t.Context(), chat.Message{Text: "m"})
				if err != nil {
					t.Fatal(err)
				}
				chunks, err := collect(r)
				var failed *chat.ReplyError
				if !errors.As(err, &failed) || failed.Partial != strings.Repeat("ab", after) || strings.Join(chunks, "") != failed.Partial {
					t.Errorf("%q, %+v", chunks, err)
				}
				if test.want != nil && !errors.Is(err, test.want) || errors.Is(err, connic.ErrOutcomeUnknown) != (test.want != nil) {
					t.Errorf("%v", err)
				}
				if text := fmt.Sprintf("%v %+v %#v", err, err, failed.Detail); strings.Contains(text, string(canary)) || strings.Contains(text, "\x1b") {
					t.Errorf("%q", text)
				}
				if answer, again := r.Wait(); again == nil || answer.Text != failed.Partial {
					t.Errorf("%+v, %v", answer, again)
				}
			})
		}
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"401": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"detail": "no `+r.Header.Get("X-Connic-Secret")+`"}`, http.StatusUnauthorized)
		}, connic.ErrUnauthorized},
		"404":  {http.NotFound, connic.ErrNotFound},
		"429":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, connic.ErrRateLimited},
		"503":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, connic.ErrServer},
		"200":  {func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL, r.Header) }, nil},
		"302":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, nil},
		"1008": {closing(1008), connic.ErrUnauthorized}, "4401": {closing(4401), connic.ErrUnauthorized}, "1011": {closing(1011), nil},
		"cut":   {closing(0), nil},
		"error": {closing(1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				test.handler(w, r)
			}))
			defer server.Close()
			_, err := chat.Dial(t.Context(), server.URL+"/hooks/4f2a1c9d8e7b6a50?tenant=t-91827364", canary)
			var failed *chat.DialError
			if !errors.As(err, &failed) || (test.want != nil && !errors.Is(err, test.want)) || asked.Load() != 1 {
				t.Errorf("%v, %d requests", err, asked.Load())
			}
			if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, string(canary)) || strings.Contains(text, "4f2a1c9d") || strings.Contains(text, "t-9182") {
				t.Errorf("%q", text)
			}
		})
	}
	for _, bad := range []string{"", "ftp://h/x", "ws://h.invalid/x", "wss://u:p@h/x", "wss://h/x#y", "wss://h/%zz"} {
		if _, err := chat.Dial(t.Context(), bad, canary); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	_, err := chat.Dial(t.Context(), "ws://127.0.0.1:1/hooks/4f2a1c9d8e7b6a50", canary)
	if err == nil || strings.Contains(err.Error(), "4f2a1c9d") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := chat.Dial(ctx, silent(t), canary); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// closing closes a session before its first message.
func closing(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		switch code {
		case 0:
		case 1:
			say(r.Context(), c, `{"type":"error","message":"Invalid secret"}`)
			_, _, _ = c.Read(r.Context())
		default:
			_ = c.Close(websocket.StatusCode(code), "Invalid secret")
		}
		_ = c.CloseNow()
	}
}

// silent is a listener that accepts connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "ws://" + listener.Addr().String() + "/x"
}
