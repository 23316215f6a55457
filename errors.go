package connic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

// sentinel is a constant error, so that nobody can assign to one.
type sentinel string

func (s sentinel) Error() string { return string(s) }

// Classes of errors, for [errors.Is]. The error itself is always one of the
// types below and carries the details.
const (
	ErrBadRequest   = sentinel("connic: bad request")         // 400
	ErrUnauthorized = sentinel("connic: unauthorized")        // 401: missing or invalid key
	ErrForbidden    = sentinel("connic: forbidden")           // 403: missing permission, or not a public endpoint
	ErrNotFound     = sentinel("connic: not found")           // 404
	ErrConflict     = sentinel("connic: conflict")            // 409
	ErrInvalid      = sentinel("connic: invalid")             // 422
	ErrRateLimited  = sentinel("connic: rate limited")        // 429, and calls that the client refused for its own limit
	ErrServer       = sentinel("connic: server error")        // 5xx
	ErrTooLarge     = sentinel("connic: response too large")  // the answer exceeds WithMaxResponseBytes
	ErrPageLoop     = sentinel("connic: pages repeat")        // a list does not come to an end
	ErrReadOnly     = sentinel("connic: client is read-only") // WithReadOnly
	ErrClosed       = sentinel("connic: client is closed")    // the call came after Close

	// ErrOutcomeUnknown marks the failure of an operation that must not be
	// repeated blindly: the request may have been executed, and no answer came
	// back that says so. Look before you repeat it: list the recent runs of the
	// agent, for example.
	ErrOutcomeUnknown = sentinel("connic: outcome unknown: the request may have been executed")

	// ErrUnknownStatus marks the end of a wait in a status that this version of
	// the package does not know.
	ErrUnknownStatus = sentinel("connic: unknown status")
)

// Error is an answer of the service with a status of 300 or more.
type Error struct {
	Op         string // the operation: "agents.trigger"
	Method     string // the HTTP method
	Path       string // the path of the request, without the query
	StatusCode int
	// Detail is the service's explanation as one text: at most 500 characters.
	Detail string
	// Fields holds the single complaints where the service listed them.
	Fields []FieldError
	// Section and Access name the permission that the operation needs, from the
	// operation table: "agents" and "write".
	Section, Access string
	RequestID       string // from the response's X-Request-Id header, if any
	// RetryAfter is how long the service asked to wait; 0 if it did not.
	RetryAfter time.Duration
	Attempts   int // how often the request was sent
	// Location is the target of a refused redirect, without query or user.
	Location string
	// Body is the body of the answer, at most 64 KiB, with API keys masked.
	Body []byte

	unknown bool // the operation may have been executed
}

// FieldError is one complaint of a validation error.
type FieldError struct {
	Loc  string // where: "body.files.0.name"
	Msg  string // what is wrong
	Type string // the service's code for it: "string_too_short"
}

// Error describes the failure in one sentence.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connic: %s: %d", e.Op, e.StatusCode)
	if text := http.StatusText(e.StatusCode); text != "" {
		b.WriteString(" " + text)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.StatusCode == http.StatusForbidden && e.Section != "" {
		fmt.Fprintf(&b, " (needs %s %s)", e.Section, e.Access)
	}
	if e.Location != "" {
		b.WriteString(": redirects are not followed; this one leads to " + e.Location)
	}
	if e.StatusCode == http.StatusTooManyRequests && e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (retry after %v)", e.RetryAfter)
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " after %d attempts", e.Attempts)
	}
	if e.unknown {
		b.WriteString("; the request may have been executed")
	}
	return b.String()
}

// Is matches the sentinel of the status, and [ErrOutcomeUnknown] where it holds.
func (e *Error) Is(target error) bool {
	s, ok := target.(sentinel)
	if !ok {
		return false
	}
	switch s {
	case ErrBadRequest:
		return e.StatusCode == http.StatusBadRequest
	case ErrUnauthorized:
		return e.StatusCode == http.StatusUnauthorized
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound
	case ErrConflict:
		return e.StatusCode == http.StatusConflict
	case ErrInvalid:
		return e.StatusCode == http.StatusUnprocessableEntity
	case ErrRateLimited:
		return e.StatusCode == http.StatusTooManyRequests
	case ErrServer:
		return e.StatusCode >= 500
	case ErrOutcomeUnknown:
		return e.unknown
	default:
		return false
	}
}

// LogValue implements [slog.LogValuer]. It leaves out the body.
func (e *Error) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("op", e.Op), slog.Int("status", e.StatusCode), slog.String("detail", e.Detail),
		slog.String("request_id", e.RequestID), slog.Int("attempts", e.Attempts),
	)
}

