package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// Visitors are bounded when they all come at once, and leave nothing behind.
func TestVisitorsAtOnce(t *testing.T) {
	t.Parallel()
	virtually(t, "word", nil, func(t *testing.T, f *forwarder, _ *bytes.Buffer) {
		dial := f.dial
		f.dial = func(ctx context.Context) (*chat.Session, error) {
			time.Sleep(time.Second)
			return dial(ctx)
		}
		var mu sync.Mutex
		codes := make(map[int]int)
		var all sync.WaitGroup
		for range maxVisitors + 50 {
			all.Go(func() {
				w := httptest.NewRecorder()
				f.ask(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ask", strings.NewReader(`{"text": "m"}`)))
				mu.Lock()
				defer mu.Unlock()
				codes[w.Code]++
			})
		}
		all.Wait()
		if codes[http.StatusOK] != maxVisitors-1 || codes[http.StatusServiceUnavailable] != 51 { // one was there before
			t.Errorf("%v", codes)
		}
		time.Sleep(maxIdle / 2)
		again := httptest.NewRecorder()
		f.ask(again, question(t.Context())) // who is there before stays
		time.Sleep(maxIdle/2 + time.Second)
		f.mu.Lock()
		if len(f.visitors) != 1 || f.visitors["me"] == nil || f.dialing != 0 {
			t.Errorf("%d visitors, %d dialing", len(f.visitors), f.dialing)
		}
		f.mu.Unlock()
		f.dial = func(context.Context) (*chat.Session, error) { return nil, errors.New("no service") }
		for range 2 * maxVisitors { // failures take no place
			f.ask(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ask", strings.NewReader(`{"text": "m"}`)))
		}
		if f.dialing != 0 {
			t.Errorf("%d dialing", f.dialing)
		}
	})
}

// A chat with two agents keeps their answers apart, and one that fails does not
// take the other one along.
func TestTwoAgentsInABrowser(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("left", func(context.Context, connictest.Input) (any, error) { return "one two three", nil })
	srv.Agent("right", func(_ context.Context, in connictest.Input) (any, error) {
		if in.Message == "fail" {
			return nil, errors.New("internal words")
		}
		return "four five", nil
	})
	service := chattest.NewServer(t, srv.Connector("left"), srv.Connector("right"))
	service.Agents, service.Pause = []string{"left", "right"}, time.Millisecond
	service.Events = func(string, string) []chattest.Event {
		return []chattest.Event{{Type: "tool_call", Data: map[string]any{"arguments": "internal words"}}}
	}
	f := &forwarder{
		dial: func(ctx context.Context) (*chat.Session, error) {
			return chat.Dial(ctx, service.URL(), service.Secret())
		},
		logger: slog.New(slog.DiscardHandler), base: t.Context(), visitors: make(map[string]*visitor),
	}
	for text, want := range map[string][]string{
		"m":    {"answer left", "answer right", "end ", "progress left", "progress right"},
		"fail": {"answer left", "end ", "error ", "progress left"},
	} {
		w := httptest.NewRecorder()
		f.ask(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ask", strings.NewReader(`{"text": "`+text+`"}`)))
		var kinds []string
		chunks, answers := make(map[string]string), make(map[string]string)
		for _, e := range events(w.Body.String()) {
			var data struct{ Agent, Text string }
			if err := json.Unmarshal([]byte(e.data), &data); err != nil {
				t.Error(err)
			}
			switch e.kind {
			case "chunk":
				chunks[data.Agent] += data.Text
				continue
			case "answer":
				answers[data.Agent] = data.Text
			}
			kinds = append(kinds, e.kind+" "+data.Agent)
		}
		slices.Sort(kinds)
		if !slices.Equal(kinds, want) || strings.Contains(w.Body.String(), "internal words") {
			t.Errorf("%q, %s", kinds, w.Body)
		}
		if chunks["left"] != "one two three" || answers["left"] != chunks["left"] || answers["right"] != chunks["right"] {
			t.Errorf("%q, %q", chunks, answers)
		}
	}
	f.mu.Lock()
	sessions := slices.Collect(maps.Values(f.visitors))
	f.mu.Unlock()
	for _, v := range sessions {
		_ = v.session.Close()
	}
}
