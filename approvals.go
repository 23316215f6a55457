package connic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"time"

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

	RawItem
}

// An ApprovalInput is a text that an approval asks for.
type ApprovalInput struct {
	Label     string `json:"label" api:"words,."`
	Sensitive bool   `json:"sensitive,omitzero" api:"words"` // not to be shown while it is typed
}

// ApprovalStatus is the status of an approval: "pending", "approved", "rejected"
// or "expired".
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
	return mask.Line(s+", "+a.AgentName+", "+a.ToolName+", "+string(a.Status), maxText) + ")"
}

// Format implements [fmt.Formatter], so that no verb prints the arguments.
func (a Approval) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.printed()) }

// LogValue implements [slog.LogValuer] with the printed form.
func (a Approval) LogValue() slog.Value { return slog.StringValue(a.printed()) }

// ApprovalListParams selects approvals. The zero value selects all of them.
type ApprovalListParams struct {
	Status        ApprovalStatus
	RunID         string
	AgentName     string
	EnvironmentID string
	Limit, Offset int
}

func approvalListing(s *ApprovalsService, p *ApprovalListParams) listing[Approval] {
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
	return approvalListing(s, p).page(ctx, opts)
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
	return approvalListing(s, p).all(ctx, opts)
}

// ForRun returns the approvals of a run, pending and decided, oldest first. It
// costs one request per 100 approvals.
//
//	API:    GET /projects/{project}/approvals
//	Access: approvals read
//	Status: assumed
func (s *ApprovalsService) ForRun(ctx context.Context, runID string, opts ...RequestOption) ([]*Approval, error) {
	l := approvalListing(s, &ApprovalListParams{RunID: runID, Limit: pageLimit})
	if reason := checkFilled(runID); reason != "" {
		return nil, &ArgumentError{Op: api.Table[api.ApprovalsList].Name, Arg: "run id", Reason: reason}
	}
	return collectApprovals(ctx, l, opts, func(a *Approval) bool { return a.RunID == runID })
}

// maxApprovals limits how much of the list is read for the pending ones.
const maxApprovals = 1000

// collect returns the approvals of a list that suit, oldest first. The service
// may ignore the filters of the request.
func collectApprovals(ctx context.Context, l listing[Approval], opts []RequestOption, suits func(*Approval) bool) ([]*Approval, error) {
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
