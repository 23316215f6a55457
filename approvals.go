package connic

import (
	"encoding/json"
	"time"
)

// An Approval is a decision that a run awaits before it uses a tool. The vendor
// describes approvals in prose only. The names of all fields are assumed.
type Approval struct {
	ID        string         `json:"id" api:"words,approval_id"`
	RunID     string         `json:"run_id,omitzero" api:"words"`
	AgentName string         `json:"agent_name,omitzero" api:"words"`
	ToolName  string         `json:"tool_name,omitzero" api:"words"`
	Status    ApprovalStatus `json:"status,omitzero" api:"words"`
	// Arguments are those of the tool, an object; the service may mask parts.
	Arguments   json.RawMessage `json:"arguments,omitzero" api:"words"`
	Inputs      []ApprovalInput `json:"inputs,omitzero" api:"words"`
	RequestedAt time.Time       `json:"requested_at,omitzero" api:"words"`
	ExpiresAt   time.Time       `json:"expires_at,omitzero" api:"words"`
	DecidedAt   time.Time       `json:"decided_at,omitzero" api:"words"`
	DecidedBy   string          `json:"decided_by,omitzero" api:"words"`
	Reason      string          `json:"reason,omitzero" api:"words"`

	RawItem
}

// An ApprovalInput is a text that the person who approves must give.
type ApprovalInput struct {
	Label     string `json:"label,omitzero" api:"words"`
	Sensitive bool   `json:"sensitive,omitzero" api:"words"`
}

// ApprovalStatus is the status of an approval.
type ApprovalStatus string

// The known statuses of an approval.
const (
	ApprovalPending  ApprovalStatus = "pending"
	ApprovalApproved ApprovalStatus = "approved"
	ApprovalRejected ApprovalStatus = "rejected"
	ApprovalExpired  ApprovalStatus = "expired"
)

// Known reports whether this version of the package knows s.
func (s ApprovalStatus) Known() bool {
	return s == ApprovalPending || s == ApprovalApproved || s == ApprovalRejected || s == ApprovalExpired
}

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Approval) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *ApprovalInput) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }
