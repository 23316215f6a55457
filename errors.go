package connic

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

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

	item    string // the path argument: a run's id
	unknown bool   // the operation may have been executed
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
		b.WriteString(": " + shorten(e.Detail))
	}
	b.WriteString(itemText(e.item, e.RequestID))
	if e.StatusCode == http.StatusForbidden && e.Section != "" {
		fmt.Fprintf(&b, " (needs %s %s)", e.Section, e.Access)
	}
	if e.Location != "" {
		b.WriteString(": redirects are not followed; this one leads to " + e.Location)
	}
	if e.StatusCode == http.StatusTooManyRequests && e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (retry after %v)", e.RetryAfter)
	}
	return errorText(&b, e.Attempts, nil, e.unknown)
}

// itemText says what a call was about, and the service's name for it.
func itemText(item, request string) string {
	switch {
	case item != "" && request != "":
		return " (" + item + ", request " + request + ")"
	case item != "":
		return " (" + item + ")"
	case request != "":
		return " (request " + request + ")"
	}
	return ""
}

// errorText ends the text of an error: with how often it was tried, and what is
// left open. It makes the text one safe line.
func errorText(b *strings.Builder, attempts int, last *Error, unknown bool) string {
	if attempts > 1 {
		fmt.Fprintf(b, " after %d attempts", attempts)
	}
	if last != nil {
		b.WriteString("; the last answer was: " + last.Error())
	}
	if unknown {
		b.WriteString("; the request may have been executed")
	}
	return mask.Line(b.String(), maxText)
}

// maxText bounds the text of an error, in characters.
const maxText = 4 << 10

// causeText is the text of an error within another one. Errors that were made by
// hand may have none.
func causeText(err error) string {
	if err == nil {
		return "no cause given"
	}
	return err.Error()
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
	return mask.Line("connic: "+op+": "+e.Arg+" "+e.Reason, maxText)
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

	item    string
	unknown bool
}

func (e *TransportError) Error() string {
	var b strings.Builder
	b.WriteString("connic: " + e.Op + ": " + causeText(e.Err) + itemText(e.item, ""))
	return errorText(&b, e.Attempts, e.Last, e.unknown)
}

// Is matches [ErrOutcomeUnknown] where it holds.
func (e *TransportError) Is(target error) bool { return target == ErrOutcomeUnknown && e.unknown }

// Unwrap returns the cause and the last answer.
func (e *TransportError) Unwrap() []error {
	errs := make([]error, 0, 2)
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	if e.Last != nil {
		errs = append(errs, e.Last)
	}
	return errs
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
	return mask.Line(s, maxText)
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

	item    string
	unknown bool
}

func (e *DecodeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connic: %s: the answer with status %d cannot be decoded: %s%s", e.Op, e.StatusCode, causeText(e.Err), itemText(e.item, e.RequestID))
	return errorText(&b, e.Attempts, nil, e.unknown)
}

// Is matches [ErrOutcomeUnknown] where it holds.
func (e *DecodeError) Is(target error) bool { return target == ErrOutcomeUnknown && e.unknown }

// Unwrap returns the decoder's error.
func (e *DecodeError) Unwrap() error { return e.Err }

// An error is its text wherever it is logged or encoded: in slog and in JSON, by
// itself or wrapped. See [Describe] for its parts.

// MarshalText implements [encoding.TextMarshaler] with what Error returns.
func (e *Error) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler] with what Error returns.
func (e *ArgumentError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler] with what Error returns.
func (e *TransportError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler] with what Error returns.
func (e *LimitError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler] with what Error returns.
func (e *DecodeError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler] with what Error returns.
func (e *WaitError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }
