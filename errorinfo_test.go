package connic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
)

// everyError returns an empty, hand-made error of each type.
func everyError() []error {
	return []error{
		&Error{}, &ArgumentError{}, &TransportError{}, &LimitError{}, &DecodeError{}, &WaitError{}, &RunError{}, &JobError{},
		&EvaluationError{}, &DeploymentError{}, &TestRunError{}, &DevSessionError{},
	}
}

func TestErrorsMadeByHandDoNotPanic(t *testing.T) {
	t.Parallel()
	for _, err := range everyError() {
		if !strings.HasPrefix(err.Error(), "connic: ") {
			t.Errorf("%T is %q", err, err)
		}
		_ = errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, ErrUnknownStatus) || errors.Is(err, http.ErrNoCookie)
		_, _ = Describe(err)
	}
}

// Text from the service, an agent or a caller in an error cannot forge a log
// line or control a terminal.
func TestErrorsAreOneSafeLine(t *testing.T) {
	t.Parallel()
	const evil = "x\x1b[2J\r\nlevel=INFO msg=forged \u202e\u2028y"
	cause := errors.New(evil)
	for _, err := range []error{
		&Error{Op: evil, Detail: evil, RequestID: evil, Location: evil, StatusCode: 302}, &ArgumentError{Op: evil, Arg: evil, Reason: evil},
		&TransportError{Op: evil, Err: cause, Last: &Error{Detail: evil}}, &LimitError{Op: evil, Reason: evil}, &DecodeError{Op: evil, Err: cause, RequestID: evil},
		&WaitError{Kind: evil, ID: evil, LastStatus: evil, Err: cause},
		&RunError{Run: &Run{ID: evil, AgentName: evil, Status: evil, Error: evil}}, &JobError{Job: &Job{ID: evil, EntryID: evil, Status: evil, Error: evil}},
		&EvaluationError{Evaluation: &Evaluation{ID: evil, RunID: evil, Status: evil, Error: evil}},
		&DeploymentError{Deployment: &Deployment{ID: evil, Status: evil, Phase: evil, Error: evil}},
		&TestRunError{TestRun: &TestRun{ID: evil, Error: evil, Cases: []TestCase{{AgentName: evil, TestName: evil, FailureReason: evil}}}},
		&DevSessionError{Session: &DevSession{ID: evil}},
	} {
		if text := err.Error(); strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == 0x202e || r == 0x2028 }) || !strings.Contains(text, `\x1b[2J`) {
			t.Errorf("%T is %q", err, text)
		}
	}
	// The same holds for the fields that the client extracts from a response.
	resp := respond(302, `{"detail": [{"loc": ["a\u001b[0m"], "msg": "b\nc", "type": "\u202e"}]}`)
	resp.Header.Set("Location", "https://elsewhere/"+strings.Repeat("x", 4096))
	resp.Header.Set("X-Request-Id", "r\x1b["+strings.Repeat("y", 4096))
	c := newTestClient(t, func(*http.Request) (*http.Response, error) { return resp, nil })
	_, err := c.Runs.Get(t.Context(), "r1")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e.Detail != `a\x1b[0m: b c` || len(e.Location) > 4*maxID || len(e.RequestID) > 4*maxID || strings.Contains(e.RequestID, "\x1b") ||
		fmt.Sprint(e.Fields) != `[{a\x1b[0m b c \u202e}]` || !strings.Contains(e.Error(), "(r1, request r") {
		t.Errorf("%#v", e)
	}
}

// An error has the same text directly, wrapped, in slog's handlers and in JSON.
func TestErrorsHaveOneForm(t *testing.T) {
	t.Parallel()
	for _, err := range append(everyError(), &Error{Op: "runs.get", StatusCode: 403, Section: "runs", Access: "read", unknown: true}) {
		var direct, wrapped bytes.Buffer
		noTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		slog.New(slog.NewJSONHandler(&direct, noTime)).Info("m", "err", err)
		slog.New(slog.NewJSONHandler(&wrapped, noTime)).Info("m", "err", fmt.Errorf("%w", err))
		if direct.String() != wrapped.String() {
			t.Errorf("%T is logged as %s and as %s", err, direct.String(), wrapped.String())
		}
		encoded, jsonErr := json.Marshal(map[string]any{"err": err})
		var back map[string]string
		if jsonErr != nil || json.Unmarshal(encoded, &back) != nil || back["err"] != err.Error() {
			t.Errorf("%T is encoded as %s, %v", err, encoded, jsonErr)
		}
	}
	text := (&Error{Op: "runs.get", StatusCode: 403, Section: "runs", Access: "read", unknown: true}).Error()
	if !strings.Contains(text, "needs runs read") || !strings.Contains(text, "may have been executed") {
		t.Error(text)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	answer := &Error{Op: "runs.get", StatusCode: 503, RequestID: "q1", Attempts: 2, RetryAfter: time.Second}
	for name, c := range map[string]struct {
		err  error
		want ErrorInfo
		ok   bool
	}{
		"nil":       {nil, ErrorInfo{}, false},
		"foreign":   {errors.New("x"), ErrorInfo{}, false},
		"answer":    {fmt.Errorf("outer: %w", answer), ErrorInfo{"runs.get", 503, "q1", 2, false, time.Second, nil}, true},
		"transport": {&TransportError{Op: "agents.trigger", Attempts: 3, Err: errors.New("x"), Last: answer, unknown: true}, ErrorInfo{"agents.trigger", 503, "q1", 3, true, time.Second, nil}, true},
		"limit":     {&LimitError{Op: "runs.list", Wait: time.Minute, Last: answer}, ErrorInfo{"runs.list", 503, "q1", 2, false, time.Minute, nil}, true},
		"decode":    {&WaitError{Err: &DecodeError{Op: "runs.get", StatusCode: 200, RequestID: "q2", Attempts: 1}}, ErrorInfo{"runs.get", 200, "q2", 1, false, 0, nil}, true},
		"argument":  {&ArgumentError{Op: "runs.get"}, ErrorInfo{Op: "runs.get"}, true},
	} {
		if got, ok := Describe(c.err); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
		wait, ok := RetryAfter(c.err)
		if wait != c.want.RetryAfter || ok != (c.want.RetryAfter > 0) {
			t.Errorf("%s: retry after %v, %v", name, wait, ok)
		}
	}
}
