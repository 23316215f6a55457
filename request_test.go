package connic

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

const testKey = APIKey("cnc_unit-test-key-0001")

// roundTripper is a function that is an [http.RoundTripper].
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func newTestClient(t *testing.T, transport roundTripper, opts ...Option) *Client {
	t.Helper()
	c, err := New("p", testKey, append([]Option{WithHTTPClient(&http.Client{Transport: transport})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// badSegments holds path arguments that must not leave the process.
var badSegments = []string{
	"", ".", "..", "/", "a/b", "../runs", "..%2fruns", "a%2Fb", "a%2fb", "%2F", `a\b`, "a%5Cb", "a%5cb", "%2e", "%2e%2e", "%2E.", ".%2e",
	"a\nb", "a\x00b", "a%00b", "a%0Ab", "a%0d", "a\x7f", "a%7F", "%252e%252e", "a%252Fb", "a%25252Fb", "%25252e", "a\u0085b",
	"  ", "\t", "\u00a0", "%20", "..;x", ".;x", "..%3Bx", "%2e%2e;x", " .. ", "..;", ". ",
}

func TestS3PathArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		t.Errorf("a request left the process: %s %q", r.Method, r.URL.EscapedPath())
		return nil, errors.New("refused")
	})
	ctx := t.Context()
	calls := map[string]func(id string) error{
		"agent name": func(id string) error { _, err := c.Agents.Get(ctx, id); return err },
		"run id":     func(id string) error { _, err := c.Runs.Get(ctx, id); return err },
	}
	for arg, call := range calls {
		for _, id := range badSegments {
			err := call(id)
			var bad *ArgumentError
			if !errors.As(err, &bad) || bad.Arg != arg {
				t.Errorf("%s %q: %v, want an ArgumentError that names it", arg, id, err)
			} else if id != "" && id != "." && id != "/" && id != ".." && strings.Contains(err.Error(), id) {
				t.Errorf("%s %q: the error repeats the value: %v", arg, id, err)
			}
		}
	}
	var bad *ArgumentError
	if _, err := c.Agents.Trigger(ctx, "a/b", TriggerRequest{Message: "x"}); !errors.As(err, &bad) {
		t.Errorf("trigger: %v", err)
	}
	for _, err := range c.Runs.WaitAll(ctx, []string{"..", "a/b"}) {
		if !errors.As(err, &bad) {
			t.Errorf("wait: %v", err)
		}
	}
	if _, err := c.Runs.Wait(ctx, ".."); !errors.As(err, &bad) {
		t.Errorf("wait: %v", err)
	}
}

func FuzzPathArgument(f *testing.F) {
	for _, seed := range append([]string{"support", "a b", "ü", "50%", "%zz", "a?b#c", "a;b=c", "%41", "a%20b", "+", "a:b@c"}, badSegments...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		var sent []*http.Request
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			sent = append(sent, r)
			return respond(200, `{"traces": [], "status": "completed"}`), nil
		})
		_, err := c.Runs.Get(context.Background(), id)
		if len(sent) == 0 {
			var bad *ArgumentError
			if !errors.As(err, &bad) {
				t.Fatalf("%q: no request and no ArgumentError: %v", id, err)
			}
			return
		}
		// What is seen by a server that decodes before it routes, and by one
		// that decodes twice.
		line := sent[0].URL.RequestURI()
		parsed, err := url.ParseRequestURI(line)
		if err != nil {
			t.Fatalf("%q made the request line %q: %v", id, line, err)
		}
		if parsed.RawQuery != "" || parsed.Fragment != "" {
			t.Fatalf("%q leaves the path: %q", id, line)
		}
		seen := parsed.Path
		if got := strings.TrimPrefix(seen, "/v1/projects/p/runs/"); got != id {
			t.Fatalf("%q arrives as %q", id, got)
		}
		for range 3 {
			segments := strings.Split(strings.TrimPrefix(seen, "/"), "/")
			if len(segments) != 5 || segments[4] == "." || segments[4] == ".." || segments[4] == "" {
				t.Fatalf("%q arrives as the segments %q", id, segments)
			}
			decoded, err := url.PathUnescape(seen)
			if err != nil {
				break
			}
			seen = decoded
		}
	})
}

