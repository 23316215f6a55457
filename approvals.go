package connic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/list"
	"github.com/connic-go/connic/internal/mask"
)

// ApprovalsService reads and decides approvals: a run whose agent calls a tool
// that needs one waits until somebody approves or rejects the call, or the
// approval expires. It needs a key with access to the approvals section.
//
// The vendor describes approvals in prose only. The paths and the names of all
// fields are assumed.
type ApprovalsService service

func (s *ApprovalsService) scope() *scope { return (*service)(s).scope() }

// An Approval is a call of a tool that waits for a decision, or waited for one.
//
// It also decodes from the notice that an outbound connector posts. The form of
// that is not documented: the members may be at the top level or under
// "approval".
//
// Package fmt and slog print an Approval without its arguments and texts, which
// can contain anything. Its JSON contains them.
type Approval struct {
	ID        string         `json:"id" api:"words,approval_id"`
	RunID     string         `json:"run_id,omitzero" api:"words"`
	AgentName string         `json:"agent_name,omitzero" api:"words,agent"`
	ToolName  string         `json:"tool_name,omitzero" api:"words,tool"` // the tool that the agent wants to call
	Status    ApprovalStatus `json:"status" api:"words"`
	// Arguments are those of the call, usually an object. The service may mask
	// some of them.
	Arguments json.RawMessage `json:"arguments,omitzero" api:"words"`
	// Inputs are the texts that the tool asks a person for. If there are any, an
	// approval needs a response: see Decision.
	Inputs      []ApprovalInput `json:"inputs,omitzero" api:"words"`
	RequestedAt time.Time       `json:"requested_at,omitzero" api:"words,created_at"`
	ExpiresAt   time.Time       `json:"expires_at,omitzero" api:"words"` // 30 s to 7 days after the request
	DecidedAt   time.Time       `json:"decided_at,omitzero" api:"words"`
	DecidedBy   Actor           `json:"decided_by,omitzero" api:"words"`
	Reason      string          `json:"reason,omitzero" api:"words"` // of the decision

	rawItem
}

// An ApprovalInput is a text that an approval asks for.
type ApprovalInput struct {
	Label     string `json:"label" api:"words,."`
	Sensitive bool   `json:"sensitive,omitzero" api:"words"` // not to be shown while it is typed
}

// ApprovalStatus is the status of an approval.
type ApprovalStatus string

// The known approval statuses.
const (
	ApprovalPending  ApprovalStatus = "pending"
	ApprovalApproved ApprovalStatus = "approved"
	ApprovalRejected ApprovalStatus = "rejected"
	ApprovalExpired  ApprovalStatus = "expired"
)

// Finished reports whether s is one of the known final statuses.
func (s ApprovalStatus) Finished() bool {
	return s == ApprovalApproved || s == ApprovalRejected || s == ApprovalExpired
}

// Known reports whether this version of the package knows s.
func (s ApprovalStatus) Known() bool { return s == ApprovalPending || s.Finished() }

// clone returns a copy that shares no memory with a.
func (a *Approval) clone() *Approval {
	own := *a
	own.Arguments, own.Inputs = bytes.Clone(a.Arguments), slices.Clone(a.Inputs)
	return &own
}

// decoded normalizes what the service may write in several ways.
func (a *Approval) decoded() {
	switch {
	case a.Status == ApprovalStatus(RunAwaitingApproval), a.Status == "" && a.ID != "" && a.DecidedAt.IsZero():
		a.Status = ApprovalPending // a notice may have the status of the run, or none
	}
	var text string
	if bytes.HasPrefix(a.Arguments, []byte{'"'}) && json.Unmarshal(a.Arguments, &text) == nil && json.Valid([]byte(text)) {
		a.Arguments = json.RawMessage(text) // JSON in a string
	}
}

// UnmarshalJSON implements [json.Unmarshaler].
func (a *Approval) UnmarshalJSON(data []byte) error {
	if err := decodeMethod(data, a); err != nil {
		return err
	}
	var notice struct {
		ID       string          `json:"approval_id" api:"assumed"`
		Approval json.RawMessage `json:"approval" api:"assumed"`
	}
	_ = lenient.Unmarshal(data, &notice) // it is JSON, and may have neither
	if bytes.HasPrefix(notice.Approval, []byte{'{'}) {
		if err := decodeMethod(notice.Approval, a); err != nil {
			return err
		}
	}
	a.ID = cmp.Or(notice.ID, a.ID) // rather than that of the notice
	return nil
}

