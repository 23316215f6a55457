package connic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
)

// A Decision is what somebody decided about an approval. The zero Decision
// rejects it.
type Decision struct {
	Approve bool
	// Reason is kept with the approval. It is optional.
	Reason string
	// Response is the text that an approval with inputs asks for: not blank, and
	// at most 16,384 characters. A rejection has none. It is masked in errors that
	// quote the service, if it has 8 characters or more.
	Response string
}

// maxResponse is the length limit of [Decision.Response], in characters.
const maxResponse = 16_384

// String returns "approve" or "reject". The texts can contain anything, and are not printed.
func (d Decision) String() string {
	if d.Approve {
		return "approve"
	}
	return "reject"
}

// Format implements [fmt.Formatter] with String, so that no verb prints the texts.
func (d Decision) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// LogValue implements [slog.LogValuer] with String.
func (d Decision) LogValue() slog.Value { return slog.StringValue(d.String()) }

// status is what an approval becomes.
func (d Decision) status() ApprovalStatus {
	if d.Approve {
		return ApprovalApproved
	}
	return ApprovalRejected
}

// check returns what is wrong with a decision, whatever the approval.
func (d Decision) check() error {
	var reason string
	switch {
	case d.Response == "":
		return nil
	case !d.Approve:
		reason = "belongs to an approval, and this is a rejection"
	case strings.TrimSpace(d.Response) == "":
		reason = "is blank"
	case utf8.RuneCountInString(d.Response) > maxResponse:
		reason = fmt.Sprintf("has more than %d characters", maxResponse)
	default:
		return nil
	}
	return &ArgumentError{Op: api.Table[api.ApprovalsDecide].Name, Arg: "response", Reason: reason}
}

// Check returns an [*ArgumentError] if a decision does not suit the approval:
// approving one with inputs needs a response that is not blank and has at most
// 16,384 characters, and a rejection has none. It sends no request.
func (a *Approval) Check(d Decision) error {
	if err := d.check(); err != nil {
		return err
	}
	if d.Approve && d.Response == "" && len(a.Inputs) > 0 {
		return &ArgumentError{Op: api.Table[api.ApprovalsDecide].Name, Arg: "response", Reason: "is empty, and the approval asks for one"}
	}
	return nil
}

// A DecidedError is returned by [ApprovalsService.Decide] for an approval that
// somebody else decided, or that expired. It matches [ErrConflict].
type DecidedError struct {
	Approval *Approval // as it is now: see Status, DecidedBy and DecidedAt

	answer *Error // the 409, if there was one
	hidden
}

func (e *DecidedError) Error() string {
	a := e.Approval
	if a == nil {
		a = new(Approval)
	}
	s := "connic: " + api.Table[api.ApprovalsDecide].Name + ": approval " + a.ID
	switch by := a.DecidedBy.String(); {
	case a.Status == ApprovalExpired:
		s += " has expired"
	case by != "":
		s += " was already " + string(a.Status) + " by " + by
	default:
		s += " was already " + string(a.Status)
	}
	if !a.DecidedAt.IsZero() && a.Status != ApprovalExpired {
		s += " at " + a.DecidedAt.Format(time.RFC3339)
	}
	return e.by.Line(s, maxText)
}

// Is reports whether target is [ErrConflict].
func (e *DecidedError) Is(target error) bool { return target == ErrConflict }

// Unwrap returns the response of the service, if there was one.
func (e *DecidedError) Unwrap() error {
	if e.answer == nil {
		return nil
	}
	return e.answer
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *DecidedError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

func (e *DecidedError) describe(info *ErrorInfo) {
	if e.answer != nil {
		e.answer.describe(info)
	}
	info.Op = api.Table[api.ApprovalsDecide].Name
}

// decision is the body of a decision.
type decision struct {
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`
	Response string `json:"response,omitempty"`
}

const (
	// decideTries is how often a decision is sent that the approval does not
	// show afterwards.
	decideTries = 3
	// decidePause is the time before it is sent again, so that a gateway that has
	// given up on it may still deliver it.
	decidePause = 2 * time.Second
)

// Decide approves or rejects an approval and returns it as decided. Its run goes
// on then. A decision that cannot be right is refused before anything is sent:
// see [Decision.Response], and [Approval.Check] for what depends on the
// approval.
//
// An approval that is decided already, or has expired, is a [*DecidedError],
// which says who decided.
//
// If no response confirms the decision, Decide reads the approval to find out: a
// decision that it shows is a success, another one is a [*DecidedError], and if
// it is still pending the decision is sent again, up to three times in all. The
// same decision, made by somebody else at that moment, cannot be told from one's
// own. If it cannot be found out, the error is that of the decision and matches
// [ErrOutcomeUnknown].
//
// It costs one request, one more if the approval is decided already, and two
// more for each lost response.
//
//	API:    POST /projects/{project}/approvals/{approval}/decide
//	Access: approvals write
//	Status: assumed
func (s *ApprovalsService) Decide(ctx context.Context, id string, d Decision, opts ...RequestOption) (*Approval, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	opts = hiding(opts, d.Response)
	var set callOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&set)
		}
	}
	body := decision{d.String(), d.Reason, d.Response}
	lost := false
	for try := 1; ; try++ {
		a, err := do(ctx, s.scope(), request{op: api.ApprovalsDecide, id: id, body: body}, decodeInto[Approval], opts)
		if err == nil {
			if a.Status.Finished() && a.Status != d.status() {
				return nil, s.decided(a, nil)
			}
			s.resume(a)
			return a, nil
		}
		unknown := errors.Is(err, ErrOutcomeUnknown)
		if lost = lost || unknown; !lost && !errors.Is(err, ErrConflict) {
			return nil, err
		}
		now, failed := s.Get(ctx, id, alongside(opts)...)
		switch {
		case failed != nil:
		case lost && now.Status == d.status():
			s.resume(now)
			return now, nil
		case now.Status.Finished():
			return nil, s.decided(now, err)
		case unknown && now.Status == ApprovalPending && try < decideTries && !set.once() && sleep(ctx, jitter(decidePause)) == nil:
			continue
		}
		if lost && !unknown { // it was an earlier one that was lost
			err = fmt.Errorf("%w; %w", err, ErrOutcomeUnknown)
		}
		return nil, err
	}
}

// decided returns the error of an approval that was decided otherwise.
func (s *ApprovalsService) decided(a *Approval, err error) error {
	e := &DecidedError{Approval: a}
	if answer := (*Error)(nil); errors.As(err, &answer) && errors.Is(answer, ErrConflict) {
		e.answer = answer
	}
	return s.scope().hide(e)
}

// Approve approves an approval without inputs: it is [ApprovalsService.Decide]
// in short.
//
//	API:    POST /projects/{project}/approvals/{approval}/decide
//	Access: approvals write
//	Status: assumed
func (s *ApprovalsService) Approve(ctx context.Context, id string, opts ...RequestOption) (*Approval, error) {
	return s.Decide(ctx, id, Decision{Approve: true}, opts...)
}

// Reject rejects an approval. The reason may be empty. It is
// [ApprovalsService.Decide] in short.
//
//	API:    POST /projects/{project}/approvals/{approval}/decide
//	Access: approvals write
//	Status: assumed
func (s *ApprovalsService) Reject(ctx context.Context, id, reason string, opts ...RequestOption) (*Approval, error) {
	return s.Decide(ctx, id, Decision{Reason: reason}, opts...)
}
