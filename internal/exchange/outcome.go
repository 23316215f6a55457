package exchange

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/problem"
)

const (
	// MaxErrorBody is the maximum number of bytes kept of an error body.
	MaxErrorBody = 64 << 10
	// MaxID is the maximum number of characters kept of a request id, a path or
	// the target of a redirect.
	MaxID = 200
)

// A Cause says what an exchange failed of.
type Cause uint8

// The causes.
const (
	CauseNone      Cause = iota
	CauseResponse        // Outcome.Response
	CauseDecode          // a success that cannot be decoded: Outcome.Err is an *Undecodable
	CauseGate            // the gate refused it: Outcome.Err is the gate's
	CauseBody            // the request's body cannot be made, or made again
	CauseKey             // there is no key
	CauseContext         // the caller's context ended
	CauseTransport       // the connection, or the time limit of an attempt
)

// An Outcome says how an exchange ended, or how it stands after an attempt. All
// texts in it are masked.
type Outcome struct {
	Result    Result
	Cause     Cause
	Unknown   bool // the request may have been executed
	Status    int  // of the last answer; 0 if there was none
	Attempts  int  // requests sent
	RequestID string
	Err       error
	Response  *Response // the last attempt's error answer
	Last      *Response // the last error answer of any earlier attempt
	// Deprecation is that of the last answer, or nil. Like RequestID, it is unset
	// if nobody asks for it.
	Deprecation *Deprecation
}

// A Response is an error answer.
type Response struct {
	Status     int
	RequestID  string
	RetryAfter time.Duration
	Detail     string
	Fields     []problem.Field
	Location   string // of a redirect
	Body       []byte

	Deprecation *Deprecation // or nil
}

// Undecodable is the error of a success that cannot be decoded.
type Undecodable struct {
	Field string
	Body  []byte // its start
	Err   error
}

func (e *Undecodable) Error() string { return e.Err.Error() }
func (e *Undecodable) Unwrap() error { return e.Err }

// TooLarge is the error of a body that exceeds its limit.
type TooLarge struct{ Limit int64 }

func (e *TooLarge) Error() string { return fmt.Sprintf("more than %d bytes", e.Limit) }

func (x *Exchange) outcome() Outcome {
	o := Outcome{
		Result: x.result, Cause: x.cause, Unknown: x.unknown, Status: x.status(), Attempts: int(x.attempts),
		Response: x.failure, Last: x.last,
	}
	if x.Observed || x.cause == CauseDecode {
		o.RequestID, o.Deprecation = x.RequestID(), x.deprecation()
	}
	if x.failure != nil && x.cause == CauseNone {
		o.Cause = CauseResponse
	}
	switch o.Cause {
	case CauseNone, CauseResponse:
	case CauseDecode: // masked when it was made
		o.Err = x.err
	default:
		o.Err = x.mask().Error(x.err)
	}
	return o
}

func (x *Exchange) mask() *mask.Mask { return x.engine.Mask() }

// reason returns why the last attempt is repeated.
func (x *Exchange) reason() string {
	switch {
	case x.redirect:
		return "redirected to the same place with or without a slash"
	case x.result == Refused:
		return "refused: rate limited"
	case x.result == Unsent:
		return "no connection"
	case x.failure != nil:
		return strconv.Itoa(x.status()) + " " + http.StatusText(x.status())
	default:
		return "incomplete response"
	}
}

// Sends returns how often the request was sent so far.
func (x *Exchange) Sends() int { return int(x.attempts) }

// RequestID returns the masked request id of the last answer.
func (x *Exchange) RequestID() string {
	if x.resp == nil {
		return ""
	}
	return x.mask().Line(requestID(x.resp.Header), MaxID)
}

func requestID(h http.Header) string {
	for _, name := range [...]string{"X-Request-Id", "X-Correlation-Id", "Cf-Ray"} {
		if id := h[name]; len(id) > 0 {
			return id[0]
		}
	}
	return ""
}

func (x *Exchange) status() int {
	if x.resp == nil {
		return 0
	}
	return x.resp.StatusCode
}