func TestEscapedPaths(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"support":    "/v1/projects/p/runs/support",
		"a b":        "/v1/projects/p/runs/a%20b",
		"ü":          "/v1/projects/p/runs/%C3%BC",
		"50%":        "/v1/projects/p/runs/50%25",
		"a?b#c":      "/v1/projects/p/runs/a%3Fb%23c",
		"%41":        "/v1/projects/p/runs/%2541",
		"a:b@c+d=e$": "/v1/projects/p/runs/a:b@c+d=e$",
	} {
		var got string
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			got = r.URL.RequestURI()
			return respond(200, `{"id": `+strconv.Quote(id)+`}`), nil
		})
		if _, err := c.Runs.Get(t.Context(), id); err != nil || got != want {
			t.Errorf("%q became %q (%v), want %q", id, got, err, want)
		}
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	var sent *http.Request
	var body string
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		sent, body = r, ""
		if r.Body != nil {
			b, _ := io.ReadAll(r.Body)
			body = string(b)
		}
		return respond(200, `{"note": "hello", "extra": 1}`), nil
	})
	ctx := t.Context()
	var out struct{ Note string }
	err := c.Do(ctx, "POST", "/runs/r%201/notes", url.Values{"b": {"2"}, "a": {"1", "x y"}}, map[string]string{"text": "hi"}, &out)
	if err != nil || out.Note != "hello" {
		t.Errorf("Do: %v, %+v", err, out)
	}
	if got := sent.Method + " " + sent.URL.String() + " " + body; got != `POST https://api.connic.co/v1/projects/p/runs/r%25201/notes?a=1&a=x+y&b=2 {"text":"hi"}` {
		t.Errorf("it sent %s", got)
	}
	var raw json.RawMessage
	if err := c.Do(ctx, "GET", "/runs/", nil, nil, &raw); err != nil || string(raw) != `{"note": "hello", "extra": 1}` {
		t.Errorf("raw: %v, %s", err, raw)
	}
	if got := sent.URL.Path; got != "/v1/projects/p/runs/" {
		t.Errorf("the trailing slash is lost: %s", got)
	}
	if err := c.Do(ctx, "DELETE", "", nil, nil, nil); err != nil || sent.URL.Path != "/v1/projects/p" {
		t.Errorf("empty path: %v, %s", err, sent.URL.Path)
	}
	sent = nil
	for name, call := range map[string]func() error{
		"method":        func() error { return c.Do(ctx, "TRACE", "/runs", nil, nil, nil) },
		"no slash":      func() error { return c.Do(ctx, "GET", "runs", nil, nil, nil) },
		"query in path": func() error { return c.Do(ctx, "GET", "/runs?x=1", nil, nil, nil) },
		"placeholder":   func() error { return c.Do(ctx, "GET", "/{project}", nil, nil, nil) },
		"dots":          func() error { return c.Do(ctx, "GET", "/runs/../../other", nil, nil, nil) },
		"empty segment": func() error { return c.Do(ctx, "GET", "/runs//x", nil, nil, nil) },
		"unencodable":   func() error { return c.Do(ctx, "POST", "/runs", nil, make(chan int), nil) },
		"nil context":   func() error { return c.Do(nil, "GET", "/runs", nil, nil, nil) }, //nolint:staticcheck // that is the point
	} {
		var bad *ArgumentError
		if err := call(); !errors.As(err, &bad) || sent != nil {
			t.Errorf("%s: %v, want an ArgumentError and no request", name, err)
		}
	}
}

func TestRequestOptions(t *testing.T) {
	t.Parallel()
	var sent *http.Request
	c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
		sent = r
		resp := respond(200, `{"id": "r1", "status": "completed", "brand_new": true}`)
		resp.Header.Set("X-Request-Id", "req-7")
		return resp, nil
	}, WithApplication("app", "1.2"))
	var captured Response
	_, err := c.Runs.Get(t.Context(), "r1", WithHeader("x-trace", "abc"), WithQuery("expand", "traces"), WithQuery("expand", "x"),
		CaptureResponse(&captured), nil)
	if err != nil {
		t.Fatal(err)
	}
	if sent.Header.Get("X-Trace") != "abc" || sent.URL.RawQuery != "expand=traces&expand=x" {
		t.Errorf("it sent %v, %s", sent.Header, sent.URL)
	}
	if got := sent.Header.Get("User-Agent"); !strings.HasPrefix(got, "app/1.2 connic-go/"+Version+" (go1.") {
		t.Errorf("the User-Agent is %q", got)
	}
	if captured.StatusCode != 200 || captured.RequestID != "req-7" || captured.Attempts != 1 || !strings.Contains(string(captured.Body), "brand_new") {
		t.Errorf("captured: %+v", captured)
	}
	sent = nil
	for name, opt := range map[string]RequestOption{
		"authorization":   WithHeader("authorization", "Bearer x"),
		"host":            WithHeader("Host", "x"),
		"idempotency key": WithHeader("idempotency-key", "x"),
		"line break":      WithHeader("X-A", "a\r\nX-B: b"),
		"control":         WithHeader("X-A", "a\x00"),
		"name":            WithHeader("X A", "a"),
		"empty name":      WithHeader("", "a"),
	} {
		var bad *ArgumentError
		if _, err := c.Runs.Get(t.Context(), "r1", opt); !errors.As(err, &bad) || sent != nil {
			t.Errorf("%s: %v, want an ArgumentError and no request", name, err)
		}
	}
}

