package connector

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/connic-go/connic"
)

// An Error is a failed call of a connector. It matches [connic.ErrUnauthorized]
// and the other sentinels by its status, [connic.ErrOutcomeUnknown] if the
// agents may have been started, and its cause.
type Error struct {
	Op   string // "call" or "send"
	Host string // scheme and host of the connector, without the path
	// StatusCode is the status of the response, or 0 if there was none.
	StatusCode int
	// Detail is the service's explanation as one line of at most 500
	// characters.
	Detail string
	// RunIDs are the runs named in the response, as far as it could be read.
	// They continue regardless of the error.
	RunIDs []string
	// RetryAfter is how long the service asked to wait, or 0.
	RetryAfter time.Duration
	Attempts   int    // how often the request was sent, or may have been
	Location   string // scheme and host of a redirect, which is not followed
	Body       []byte // the start of the response body, at most 64 KiB, masked
	Err        error  // the cause; nil if the status is the cause

	unknown bool
}

// Error returns a one-line description of the failure.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("connic: connector " + e.Op + " at " + e.Host)
	if e.StatusCode != 0 {
		fmt.Fprintf(&b, ": %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Location != "" {
		b.WriteString(": redirects are not followed; this one leads to " + e.Location)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (retry after %v)", e.RetryAfter)
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " after %d attempts", e.Attempts)
	}
	switch {
	case len(e.RunIDs) > 0:
		b.WriteString("; the run may be going on: " + strings.Join(e.RunIDs, ", "))
	case e.unknown:
		b.WriteString("; the request may have been executed, and its run may be going on")
	}
	return b.String()
}

// Is reports whether target is the sentinel of the status, or
// [connic.ErrOutcomeUnknown] if that applies.
func (e *Error) Is(target error) bool {
	if target == connic.ErrOutcomeUnknown {
		return e.unknown
	}
	return (&connic.Error{StatusCode: e.StatusCode}).Is(target)
}

// As sets a [*connic.Error] to describe the response, so that
// [connic.RetryAfter] and [connic.Describe] support this error.
func (e *Error) As(target any) bool {
	answer, ok := target.(**connic.Error)
	if !ok || e.StatusCode == 0 {
		return false
	}
	*answer = &connic.Error{
		Op: operationPrefix + e.Op, Method: http.MethodPost, StatusCode: e.StatusCode, Detail: e.Detail,
		RetryAfter: e.RetryAfter, Attempts: e.Attempts, Location: e.Location, Body: e.Body,
	}
	return true
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// LogValue implements [slog.LogValuer]. It omits the body.
func (e *Error) LogValue() slog.Value {
	return slog.GroupValue(slog.String("op", e.Op), slog.Int("status", e.StatusCode), slog.String("error", e.Error()))
}

// A ModeError is returned by a call of a connector that has the other mode,
// such as [Connector.Call] of an inbound one. Its runs have been started; wait
// for them with [connic.RunsService.WaitAll].
type ModeError struct {
	Host         string
	DispatchedTo int // number of agents started
	RunIDs       []string
}

func (e *ModeError) Error() string {
	return fmt.Sprintf("connic: connector call at %s: the connector is inbound and not sync: it has started %d runs and returns no output (runs %s)",
		e.Host, max(e.DispatchedTo, len(e.RunIDs)), strings.Join(e.RunIDs, ", "))
}

// sentinel is a constant error.
type sentinel string

func (s sentinel) Error() string { return string(s) }

// Reasons for refusing a delivery, for the log of the receiver: see [Verify]
// and [Receiver]. The sender is never told which one applies.
const (
	ErrNoSecret     = sentinel("connic: connector: no signing secret is set, so nothing can be verified")
	ErrNotSigned    = sentinel("connic: connector: the headers of the signature are missing, or there are several")
	ErrSignature    = sentinel("connic: connector: the signature does not belong to the body and the secret")
	ErrTimestamp    = sentinel("connic: connector: the timestamp cannot be read, or is too far from now")
	ErrTooLarge     = sentinel("connic: connector: the body is too large")
	ErrContentType  = sentinel("connic: connector: the body is not declared as JSON")
	ErrBodyConsumed = sentinel("connic: connector: the body was already read, at least in part, by middleware, or the sender sent none")
	ErrNotJSON      = sentinel("connic: connector: the body is accepted, but is not JSON, or is nested too deep")
	ErrBusy         = sentinel("connic: connector: the same delivery is being handled")
	ErrUnsigned     = sentinel("connic: connector: the receiver has secrets and is Unsigned as well, so it refuses everything")
)

// ErrNoFallback is returned by [Mux.Deliver] for every delivery if the [Mux] has
// no fallback.
const ErrNoFallback = sentinel("connic: connector: the Mux has no Fallback, so it handles nothing")

// failures are the errors of several runs, in one line.
type failures []error

// joined returns the error of several runs, or nil if there is none.
func joined(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return failures(errs)
}

func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors.
func (f failures) Unwrap() []error { return f }
