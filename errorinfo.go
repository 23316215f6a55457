package connic

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// endedText is the text of something that was waited for and ended badly. Why is
// the service's explanation; it is shortened.
func endedText(kind, id, of, status string, known bool, why string) string {
	var b strings.Builder
	b.WriteString("connic: " + kind + " " + id + of)
	switch {
	case known:
		b.WriteString(" ended: " + status)
	case status == "":
		b.WriteString(" was returned without a status")
	default:
		b.WriteString(" has the unknown status " + status)
	}
	if why != "" {
		b.WriteString(": " + mask.Line(why, 2*maxDetail))
	}
	return mask.Line(b.String(), maxText)
}

// about says what else an error is about.
func about(kind, name string) string {
	if name == "" {
		return ""
	}
	return " of " + kind + " " + name
}

// ErrorInfo is what the errors of this package have in common.
type ErrorInfo struct {
	Op         string // the operation: "agents.trigger"
	StatusCode int    // of the last answer; 0 if there was none
	RequestID  string // of the last answer, for the vendor's support; may be ""
	Attempts   int    // how often the request was, or may have been, sent
	// Unknown is set when the request may have been executed and no answer says so;
	// it is what [ErrOutcomeUnknown] matches.
	Unknown bool
	// RetryAfter is the wait that the service, or the client's rate limit, named; 0
	// if none did.
	RetryAfter time.Duration
}

// LogValue implements [slog.LogValuer]: a group of what is set.
func (i ErrorInfo) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("op", i.Op), slog.Int("attempts", i.Attempts)}
	if i.StatusCode != 0 {
		attrs = append(attrs, slog.Int("status", i.StatusCode))
	}
	if i.RequestID != "" {
		attrs = append(attrs, slog.String("request_id", i.RequestID))
	}
	if i.Unknown {
		attrs = append(attrs, slog.Bool("outcome_unknown", true))
	}
	if i.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", i.RetryAfter))
	}
	return slog.GroupValue(attrs...)
}

// Describe returns what can be said about the call behind err, wherever in its
// chain the error of this package stands. It reports false if there is none. It
// costs no request.
func Describe(err error) (ErrorInfo, bool) {
	// The outermost error is the whole call; an *Error within it is an answer before
	// the end.
	var (
		limit     *LimitError
		transport *TransportError
		decode    *DecodeError
		answer    *Error
		argument  *ArgumentError
	)
	wait, _ := RetryAfter(err)
	info := ErrorInfo{RetryAfter: wait, Unknown: errors.Is(err, ErrOutcomeUnknown)}
	from := func(last *Error) {
		if last != nil {
			info.StatusCode, info.RequestID = last.StatusCode, last.RequestID
		}
	}
	switch {
	case errors.As(err, &limit):
		info.Op = limit.Op
		if from(limit.Last); limit.Last != nil {
			info.Attempts = limit.Last.Attempts
		}
	case errors.As(err, &transport):
		info.Op, info.Attempts = transport.Op, transport.Attempts
		from(transport.Last)
	case errors.As(err, &decode):
		info.Op, info.Attempts = decode.Op, decode.Attempts
		info.StatusCode, info.RequestID = decode.StatusCode, decode.RequestID
	case errors.As(err, &answer):
		info.Op, info.Attempts = answer.Op, answer.Attempts
		from(answer)
	case errors.As(err, &argument):
		info.Op = argument.Op
	default:
		return ErrorInfo{}, false
	}
	return info, true
}

// RetryAfter returns the wait that err names: the Retry-After of an answer, or the
// time until the call's turn under the client's own rate limit. It reports false
// where none is named.
func RetryAfter(err error) (time.Duration, bool) {
	var limit *LimitError
	if errors.As(err, &limit) && limit.Wait > 0 {
		return limit.Wait, true
	}
	var answer *Error
	if errors.As(err, &answer) && answer.RetryAfter > 0 {
		return answer.RetryAfter, true
	}
	return 0, false
}
