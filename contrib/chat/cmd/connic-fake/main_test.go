package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
	"github.com/connic-go/connic/internal/fakecmd"
)

// TestServesAChat asks the program over a WebSocket, with the client of this module
// and with a plain one. Its runs are those of the API, and it stops during a session.
func TestServesAChat(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	serving, stop := context.WithCancel(ctx)
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- fakecmd.Serve(serving, []string{"-addr", "127.0.0.1:0"}, w, io.Discard, fakecmd.WebSocket(chattest.New))
	}()
	variables := make(map[string]string)
	for lines := bufio.NewScanner(r); len(variables) < 9 && lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		variables[name] = value
	}
	s, err := chat.Dial(ctx, variables["CHAT_URL"], connector.Secret(variables["CHAT_SECRET"]))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Ask(ctx, chat.Message{Text: "hello"})
	if err != nil || answer.Text != "hello" {
		t.Errorf("%+v, %v", answer, err)
	}
	client, err := connic.New(variables["CONNIC_PROJECT_ID"], connic.APIKey(variables["CONNIC_API_KEY"]), connic.WithBaseURL(variables["CONNIC_API_URL"]))
	if err != nil {
		t.Fatal(err)
	}
	runs, err := client.Runs.List(ctx, nil)
	if err != nil || len(runs.Items) != 2 { // the session and the message
		t.Errorf("%+v, %v", runs, err)
	}
	plain, resp, err := websocket.Dial(ctx, variables["CHAT_URL"], &websocket.DialOptions{HTTPHeader: http.Header{"X-Connic-Secret": {variables["CHAT_SECRET"]}}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		defer resp.Body.Close()
	}
	if _, first, err := plain.Read(ctx); err != nil || !strings.Contains(string(first), `"connected"`) {
		t.Errorf("%s, %v", first, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, _, err := plain.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the session goes on: %v", err)
	}
	<-s.Done()
	_ = s.Close()
}
