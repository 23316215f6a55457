package connic

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/problem"
)

// sentinel is a constant error, so that it cannot be assigned to.
type sentinel string

func (s sentinel) Error() string { return string(s) }

// Error classes, for use with [errors.Is]. The error itself always has one of
// the types below, which carries the details.
const (
	ErrBadRequest   = sentinel("connic: bad request")         // 400
	ErrUnauthorized = sentinel("connic: unauthorized")        // 401: missing or invalid key
	ErrForbidden    = sentinel("connic: forbidden")           // 403: missing permission, or not a public endpoint
	ErrNotFound     = sentinel("connic: not found")           // 404
	ErrConflict     = sentinel("connic: conflict")            // 409
	ErrInvalid      = sentinel("connic: invalid")             // 422
	ErrRateLimited  = sentinel("connic: rate limited")        // 429, or refused by the client itself for its own limit
	ErrServer       = sentinel("connic: server error")        // 5xx
	ErrTooLarge     = sentinel("connic: response too large")  // the response exceeds WithMaxResponseBytes
	ErrPageLoop     = sentinel("connic: pages repeat")        // a list does not end, or changes faster than it can be read
	ErrReadOnly     = sentinel("connic: client is read-only") // WithReadOnly
	ErrClosed       = sentinel("connic: client is closed")    // called after Close, or while Drain

	// ErrOutcomeUnknown marks the failure of an operation that must not be
	// repeated blindly: the request may have been executed, but no response
	// confirms it. Check before repeating it, for example by listing the
	// agent's recent runs.
	ErrOutcomeUnknown = sentinel("connic: outcome unknown: the request may have been executed")

	// ErrUnknownStatus marks the end of a wait in a status that this version of
	// the package does not know.
	ErrUnknownStatus = sentinel("connic: unknown status")
)

// An Error is a response with a status of 300 or more.
type Error struct {
	Op         string // the operation: "agents.trigger"
	Method     string // the HTTP method
	Path       string // the path of the request, without the query
	StatusCode int
	// Detail is the service's explanation as a single string of at most 500
	// characters.
	Detail string
	// Fields holds the individual validation errors, if the service listed
	// them.
	Fields []FieldError
	// Section and Access name the permission that the operation needs, such as
	// "agents" and "write", according to the operation table.
	Section, Access string
	RequestID       string // from the response's X-Request-Id header, if any
	// RetryAfter is how long the service asked to wait, or 0.
	RetryAfter time.Duration
	Attempts   int // how often the request was sent
	// Location is the target of a redirect that was not followed, without query
	// or user information.
	Location string
	// Body is the response body, at most 64 KiB, with API keys masked.
	Body []byte

	item        string // the path argument, such as a run's id
	unknown     bool   // the operation may have been executed
	deprecation *Deprecation
}

// A FieldError is one complaint of a validation error.
type FieldError struct {
	Loc  string // where, such as "body.files.0.name"
	Msg  string // what is wrong
	Type string // the service's code, such as "string_too_short"
}