// printed is an Approval as it is printed.
func (a *Approval) printed() string {
	if a == nil {
		return "connic.Approval(nil)"
	}
	s := "connic.Approval(" + a.ID
	if a.RunID != "" {
		s += " of run " + a.RunID
	}
	for _, more := range []string{a.AgentName, a.ToolName, string(a.Status)} {
		if more != "" {
			s += ", " + more
		}
	}
	return mask.Line(s, maxText) + ")"
}

// Format implements [fmt.Formatter], so that no verb prints the arguments.
func (a Approval) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.printed()) }

// LogValue implements [slog.LogValuer] with the printed form.
func (a Approval) LogValue() slog.Value { return slog.StringValue(a.printed()) }

// A Decision is what somebody decided about an approval. The zero Decision
// rejects it.
type Decision struct {
	Approve bool
	// Reason is kept with the approval. It is optional.
	Reason string
	// Response is the text that an approval with inputs asks for: not blank, and
	// at most 16,384 characters. A rejection has none.
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
	reason := ""
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

// ApprovalListParams selects approvals. The zero value selects all of them.
type ApprovalListParams struct {
	Status        ApprovalStatus
	RunID         string
	AgentName     string
	EnvironmentID string
	Limit, Offset int
}

func (s *ApprovalsService) listing(p *ApprovalListParams) listing[Approval] {
	if p == nil {
		p = new(ApprovalListParams)
	}
	l := listing[Approval]{
		scope: s.scope(), request: request{op: api.ApprovalsList}, name: "approvals", id: func(a *Approval) string { return a.ID },
		limit: p.Limit, offset: p.Offset,
	}
	q := &l.request.query
	q.add("status", string(p.Status))
	q.add("run_id", p.RunID)
	q.add("agent_name", p.AgentName)
	q.add("environment_id", p.EnvironmentID)
	return l
}

// List returns one page of approvals, presumably newest first. It costs one
// request.
//
//	API:    GET /projects/{project}/approvals
//	Access: approvals read
//	Status: assumed
func (s *ApprovalsService) List(ctx context.Context, p *ApprovalListParams, opts ...RequestOption) (*Page[Approval], error) {
	return s.listing(p).page(ctx, opts)
}

// All iterates over the approvals, starting at the given offset. Approvals may
// be added and decided during the iteration: each of the others is yielded
// once, or the iteration ends with [ErrPageLoop]. It costs one request per
// Limit approvals, and a few more if the list changes; the default Limit is
// 100. To have pending ones as they come, use [ApprovalsService.Follow].
//
//	API:    GET /projects/{project}/approvals
//	Access: approvals read
//	Status: assumed
func (s *ApprovalsService) All(ctx context.Context, p *ApprovalListParams, opts ...RequestOption) iter.Seq2[*Approval, error] {
	return s.listing(p).all(ctx, opts)
}

// ForRun returns the approvals of a run, pending and decided, oldest first. It
// costs one request per 100 approvals.
//
//	API:    GET /projects/{project}/approvals
//	Access: approvals read
//	Status: assumed
func (s *ApprovalsService) ForRun(ctx context.Context, runID string, opts ...RequestOption) ([]*Approval, error) {
	l := s.listing(&ApprovalListParams{RunID: runID, Limit: pageLimit})
	if reason := checkFilled(runID); reason != "" {
		return nil, &ArgumentError{Op: api.Table[api.ApprovalsList].Name, Arg: "run id", Reason: reason}
	}
	return s.collect(ctx, l, opts, func(a *Approval) bool { return a.RunID == runID })
}

// maxApprovals limits how much of the list is read for the pending ones.
const maxApprovals = 1000

// collect returns the approvals of a list that suit, oldest first. The service
// may ignore the filters of the request.
func (s *ApprovalsService) collect(ctx context.Context, l listing[Approval], opts []RequestOption, suits func(*Approval) bool) ([]*Approval, error) {
	var found []*Approval
	left := maxApprovals
	err := l.walk(ctx, list.NewWalk(l.id, list.Position{}), opts, func(a *Approval) bool {
		if suits(a) {
			found = append(found, a)
		}
		left--
		return left > 0
	})
	slices.Reverse(found)
	slices.SortStableFunc(found, func(a, b *Approval) int { return a.RequestedAt.Compare(b.RequestedAt) })
	return found, err
}

// Get returns an approval. It costs one request.
//
//	API:    GET /projects/{project}/approvals/{approval}
//	Access: approvals read
//	Status: assumed
func (s *ApprovalsService) Get(ctx context.Context, id string, opts ...RequestOption) (*Approval, error) {
	return do(ctx, s.scope(), request{op: api.ApprovalsGet, id: id}, decodeInto[Approval], opts)
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
