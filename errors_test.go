package connic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

func TestS6EveryErrorBodyBecomesAnError(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 600)
	tests := map[string]struct {
		body   string
		detail string
		fields []FieldError
	}{
		"string":       {body: `{"detail": "Run not found"}`, detail: "Run not found"},
		"validation":   {`{"detail": [{"loc": ["body", "files", 0, "name"], "msg": "field required", "type": "missing"}, {"loc": ["query", "limit"], "msg": "too large", "type": "lt"}]}`, "body.files.0.name: field required; query.limit: too large", []FieldError{{"body.files.0.name", "field required", "missing"}, {"query.limit", "too large", "lt"}}},
		"mixed list":   {`{"detail": ["a", {"msg": "b"}, {"loc": ["x"], "msg": "c"}, 5, null, {"loc": [null, true], "msg": "d"}]}`, "a; b; x: c; 5; null; ?.?: d", []FieldError{{Loc: "x", Msg: "c"}, {Loc: "?.?", Msg: "d"}}},
		"object":       {body: `{"detail": {"message": "quota gone", "code": 7}}`, detail: "quota gone"},
		"other object": {body: `{"detail": {"code": 7}}`, detail: `{"code": 7}`},
		"nested":       {body: `{"detail": {"detail": {"detail": "deep"}}}`, detail: "deep"},
		"null":         {body: `{"detail": null}`},
		"null message": {body: `{"detail": null, "message": "other"}`, detail: "other"},
		"number":       {body: `{"detail": 42}`, detail: "42"},
		"bool":         {body: `{"detail": false}`, detail: "false"},
		"missing":      {body: `{"status": 404}`},
		"error key":    {body: `{"error": "unauthorized"}`, detail: "unauthorized"},
		"error object": {body: `{"error": {"message": "nope"}}`, detail: "nope"},
		"empty list":   {body: `{"detail": []}`},
		"HTML":         {body: "<html><head><title>502 Bad\n Gateway</title></head><body>nginx</body></html>", detail: "502 Bad Gateway"},
		"HTML heading": {body: "<html><h1>Sorry</h1></html>", detail: "Sorry"},
		"bare HTML":    {body: "<html><body>hm</body></html>", detail: "the response is an HTML page"},
		"odd HTML":     {body: "<title>", detail: "the response is an HTML page"},
		"text":         {body: "upstream\r\nconnect error", detail: "upstream connect error"},
		"empty":        {},
		"blank":        {body: " \n "},
		"BOM":          {body: "\ufeff" + `{"detail": "marked"}`, detail: "marked"},
		"broken JSON":  {body: `{"detail": "cut o`, detail: `{"detail": "cut o`},
		"list":         {body: `["a"]`, detail: `["a"]`},
		"long":         {body: `{"detail": "` + long + `"}`, detail: long[:499] + "…"},
		"binary":       {body: "\xff\xfe\x00", detail: `�\x00`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, status := range []int{400, 401, 403, 404, 409, 418, 422, 501} {
				c := newTestClient(t, func(*http.Request) (*http.Response, error) {
					resp := respond(status, test.body)
					resp.Header.Set("Content-Type", "text/html")
					resp.Header.Set("X-Request-Id", "req-1")
					return resp, nil
				})
				_, err := c.Runs.Get(t.Context(), "r1")
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("%d: %v is no *Error", status, err)
				}
				if e.StatusCode != status || e.Detail != test.detail || !reflect.DeepEqual(e.Fields, test.fields) {
					t.Errorf("%d: %d, detail %q, fields %+v; want %q, %+v", status, e.StatusCode, e.Detail, e.Fields, test.detail, test.fields)
				}
				if e.Op != "runs.get" || e.Method != "GET" || e.Path != "/v1/projects/p/runs/r1" || e.RequestID != "req-1" || e.Attempts != 1 ||
					e.Section != "runs" || e.Access != "read" || string(e.Body) != strings.TrimPrefix(test.body, "\ufeff") {
					t.Errorf("%d: %+v", status, e)
				}
			}
		})
	}
}

func FuzzErrorBody(f *testing.F) {
	for _, seed := range []string{
		`{"detail": "x"}`, `{"detail": [{"loc": ["a", 1], "msg": "m", "type": "t"}]}`, `{"detail": {"detail": []}}`, `<html><title>x</title>`,
		`{"detail": [[[["deep"]]]]}`, "\ufeff{}", `{"detail": "cnc_secret123"}`, "<TITLE>İ</TITLE>",
	} {
		f.Add(seed, 400)
	}
	f.Fuzz(func(t *testing.T, body string, status int) {
		if status < 300 || status > 599 {
			status = 300 + (status%300+300)%300
		}
		c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(status, body), nil })
		_, err := c.Runs.Get(t.Context(), "r1", WithMaxAttempts(1), FailFast())
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%d: %v", status, err)
		}
		if e.StatusCode != status || utf8.RuneCountInString(e.Detail) > maxDetail {
			t.Fatalf("%d, %d characters", e.StatusCode, utf8.RuneCountInString(e.Detail))
		}
		for _, text := range []string{e.Error(), e.Detail, string(e.Body), fmt.Sprintf("%+v", e)} {
			if masked := mask.Text(text); masked != text {
				t.Fatalf("a key shows: %q becomes %q", text, masked)
			}
		}
	})
}

