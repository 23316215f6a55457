package connic

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// hidden is embedded in the errors of work that ended badly. Their texts quote
// the service, which may repeat the key of the client that made them.
type hidden struct{ by *mask.Mask }

func (h *hidden) hide(by *mask.Mask) { h.by = by }

// hide makes the text of an error that quotes the service hide the client's key.
// It returns the error.
func (c *core) hide(err error) error {
	if e, ok := err.(interface{ hide(*mask.Mask) }); ok {
		e.hide(c.mask())
	}
	return err
}

// endedText returns the error text of work that ended badly. Why is the
// explanation from the service, which is shortened.
func (h *hidden) endedText(kind, id, of, status string, known bool, why string) string {
	var b strings.Builder
	b.WriteString("connic: " + kind)
	if id != "" {
		b.WriteString(" " + id)
	}
	b.WriteString(of)
	switch {
	case known:
		b.WriteString(" ended: " + status)
	case status == "":
		b.WriteString(" was returned without a status")
	default:
		b.WriteString(" has the unknown status " + status)
	}
	if why != "" {
		b.WriteString(": " + h.by.Line(why, 2*maxDetail))
	}
	return h.by.Line(b.String(), maxText)
}

// about returns a phrase that names what else an error is about.
func about(kind, name string) string {
	if name == "" {
		return ""
	}
	return " of " + kind + " " + name
}

// ErrorInfo holds the information that the errors of this package share.
type ErrorInfo struct {
	Op         string // the operation, such as "agents.trigger"
	StatusCode int    // of the last response; 0 if there was none
	RequestID  string // of the last response, for the vendor's support; may be empty
	Attempts   int    // how often the request was sent, or may have been
	// Unknown is set if the request may have been executed but no response
	// confirms it. Such errors match [ErrOutcomeUnknown].
	Unknown bool
	// RetryAfter is the wait named by the service or by the client's rate
	// limit, or 0.
	RetryAfter time.Duration
	// Deprecation is set if the last response announced the end of the operation.
	Deprecation *Deprecation
}

// A Deprecation is what the service announces about an operation in the headers
// Deprecation (RFC 9745) and Sunset (RFC 8594) of a response. Until Sunset the
// operation works; from then on a newer version of this package may be needed.
//
// It is part of [EventDeprecated] and of [ErrorInfo]. [CaptureResponse] returns
// all headers of a response.
type Deprecation struct {
	Since  time.Time // may be in the future; zero if the header is missing or no date
	Sunset time.Time // when the operation may stop working; zero if unknown
	Text   string    // the headers, as one safe line of at most 200 characters
}

// LogValue implements [slog.LogValuer]. It returns a group of the fields that
// are set.
func (d *Deprecation) LogValue() slog.Value {
	if d == nil {
		return slog.GroupValue()
	}
	attrs := []slog.Attr{slog.String("text", d.Text)}
	if !d.Since.IsZero() {
		attrs = append(attrs, slog.Time("since", d.Since))
	}
	if !d.Sunset.IsZero() {
		attrs = append(attrs, slog.Time("sunset", d.Sunset))
	}
	return slog.GroupValue(attrs...)
}

// LogValue implements [slog.LogValuer]. It returns a group of the fields that
// are set.
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
	if i.Deprecation != nil {
		attrs = append(attrs, slog.Any("deprecation", i.Deprecation))
	}
	return slog.GroupValue(attrs...)
}

// Describe returns details of the call that failed with err. It finds an error
// of this package anywhere in err's chain, and reports false if there is none.
// It costs no request.
func Describe(err error) (ErrorInfo, bool) {
	// The outermost error describes the whole call. What it wraps may belong to
	// another one, which a transport made.
	var outermost interface{ describe(*ErrorInfo) }
	if !errors.As(err, &outermost) {
		var answer *Error
		if !errors.As(err, &answer) { // that of a connector can become one
			return ErrorInfo{}, false
		}
		outermost = answer
	}
	wait, _ := RetryAfter(err)
	info := ErrorInfo{RetryAfter: wait, Unknown: errors.Is(err, ErrOutcomeUnknown)}
	outermost.describe(&info)
	return info, true
}

func (e *Error) describe(info *ErrorInfo) {
	info.Op, info.Attempts, info.StatusCode, info.RequestID = e.Op, e.Attempts, e.StatusCode, e.RequestID
	info.Deprecation = e.deprecation
}

func (e *ArgumentError) describe(info *ErrorInfo) { info.Op = e.Op }

func (e *TransportError) describe(info *ErrorInfo) {
	if e.Last != nil {
		e.Last.describe(info)
	}
	info.Op, info.Attempts = e.Op, e.Attempts
}

func (e *LimitError) describe(info *ErrorInfo) {
	if e.Last != nil {
		e.Last.describe(info)
	}
	info.Op = e.Op
}

func (e *DecodeError) describe(info *ErrorInfo) {
	info.Op, info.Attempts, info.StatusCode, info.RequestID = e.Op, e.Attempts, e.StatusCode, e.RequestID
	info.Deprecation = e.deprecation
}

// RetryAfter returns the wait that err names: the Retry-After of a response, or
// the time until the call's turn under the client's own rate limit. It reports
// false if err names none. A call that also matches [ErrOutcomeUnknown] or has a
// [*WaitError] must not be repeated then: what it started may exist.
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