func TestReadOnlyAndClosed(t *testing.T) {
	t.Parallel()
	sent := 0
	c := newTestClient(t, func(*http.Request) (*http.Response, error) {
		sent++
		return respond(200, `{"id": "r", "items": []}`), nil
	}, WithReadOnly())
	_, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "x"})
	var bad *ArgumentError
	if !errors.Is(err, ErrReadOnly) || !errors.As(err, &bad) || sent != 0 {
		t.Errorf("trigger: %v after %d requests", err, sent)
	}
	if err := c.Runs.Delete(t.Context(), "r"); !errors.Is(err, ErrReadOnly) || sent != 0 {
		t.Errorf("delete: %v after %d requests", err, sent)
	}
	if _, err := c.Runs.Get(t.Context(), "r"); err != nil || sent != 1 {
		t.Errorf("get: %v after %d requests", err, sent)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Runs.Get(t.Context(), "r"); !errors.Is(err, ErrClosed) || sent != 1 {
		t.Errorf("closed: %v after %d requests", err, sent)
	}
}

func TestTriggerBodies(t *testing.T) {
	t.Parallel()
	for want, req := range map[string]TriggerRequest{
		`{"message":"a"}`:                 {Message: "a"},
		`{"message":"a","k":1}`:           {Message: "a", Payload: map[string]int{"k": 1}},
		`{"message":"a"} `:                {Message: "a", Payload: struct{}{}},
		`{"k":1}`:                         {Payload: map[string]int{"k": 1}},
		`{"message":{"not":"ours"}}`:      {Payload: map[string]any{"message": map[string]string{"not": "ours"}}},
		`[1,2]`:                           {Payload: []int{1, 2}},
		`"text"`:                          {Payload: "text"},
		`5`:                               {Payload: 5},
		`{"message":"\"\\","k":"\u0026"}`: {Message: `"\`, Payload: map[string]string{"k": "&"}},
	} {
		got, err := req.encode()
		if err != nil || string(got) != strings.TrimSpace(want) {
			t.Errorf("%+v is sent as %s, %v; want %s", req, got, err, want)
		}
	}
}

func TestTriggerArguments(t *testing.T) {
	t.Parallel()
	c := newTestClient(t, func(*http.Request) (*http.Response, error) {
		t.Error("a request left the process")
		return nil, errors.New("refused")
	})
	for name, req := range map[string]TriggerRequest{
		"empty":             {},
		"payload list":      {Message: "a", Payload: []int{1}},
		"payload text":      {Files: []File{{Name: "a", MIMEType: "text/plain", Data: nil}}, Payload: "text"},
		"payload number":    {Message: "a", Payload: 5},
		"payload null":      {Payload: json.RawMessage("null")},
		"payload nil map":   {Payload: map[string]any(nil)},
		"payload channel":   {Payload: make(chan int)},
		"payload raw":       {Payload: json.RawMessage(`{"a":`)},
		"message twice":     {Message: "a", Payload: map[string]any{"message": "b"}},
		"files twice":       {Files: []File{{Name: "a", MIMEType: "text/plain", Data: nil}}, Payload: map[string]any{"files": 1}},
		"file without name": {Files: []File{{Name: "", MIMEType: "text/plain", Data: nil}}},
		"file without type": {Files: []File{{Name: "a", MIMEType: "", Data: nil}}},
	} {
		var bad *ArgumentError
		if _, err := c.Agents.Trigger(t.Context(), "support", req); !errors.As(err, &bad) {
			t.Errorf("%s: %v, want an ArgumentError", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Agents.Trigger(ctx, "support", TriggerRequest{Message: "x"})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("cancelled: %v", err)
	}
}
