package chat_test

import (
	"encoding/json"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/chat"
)

func TestApprovalsOfEvents(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]*connic.Approval{
		`{"type": "stream_chunk", "id": "m1", "chunk": "approval"}`: nil,
		`{"type": "tool_call", "id": "m1", "tool_name": "pay"}`:     nil,
		`{"type": "approval_approved", "approval_id": "a1"}`:        nil,
		`{"type": "approval_required", "id": "m1", "approval_id": "a1", "run_id": "r1", "tool": "pay", "arguments": {"n": 5}}`: {
			ID: "a1", RunID: "r1", ToolName: "pay", AgentName: "clerk",
		},
		`{"type": "progress", "id": "m1", "payload": {"event": "approval.requested", "id": "a1", "run_id": "r1", "agent_name": "buyer"}}`: {
			ID: "a1", RunID: "r1", AgentName: "buyer",
		},
		`{"type": "approval", "id": "m1", "approval": {"id": "a1", "tool_name": "pay", "run_id": "r1"}}`: {ID: "a1", RunID: "r1", ToolName: "pay", AgentName: "clerk"},
		`{"type": "run_status", "id": "m1", "status": "awaiting_approval", "run_id": "r1"}`:              {RunID: "r1", AgentName: "clerk"},
		`{"type": "approval_required", "id": "m1", "inputs": 5}`:                                         {AgentName: "clerk"},
		`{"type": "approval_required"`: nil,
	} {
		got := chat.Event{Agent: "clerk", Raw: json.RawMessage(raw)}.Approval()
		switch {
		case got == nil && want == nil:
		case got == nil || want == nil:
			t.Errorf("%s: %v, want %v", raw, got, want)
		case got.ID != want.ID || got.RunID != want.RunID || got.ToolName != want.ToolName || got.AgentName != want.AgentName:
			t.Errorf("%s: %v, want %v", raw, got, want)
		}
	}
	if got := (chat.Event{}).Approval(); got != nil {
		t.Error(got)
	}
}