// ArgumentError is a call that was refused before anything was sent.
type ArgumentError struct {
	Op  string // the operation or function
	Arg string // the argument
	// Reason completes the sentence that begins with the argument's name. It
	// does not repeat the argument's value.
	Reason string

	err error
}

func (e *ArgumentError) Error() string {
	op := strings.TrimPrefix(e.Op, "connic.")
	return "connic: " + op + ": " + e.Arg + " " + e.Reason
}

// Unwrap returns the cause, where there is one: [ErrReadOnly], or the error of a
// file that cannot be read.
func (e *ArgumentError) Unwrap() error { return e.err }

// TransportError is a call that got no usable answer: the connection failed, an
// attempt took too long, or the context ended. [errors.Is] sees the cause, and
// [ErrOutcomeUnknown] where an unsafe request may have been executed.
type TransportError struct {
	Op, Method, Path string
	Attempts         int   // how often the request was, or may have been, sent
	Err              error // the cause
	// Last is the last answer with an error status before the call ended, nil if
	// there was none.
	Last *Error

	unknown bool
}

func (e *TransportError) Error() string {
	var b strings.Builder
	// Proxies, and key sources, have put keys into their errors.
	b.WriteString("connic: " + e.Op + ": " + mask.Text(e.Err.Error()))
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " after %d attempts", e.Attempts)
	}
	if e.Last != nil {
		b.WriteString("; the last answer was: " + e.Last.Error())
	}
	if e.unknown {
		b.WriteString("; the request may have been executed")
	}
	return b.String()
}

// Is matches [ErrOutcomeUnknown] where it holds.
func (e *TransportError) Is(target error) bool { return target == ErrOutcomeUnknown && e.unknown }

// Unwrap returns the cause and the last answer.
func (e *TransportError) Unwrap() []error {
	if e.Last == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Last}
}

// LimitError is a call that the client itself refused, because its turn under
// the rate limit would not come in time. Nothing was sent by the refused
// attempt. It matches [ErrRateLimited], and [context.DeadlineExceeded] where a
// deadline is the reason.
type LimitError struct {
	Op     string
	Wait   time.Duration // how long the attempt would have waited, at least
	Reason Reason
	// Last is the answer with status 429 that the call got before, nil if none.
	Last *Error

	// Deadline is set where the context's deadline is the reason.
	Deadline bool
}

func (e *LimitError) Error() string {
	s := "connic: " + e.Op + ": not sent, refused by the client's own rate limit: "
	if e.Deadline {
		s += "the deadline comes first; "
	}
	s += string(e.Reason)
	if e.Wait > 0 {
		s += fmt.Sprintf(" (its turn comes in %v)", e.Wait.Round(time.Millisecond))
	}
	if e.Last != nil {
		s += "; the last answer was: " + e.Last.Error()
	}
	return s
}

// Is matches [ErrRateLimited] and, where a deadline is the reason,
// [context.DeadlineExceeded].
func (e *LimitError) Is(target error) bool {
	return target == ErrRateLimited || (e.Deadline && target == context.DeadlineExceeded)
}

// Unwrap returns the last answer, if there is one.
func (e *LimitError) Unwrap() error {
	if e.Last == nil {
		return nil
	}
	return e.Last
}

// DecodeError is a successful answer that could not be decoded.
type DecodeError struct {
	Op         string
	StatusCode int
	Field      string // the field, where one is to blame: "items[3].cost"
	RequestID  string
	Attempts   int
	Body       []byte // the beginning of the body, at most 512 bytes, with API keys masked
	Err        error

	unknown bool
}

func (e *DecodeError) Error() string {
	s := fmt.Sprintf("connic: %s: the answer with status %d cannot be decoded: %v", e.Op, e.StatusCode, e.Err)
	if e.Attempts > 1 {
		s += fmt.Sprintf(" after %d attempts", e.Attempts)
	}
	if e.unknown {
		s += "; the request may have been executed"
	}
	return s
}

// Is matches [ErrOutcomeUnknown] where it holds.
func (e *DecodeError) Is(target error) bool { return target == ErrOutcomeUnknown && e.unknown }

// Unwrap returns the decoder's error.
func (e *DecodeError) Unwrap() error { return e.Err }

const (
	maxDetail    = 500 // characters of Error.Detail
	maxErrorBody = 64 << 10
)