// Error returns a one-line description of the failure.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connic: %s: %d", e.Op, e.StatusCode)
	if text := http.StatusText(e.StatusCode); text != "" {
		b.WriteString(" " + text)
	}
	if e.Detail != "" {
		b.WriteString(": " + mask.Line(e.Detail, maxDetail))
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

// itemText returns the item that a call was about, and the request id of the
// service.
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

// errorText completes the text of an error with the number of attempts and
// whether the outcome is unknown. It returns one safe line.
func errorText(b *strings.Builder, attempts int, last *Error, unknown bool) string {
	if attempts > 1 {
		fmt.Fprintf(b, " after %d attempts", attempts)
	}
	if last != nil {
		b.WriteString("; the last response was: " + last.Error())
	}
	if unknown {
		b.WriteString("; the request may have been executed")
	}
	return mask.Line(b.String(), maxText)
}

// maxText is the maximum length of an error text, in characters.
const maxText = 4 << 10

// causeText returns the text of a wrapped error. An error value that was not
// created by this package may lack one.
func causeText(err error) string {
	if err == nil {
		return "no cause given"
	}
	return err.Error()
}

// Is reports whether target is the sentinel of the status, or
// [ErrOutcomeUnknown] if that applies.
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

// An ArgumentError is returned by a call that was refused before anything was
// sent.
type ArgumentError struct {
	Op  string // the operation or function
	Arg string // the argument
	// Reason completes a sentence that begins with the argument's name. It does
	// not contain the argument's value.
	Reason string

	err error
}

func (e *ArgumentError) Error() string {
	op := strings.TrimPrefix(e.Op, "connic.")
	return mask.Line("connic: "+op+": "+e.Arg+" "+e.Reason, maxText)
}

// Unwrap returns the cause, if any: [ErrReadOnly], or the error from opening or
// reading a file.
func (e *ArgumentError) Unwrap() error { return e.err }

// A TransportError is returned by a call that got no usable response: the
// connection failed, an attempt timed out, or the context ended. [errors.Is]
// matches the cause, and [ErrOutcomeUnknown] if an unsafe request may have been
// executed.
type TransportError struct {
	Op, Method, Path string
	Attempts         int   // how often the request was sent, or may have been
	Err              error // the cause
	// Last is the last error response before the call ended, or nil.
	Last *Error

	item    string
	unknown bool
}

func (e *TransportError) Error() string {
	var b strings.Builder
	b.WriteString("connic: " + e.Op + ": " + causeText(e.Err) + itemText(e.item, ""))
	return errorText(&b, e.Attempts, e.Last, e.unknown)
}

// Is reports whether target is [ErrOutcomeUnknown] and the outcome is unknown.
func (e *TransportError) Is(target error) bool { return target == ErrOutcomeUnknown && e.unknown }

// Unwrap returns the cause and the last response.
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

// A LimitError is returned by a call that the client itself refused because its
// turn under the rate limit would not come in time. The refused attempt sent
// nothing. A LimitError matches [ErrRateLimited], and also
// [context.DeadlineExceeded] if a deadline is the reason.
type LimitError struct {
	Op     string
	Wait   time.Duration // the least that the attempt would have waited
	Reason Reason
	// Last is the 429 response that the call received before, or nil.
	Last *Error

	// Deadline is set if the context's deadline is the reason.
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
		s += "; the last response was: " + e.Last.Error()
	}
	return mask.Line(s, maxText)
}

// Is reports whether target is [ErrRateLimited] or, if a deadline is the
// reason, [context.DeadlineExceeded].
func (e *LimitError) Is(target error) bool {
	return target == ErrRateLimited || (e.Deadline && target == context.DeadlineExceeded)
}

// Unwrap returns the last response, if any.
func (e *LimitError) Unwrap() error {
	if e.Last == nil {
		return nil
	}
	return e.Last
}

// A DecodeError is returned for a successful response that could not be
// decoded.
type DecodeError struct {
	Op         string
	StatusCode int
	Field      string // the offending field, if known, such as "items[3].cost"
	RequestID  string
	Attempts   int
	Body       []byte // the start of the body, at most 512 bytes, with API keys masked
	Err        error

	item        string
	unknown     bool
	deprecation *Deprecation
}

func (e *DecodeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connic: %s: the response with status %d cannot be decoded: %s%s", e.Op, e.StatusCode, causeText(e.Err), itemText(e.item, e.RequestID))
	return errorText(&b, e.Attempts, nil, e.unknown)
}

// Is reports whether target is [ErrOutcomeUnknown] and the outcome is unknown.
func (e *DecodeError) Is(target error) bool { return target == ErrOutcomeUnknown && e.unknown }

// Unwrap returns the decoder's error.
func (e *DecodeError) Unwrap() error { return e.Err }

// Errors encode as their text in slog and JSON, whether wrapped or not. See
// [Describe] for their parts.

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *Error) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// LogValue implements [slog.LogValuer] with the string that Error returns, so
// that an error looks the same in a log whether it is wrapped or not. For its
// parts see [Describe].
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *ArgumentError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *TransportError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *LimitError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *DecodeError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *WaitError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

const (
	maxDetail = problem.MaxDetail
	maxID     = exchange.MaxID
)

// ErrPartial marks a response that is only part of what was requested.
const ErrPartial = sentinel("connic: the response is only a part of the data")
