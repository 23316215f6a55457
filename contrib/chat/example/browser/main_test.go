package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// visit starts the program and returns a browser, and the page's address.
func visit(t *testing.T) (*http.Client, string, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"-addr", "127.0.0.1:0"}, w, io.Discard) }()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}, strings.TrimSpace(line), func() error {
		cancel()
		return <-ended
	}
}

func post(t *testing.T, client *http.Client, url, text string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"ask", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.Status + "\n" + string(body)
}

func TestAConversationInABrowser(t *testing.T) {
	t.Parallel()
	client, url, stop := visit(t)
	first := post(t, client, url, `{"text": "data: x\n\nevent: end\r\u2028</script>"}`)
	for _, want := range []string{
		"200 OK", `event: chunk
data: {"agent":"echo","text":"You `, "event: answer\n", "event: end\ndata: {}\n\n", `\n\nevent: `, `\u003c/script\u003e`,
	} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is not in %q", want, first)
		}
	}
	if n := strings.Count(first, "\nevent: end\n"); n != 1 || strings.ContainsAny(first, "\r\u2028") {
		t.Errorf("a text has forged an event: %q", first)
	}
	if second := post(t, client, url, `{"text": "again"}`); strings.Contains(second, "event: new") || !strings.Contains(second, "You said: again") {
		t.Errorf("%q", second)
	}
	// A visitor whose session is gone is told so.
	returning := &http.Client{Transport: cookie("visitor=gone")}
	if got := post(t, returning, url, `{"text": "again"}`); !strings.Contains(got, "event: new\n") {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"", "{}", "text", `{"text": "` + strings.Repeat("x", maxText) + `"}`} {
		if got := post(t, client, url, bad); !strings.HasPrefix(got, "400") {
			t.Errorf("%.20q: %q", bad, got)
		}
	}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), "textContent") {
		t.Errorf("%s", body)
	}
	start := time.Now()
	if err := stop(); err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// cookie is a transport that sends a cookie.
type cookie string

func (c cookie) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Cookie", string(c))
	return new(http.Transport).RoundTrip(r)
}

// unflushable is a writer that a middleware has wrapped badly.
type unflushable struct{ http.ResponseWriter }

// TestNothingIsPaidForAWriterThatCannotFlush.
func TestNothingIsPaidForAWriterThatCannotFlush(t *testing.T) {
	t.Parallel()
	runs := 0
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("echo", func(context.Context, connictest.Input) (any, error) { runs++; return "", nil })
	service := chattest.NewServer(t, srv.Connector("echo"))
	f := &forwarder{
		dial: func(ctx context.Context) (*chat.Session, error) {
			return chat.Dial(ctx, service.URL(), service.Secret())
		},
		logger: slog.New(slog.DiscardHandler), base: t.Context(), visitors: make(map[string]*visitor),
	}
	w := httptest.NewRecorder()
	f.ask(unflushable{w}, httptest.NewRequest(http.MethodPost, "/ask", strings.NewReader(`{"text": "m"}`)))
	if w.Code != http.StatusInternalServerError || runs != 0 {
		t.Errorf("%d, %d runs", w.Code, runs)
	}
}

// TestABrowserThatLeaves ends its reply, and the session lives for the next question.
func TestABrowserThatLeaves(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("talk", func(context.Context, connictest.Input) (any, error) { return strings.Repeat("word ", 40), nil })
	service := chattest.NewServer(t, srv.Connector("talk"))
	service.Pause = 10 * time.Millisecond
	session, err := chat.Dial(t.Context(), service.URL(), service.Secret())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	f := &forwarder{
		logger: slog.New(slog.DiscardHandler), base: t.Context(), visitors: map[string]*visitor{"me": newVisitor(session)},
	}
	left := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.ask(w, r)
		close(left)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(`{"text": "m"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", "visitor=me")
	resp, err := new(http.Client).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Error(err)
	}
	cancel()
	_ = resp.Body.Close()
	<-left // or the test's own timeout
	if answer, err := session.Ask(t.Context(), chat.Message{Text: "m"}); err != nil || len(strings.Fields(answer.Text)) != 40 {
		t.Errorf("%+v, %v", answer, err)
	}
}