// parseError makes the *Error of an answer. Body is not kept.
func parseError(op *api.Operation, method, path string, resp *http.Response, body []byte) *Error {
	e := &Error{
		Op: op.Name, Method: method, Path: mask.Text(path), StatusCode: resp.StatusCode,
		Section: op.Section, Access: op.Access,
		RequestID:  mask.Text(requestID(resp.Header)),
		RetryAfter: retryAfter(resp.Header, time.Now()),
	}
	if len(body) == 0 {
		return e
	}
	kept := body[:min(len(body), maxErrorBody)]
	e.Body = mask.Bytes(kept)
	e.Detail, e.Fields = parseDetail(e.Body)
	return e
}

func requestID(h http.Header) string {
	for _, name := range [...]string{"X-Request-Id", "X-Correlation-Id", "Cf-Ray"} {
		if id := h[name]; len(id) > 0 {
			return id[0]
		}
	}
	return ""
}

// parseDetail finds the explanation in the body of an error. It accepts a
// "detail" of any JSON type, the keys that other frameworks use in its place,
// and bodies that are not JSON at all.
func parseDetail(body []byte) (string, []FieldError) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(body) == 0 {
		return "", nil
	}
	var envelope struct {
		Detail  json.RawMessage `json:"detail"`
		Message json.RawMessage `json:"message"`
		Error   json.RawMessage `json:"error"`
	}
	if body[0] != '{' || json.Unmarshal(body, &envelope) != nil {
		return shorten(plainText(body)), nil
	}
	for _, raw := range [...]json.RawMessage{envelope.Detail, envelope.Message, envelope.Error} {
		if len(raw) > 0 && string(raw) != "null" {
			text, fields := flatten(raw)
			return shorten(text), fields
		}
	}
	return "", nil
}

// flatten turns any JSON value into a text, and a list of {loc, msg, type} into
// fields as well.
func flatten(raw json.RawMessage) (string, []FieldError) {
	switch raw[0] {
	case '"':
		return lenient.Text(raw), nil
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return string(raw), nil
		}
		var texts []string
		var fields []FieldError
		for _, item := range items {
			if field, ok := parseField(item); ok {
				fields = append(fields, field)
				texts = append(texts, field.Loc+": "+field.Msg)
				continue
			}
			text, inner := flatten(item)
			texts = append(texts, text)
			fields = append(fields, inner...)
		}
		return strings.Join(texts, "; "), fields
	case '{':
		var inner struct {
			Detail  json.RawMessage `json:"detail"`
			Message string          `json:"message"`
			Msg     string          `json:"msg"`
		}
		if json.Unmarshal(raw, &inner) == nil {
			switch {
			case inner.Message != "":
				return inner.Message, nil
			case inner.Msg != "":
				return inner.Msg, nil
			case len(inner.Detail) > 0:
				return flatten(inner.Detail)
			}
		}
	}
	return string(raw), nil
}

func parseField(raw json.RawMessage) (FieldError, bool) {
	var item struct {
		Loc  []any  `json:"loc"`
		Msg  string `json:"msg"`
		Type string `json:"type"`
	}
	if raw[0] != '{' || json.Unmarshal(raw, &item) != nil || item.Msg == "" || len(item.Loc) == 0 {
		return FieldError{}, false
	}
	parts := make([]string, len(item.Loc))
	for i, part := range item.Loc {
		switch p := part.(type) {
		case string:
			parts[i] = p
		case float64:
			parts[i] = strconv.FormatFloat(p, 'f', -1, 64)
		default:
			parts[i] = "?"
		}
	}
	return FieldError{Loc: strings.Join(parts, "."), Msg: item.Msg, Type: item.Type}, true
}

// plainText reduces an HTML page to its title and keeps other texts.
func plainText(body []byte) string {
	if body[0] != '<' {
		return strings.ToValidUTF8(string(body), "�")
	}
	lower := bytes.ToLower(body)
	for _, tag := range [...]string{"title", "h1"} {
		start := bytes.Index(lower, []byte("<"+tag+">"))
		if start < 0 {
			continue
		}
		start += len(tag) + 2
		if end := bytes.Index(lower[start:], []byte("</"+tag)); end > 0 && start+end <= len(body) {
			return strings.ToValidUTF8(strings.TrimSpace(string(body[start:start+end])), "�")
		}
	}
	return "the answer is an HTML page"
}

// shorten cuts a text to maxDetail characters and folds its white space.
func shorten(s string) string {
	s = mask.Text(s)
	if strings.ContainsAny(s, "\r\n\t") {
		s = strings.Join(strings.Fields(s), " ")
	}
	if len(s) <= maxDetail || utf8.RuneCountInString(s) <= maxDetail {
		return s
	}
	runes := []rune(s)
	return string(runes[:maxDetail-1]) + "…"
}
