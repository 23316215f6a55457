package chat

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
)

type sentinel string

func (s sentinel) Error() string { return string(s) }

// Is reports whether target is the error of a context that ends for the same
// reason.
func (s sentinel) Is(target error) bool {
	return (s == ErrClosed || s == ErrAbandoned) && target == context.Canceled || s == ErrIdle && target == context.DeadlineExceeded
}

// The reasons why a session or a reply ends, for [errors.Is].
const (
	// ErrEnded: the service closed the session because it was idle, reached its
	// maximum number of messages, or is shutting down. The history is lost,
	// unless the agent has a session of its own.
	ErrEnded = sentinel("connic: chat: the service has ended the session")
	// ErrLost: the connection broke, or the service did not respond to a ping.
	ErrLost = sentinel("connic: chat: the connection is lost")
	// ErrClosed: Close was called. It matches [context.Canceled].
	ErrClosed = sentinel("connic: chat: the session is closed")
	// ErrBusy: the previous reply has not ended, and the message was not sent. A
	// session has one reply at a time.
	ErrBusy = sentinel("connic: chat: the previous reply has not ended")
	// ErrAbandoned: the caller left the loop over the chunks or events of the
	// reply. It matches [context.Canceled].
	ErrAbandoned = sentinel("connic: chat: the reply was abandoned")
	// ErrConsumed: a reply can be ranged over only once.
	ErrConsumed = sentinel("connic: chat: the reply was ranged over before")
	// ErrTooLarge: a message, or a reply that is not being read, exceeds its
	// limit.
	ErrTooLarge = sentinel("connic: chat: the reply is too large")
	// ErrIdle: nothing was received for the time allowed by [WithIdleTimeout] or
	// [WithApprovalTimeout]. It matches [context.DeadlineExceeded].
	ErrIdle = sentinel("connic: chat: the reply has stopped")
)

// A DialError is returned if a session could not be opened. It matches
// [connic.ErrUnauthorized] and the other sentinels by its status.
type DialError struct {
	Host       string // scheme and host
	StatusCode int    // of the handshake; 0 if there was no response
	Code       int    // of a close before the first message; 0 if there was none
	Detail     string // the service's explanation, one line
	Err        error  // the cause; nil if the codes are the cause
}

func (e *DialError) Error() string {
	var b strings.Builder
	b.WriteString("connic: chat: dial " + e.Host)
	if e.StatusCode != 0 {
		fmt.Fprintf(&b, ": %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	if e.Code != 0 {
		fmt.Fprintf(&b, ": closed with %d", e.Code)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Is reports whether target is the sentinel of the status. It is assumed that a
// close with code 1008 or 4401 before the first message concerns the secret.
func (e *DialError) Is(target error) bool {
	status := e.StatusCode
	switch e.Code {
	case int(websocket.StatusPolicyViolation), 4401:
		status = http.StatusUnauthorized
	case 4403:
		status = http.StatusForbidden
	}
	return (&connic.Error{StatusCode: status}).Is(target)
}

// As sets a [*connic.Error] to describe the response to the handshake, so that
// [connic.Describe] supports this error.
func (e *DialError) As(target any) bool {
	answer, ok := target.(**connic.Error)
	if !ok || e.StatusCode == 0 {
		return false
	}
	*answer = &connic.Error{Op: dialing.Name, Method: dialing.Method, StatusCode: e.StatusCode, Detail: e.Detail, Attempts: 1}
	return true
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// An EndError is returned if the service has closed the session. It matches
// [ErrEnded].
type EndError struct {
	Code   int    // of the close; 1000 is a normal one
	Reason string // the service's, one line
}

func (e *EndError) Error() string {
	s := fmt.Sprintf("%v (code %d)", ErrEnded, e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Is reports whether target is [ErrEnded].
func (e *EndError) Is(target error) bool { return target == ErrEnded }

// A ReplyError is returned for an incomplete reply. It matches
// [connic.ErrOutcomeUnknown] if the message may have been received: the agents
// may then continue, which costs money. If an agent failed, it wraps a
// [*connic.RunError].
type ReplyError struct {
	Partial string // the text received so far
	Detail  string // the service's explanation if an agent failed, one line
	Err     error  // why it ended
	// Missing holds the agents that had not ended, of several whose answers were
	// awaited.
	Missing []string

	unsent bool
	failed bool // the service has reported the end of all agents
}

func (e *ReplyError) Error() string {
	s := "connic: chat: the reply did not come to its end"
	if e.unsent {
		s = "connic: chat: the message was not sent"
	}
	if e.Err != nil {
		s += ": " + strings.TrimPrefix(strings.TrimPrefix(e.Err.Error(), "connic: "), "chat: ")
	}
	if len(e.Missing) > 0 {
		s += "; missing: " + strings.Join(e.Missing, ", ")
	}
	return s
}

// Is reports whether target is [connic.ErrOutcomeUnknown] and the outcome is
// unknown. It is known if the service reported that an agent failed, and that
// all others have ended.
func (e *ReplyError) Is(target error) bool {
	return target == connic.ErrOutcomeUnknown && !e.unsent && !e.failed
}

// Unwrap returns the cause.
func (e *ReplyError) Unwrap() error { return e.Err }