func TestErrorClasses(t *testing.T) {
	t.Parallel()
	sentinels := map[error]func(status int) bool{
		ErrBadRequest:   func(s int) bool { return s == 400 },
		ErrUnauthorized: func(s int) bool { return s == 401 },
		ErrForbidden:    func(s int) bool { return s == 403 },
		ErrNotFound:     func(s int) bool { return s == 404 },
		ErrConflict:     func(s int) bool { return s == 409 },
		ErrInvalid:      func(s int) bool { return s == 422 },
		ErrRateLimited:  func(s int) bool { return s == 429 },
		ErrServer:       func(s int) bool { return s >= 500 },
	}
	for status := 300; status < 600; status++ {
		err := error(&Error{StatusCode: status})
		for sentinel, want := range sentinels {
			if errors.Is(err, sentinel) != want(status) {
				t.Errorf("%d matches %v: %v", status, sentinel, !want(status))
			}
		}
		if errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d matches too much", status)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection reset by peer")
	last := &Error{Op: "runs.get", StatusCode: 503, Attempts: 2}
	for want, err := range map[string]error{
		"connic: agents.trigger: 403 Forbidden: Key lacks permission (needs agents write)":      &Error{Op: "agents.trigger", StatusCode: 403, Detail: "Key lacks permission", Section: "agents", Access: "write"},
		"connic: runs.get: 404 Not Found":                                                       &Error{Op: "runs.get", StatusCode: 404, Section: "runs", Access: "read", Attempts: 1},
		"connic: runs.get: 429 Too Many Requests (retry after 3m0s)":                            &Error{Op: "runs.get", StatusCode: 429, RetryAfter: 3 * time.Minute},
		"connic: runs.get: 599 after 4 attempts":                                                &Error{Op: "runs.get", StatusCode: 599, Attempts: 4},
		"connic: agents.trigger: 500 Internal Server Error; the request may have been executed": &Error{Op: "agents.trigger", StatusCode: 500, unknown: true},
		"connic: do: 302 Found: redirects are not followed; this one leads to https://x/y":      &Error{Op: "do", StatusCode: 302, Location: "https://x/y"},
		"connic: New: API key is empty":                                                         &ArgumentError{Op: "connic.New", Arg: "API key", Reason: "is empty"},
		"connic: runs.get: connection reset by peer after 3 attempts; the last response was: connic: runs.get: 503 Service Unavailable after 2 attempts": &TransportError{Op: "runs.get", Err: cause, Attempts: 3, Last: last},
		"connic: agents.trigger: connection reset by peer; the request may have been executed":                                                           &TransportError{Op: "agents.trigger", Err: cause, unknown: true},
		"connic: runs.get: not sent, refused by the client's own rate limit: enough (its turn comes in 1.5s)":                                            &LimitError{Op: "runs.get", Reason: "enough", Wait: 1500 * time.Millisecond},
		"connic: runs.get: the response with status 200 cannot be decoded: cost: not a number after 2 attempts":                                          &DecodeError{Op: "runs.get", StatusCode: 200, Attempts: 2, Err: &lenient.FieldError{Field: "cost", Err: errors.New("not a number")}},
		"connic: run r1 of agent support ended: failed: boom":                                                                                            &RunError{Run: &Run{ID: "r1", AgentName: "support", Status: RunFailed, Error: "boom"}},
		"connic: run r1 has the unknown status paused":                                                                                                   &RunError{Run: &Run{ID: "r1", Status: "paused"}},
		"connic: run r1 was returned without a status":                                                                                                   &RunError{Run: &Run{ID: "r1"}},
		"connic: waiting for run r1 and 2 more (last seen: running): context canceled":                                                                   &WaitError{Kind: "run", ID: "r1", Pending: []string{"r1", "r2", "r3"}, LastStatus: "running", Err: context.Canceled},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	wrapped := fmt.Errorf("outer: %w", &TransportError{Err: cause, Last: last, unknown: true})
	var e *Error
	if !errors.Is(wrapped, cause) || !errors.As(wrapped, &e) || !errors.Is(wrapped, ErrServer) || !errors.Is(wrapped, ErrOutcomeUnknown) {
		t.Error("the chain of a TransportError is broken")
	}
	if errors.Is(&TransportError{Err: cause}, ErrOutcomeUnknown) || errors.Is(&DecodeError{Err: cause}, ErrOutcomeUnknown) {
		t.Error("an outcome is unknown without a reason")
	}
	if !errors.Is(&RunError{Run: &Run{Status: "paused"}}, ErrUnknownStatus) || errors.Is(&RunError{Run: &Run{Status: RunFailed}}, ErrUnknownStatus) {
		t.Error("ErrUnknownStatus is wrong")
	}
}

func TestErrorAsLogAndJSON(t *testing.T) {
	t.Parallel()
	e := &Error{Op: "runs.get", StatusCode: 404, Detail: "Run not found", RequestID: "req-1", Attempts: 1, Body: []byte("large")}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "err", e)
	if got := b.String(); !strings.Contains(got, `err="connic: runs.get: 404 Not Found: Run not found (request req-1)"`) || strings.Contains(got, "large") {
		t.Errorf("it is logged as %s", got)
	}
	if _, err := json.Marshal(e); err != nil {
		t.Error(err)
	}
}
