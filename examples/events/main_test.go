package main

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	const secret = "whsec-0123456789"
	var got bytes.Buffer
	srv := connictest.New(t)
	out := srv.OutboundHandler(events(&got).Handler(secret)).WithSecret(secret)
	run := map[string]any{"run_id": "run-1", "agent_name": "support", "status": "completed", "output": "Within 30 days.", "ended_at": "2026-10-01T12:00:00Z"}
	for _, event := range []struct {
		payload any
		status  int
	}{
		{run, http.StatusNoContent},
		{map[string]any{"type": "refund", "order": 7}, http.StatusNoContent},
		{map[string]any{"type": "refund", "order": "seven"}, http.StatusUnprocessableEntity},
		{map[string]any{"type": "greeting"}, http.StatusNoContent},
	} {
		if d := out.Send(event.payload); d.Status != event.status || d.Err != nil {
			t.Errorf("%v: %d, %v", event.payload, d.Status, d.Err)
		}
	}
	out.Notify(&connic.Approval{ID: "approval-1", AgentName: "payments", ToolName: "pay", RequestedAt: time.Now()})
	out.Fault(connictest.DeliveryFault{Signature: true})
	if d := out.Send(map[string]any{"type": "refund", "order": 8}); d.Status != http.StatusUnauthorized {
		t.Errorf("a forgery: %d, %v", d.Status, d.Err)
	}
	const want = "support has answered: Within 30 days.\nrefund order 7\npayments wants to call pay: see examples/approvals\n"
	if got.String() != want {
		t.Errorf("%s", &got)
	}
}
