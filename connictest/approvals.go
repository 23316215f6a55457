package connictest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic"
)

// The errors of an approval that was not given.
var (
	ErrRejected = errors.New("connictest: the approval was rejected")
	ErrExpired  = errors.New("connictest: the approval expired")
)

const (
	maxApprovals    = 10_000
	approvalTimeout = 7 * 24 * time.Hour // the longest that the service has
	maxResponse     = 16_384             // characters
)

// An ApprovalRequest describes a call of a tool that needs an approval.
type ApprovalRequest struct {
	ToolName  string
	Arguments any                    // of the call; encoded as JSON
	Inputs    []connic.ApprovalInput // that the person who approves is asked for
	Timeout   time.Duration          // until it expires; 0 means 7 days
}

// approval is an approval of the project.
type approval struct {
	connic.Approval
	run      *run
	response string
	settled  chan struct{} // closed when it is pending no more
}

func (a *approval) object() object {
	inputs := make([]object, len(a.Inputs))
	for i, in := range a.Inputs {
		inputs[i] = object{"label": in.Label, "sensitive": in.Sensitive}
	}
	o := object{
		"id": a.ID, "run_id": a.RunID, "agent_name": a.AgentName, "tool_name": text(a.ToolName), "status": string(a.Status),
		"arguments": nil, "inputs": inputs, "requested_at": timestamp(a.RequestedAt), "expires_at": timestamp(a.ExpiresAt),
		"decided_at": timestamp(a.DecidedAt), "decided_by": nil, "reason": text(a.Reason),
	}
	if a.Arguments != nil {
		o["arguments"] = a.Arguments
	}
	if a.DecidedBy != (connic.Actor{}) {
		o["decided_by"] = object{"type": a.DecidedBy.Type, "name": a.DecidedBy.Name}
	}
	return o
}

// RequestApproval sets the status of the run to awaiting_approval until
// somebody decides, through the API or by [Server.Decide], or the request
// expires. It returns the response of the person who approved, or [ErrRejected],
// [ErrExpired] or the error of the context. Several requests of one run can be
// pending at once. It panics if the arguments cannot be encoded.
func (in Input) RequestApproval(ctx context.Context, request ApprovalRequest) (response string, err error) {
	a := in.server.request(in.run, request)
	timer := time.NewTimer(request.timeout())
	defer timer.Stop()
	select {
	case <-a.settled:
	case <-timer.C:
	case <-ctx.Done():
	}
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	in.server.settleApproval(a, connic.ApprovalExpired) // unless somebody has decided
	switch {
	case a.Status == connic.ApprovalApproved:
		return a.response, nil
	case a.Status == connic.ApprovalRejected:
		return "", ErrRejected
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	return "", ErrExpired
}

// AwaitApproval is [Input.RequestApproval] for a tool without a name, arguments
// or inputs.
func (in Input) AwaitApproval(ctx context.Context) error {
	_, err := in.RequestApproval(ctx, ApprovalRequest{})
	return err
}

func (r ApprovalRequest) timeout() time.Duration {
	if r.Timeout <= 0 {
		return approvalTimeout
	}
	return r.Timeout
}

// request adds an approval to a run.
func (s *Server) request(r *run, request ApprovalRequest) *approval {
	var arguments json.RawMessage
	if request.Arguments != nil {
		raw, err := json.Marshal(request.Arguments)
		if err != nil {
			panic(fmt.Sprintf("connictest: the arguments of an approval: %v", err))
		}
		arguments = raw
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	a := &approval{run: r, settled: make(chan struct{}), Approval: connic.Approval{
		ID: s.newID("approval"), RunID: r.id, AgentName: r.agent, ToolName: request.ToolName, Status: connic.ApprovalPending,
		Arguments: arguments, Inputs: slices.Clone(request.Inputs), RequestedAt: now, ExpiresAt: now.Add(request.timeout()),
	}}
	if s.approvals = append(s.approvals, a); len(s.approvals) > maxApprovals {
		s.approvals = slices.Delete(s.approvals, 0, 1)
	}
	switch {
	case r.granted: // before it was requested
		r.granted = false
		s.settleApproval(a, connic.ApprovalApproved)
	case r.status == connic.RunRunning: // and not cancelled meanwhile
		r.status = connic.RunAwaitingApproval
		fallthrough
	case r.status == connic.RunAwaitingApproval:
		s.announce(a)
	}
	return a
}

// settleApproval ends an approval that is pending, and resumes its run if it was
// the last one. The caller holds the mutex.
func (s *Server) settleApproval(a *approval, status connic.ApprovalStatus) {
	if a.Status != connic.ApprovalPending {
		return
	}
	a.Status = status
	close(a.settled)
	if a.run.status == connic.RunAwaitingApproval && !slices.ContainsFunc(s.approvals, func(other *approval) bool {
		return other.run == a.run && other.Status == connic.ApprovalPending
	}) {
		a.run.status = connic.RunRunning
	}
}

// withdraw ends the approvals of a run that ends. The caller holds the mutex.
func (s *Server) withdraw(r *run) {
	for _, a := range s.approvals {
		if a.run == r {
			s.settleApproval(a, connic.ApprovalExpired)
		}
	}
}

// expire ends the approvals whose time is over. The caller holds the mutex.
func (s *Server) expire() {
	now := s.now()
	for _, a := range s.approvals {
		if !now.Before(a.ExpiresAt) {
			s.settleApproval(a, connic.ApprovalExpired)
		}
	}
}

func (s *Server) findApproval(id string) *approval {
	s.expire()
	for _, a := range s.approvals {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// settleAs makes a decision, or says why it is refused.
func (s *Server) settleAs(a *approval, d connic.Decision, by connic.Actor) *answer {
	switch {
	case a.Status == connic.ApprovalExpired:
		conflict := problem(http.StatusConflict, "The approval has expired")
		return &conflict
	case a.Status != connic.ApprovalPending:
		conflict := problem(http.StatusConflict, "The approval was already "+string(a.Status))
		return &conflict
	case !d.Approve && d.Response != "":
		return invalid("A rejection has no response", "value_error", "body", "response")
	case d.Approve && len(a.Inputs) > 0 && strings.TrimSpace(d.Response) == "":
		return invalid("The approval asks for a response", "value_error", "body", "response")
	case utf8.RuneCountInString(d.Response) > maxResponse:
		return invalid(fmt.Sprintf("String should have at most %d characters", maxResponse), "string_too_long", "body", "response")
	}
	a.DecidedAt, a.DecidedBy, a.Reason, a.response = s.now(), by, d.Reason, d.Response
	status := connic.ApprovalRejected
	if d.Approve {
		status = connic.ApprovalApproved
	}
	s.settleApproval(a, status)
	return nil
}

// Decide decides an approval as somebody in the dashboard would, who is called
// by. It returns an error if the approval does not exist, is decided already, or
// asks for a response that the decision does not have.
func (s *Server) Decide(approvalID, by string, d connic.Decision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.findApproval(approvalID)
	if a == nil {
		return fmt.Errorf("connictest: there is no approval %q", approvalID)
	}
	if refused := s.settleAs(a, d, connic.Actor{Type: "user", Name: by}); refused != nil {
		return fmt.Errorf("connictest: the decision is refused: %s", refused.body)
	}
	return nil
}

// Approve approves what a run waits for, given the id of the run or of an
// approval. A run that waits for nothing has its next approval at once.
// Approvals with inputs get the response "approved"; see [Server.Decide].
func (s *Server) Approve(id string) { s.decideAll(id, connic.Decision{Approve: true}) }

// Reject rejects what a run waits for, given the id of the run or of an
// approval.
func (s *Server) Reject(id string) { s.decideAll(id, connic.Decision{}) }

func (s *Server) decideAll(id string, d connic.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	found := false
	for _, a := range s.approvals {
		if a.Status != connic.ApprovalPending || a.ID != id && a.RunID != id {
			continue
		}
		found = true
		own := d
		if d.Approve && len(a.Inputs) > 0 {
			own.Response = "approved"
		}
		_ = s.settleAs(a, own, connic.Actor{Type: "user", Name: "connictest"})
	}
	if r := s.findRun(id); r != nil && !found && d.Approve && r.ended.IsZero() {
		r.granted = true
	}
}

// Response returns the response with which an approval was approved, which the
// API does not show.
func (s *Server) Response(approvalID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.findApproval(approvalID); a != nil {
		return a.response
	}
	return ""
}

func (s *Server) listApprovals(x *exchange) answer {
	s.expire()
	if status := x.param("status"); status != "" && !connic.ApprovalStatus(status).Known() {
		return *invalid("Input should be an approval status", "enum", "query", "status")
	}
	var items []object
	for _, a := range slices.Backward(s.approvals) {
		if !x.differs("status", string(a.Status)) && !x.differs("run_id", a.RunID) && !x.differs("agent_name", a.AgentName) &&
			!x.differs("environment_id", a.run.environment) {
			items = append(items, a.object())
		}
	}
	return x.page(items)
}

func (s *Server) getApproval(x *exchange) answer {
	if a := s.findApproval(x.id); a != nil {
		return ok(a.object())
	}
	return notFound("Approval")
}

func (s *Server) decideApproval(x *exchange) answer {
	var body struct {
		Decision string `json:"decision"`
		Reason   string `json:"reason"`
		Response string `json:"response"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	switch body.Decision {
	case "approve", "reject":
	case "":
		return *invalid("Field required", "missing", "body", "decision")
	default:
		return *invalid("Input should be 'approve' or 'reject'", "enum", "body", "decision")
	}
	a := s.findApproval(x.id)
	if a == nil {
		return notFound("Approval")
	}
	before := a.object()
	d := connic.Decision{Approve: body.Decision == "approve", Reason: body.Reason, Response: body.Response}
	if refused := s.settleAs(a, d, connic.Actor{Type: "api_key", Name: x.key.String()}); refused != nil {
		return *refused
	}
	s.changed(x, "approval", a.ID, before, a.object())
	return ok(a.object())
}

// NotifyApprovals makes an outbound connector deliver a notice of each approval
// that is requested, besides what it delivers otherwise. It returns o. The form of
// the service's notices is not documented.
func (o *Outbound) NotifyApprovals() *Outbound {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.server.approvalNotices = append(o.server.approvalNotices, o)
	return o
}

// NotifyApprovals is [Outbound.NotifyApprovals] for an outbound connector that was
// created over the API, given its id. It panics if there is none.
func (s *Server) NotifyApprovals(connectorID string) {
	s.mu.Lock()
	r := s.findResource(connectorID)
	s.mu.Unlock()
	if r == nil || r.outbound == nil {
		panic(fmt.Sprintf("connictest: there is no outbound connector %q", connectorID))
	}
	r.outbound.NotifyApprovals()
}

// announce delivers the notices of an approval. The caller holds the mutex.
func (s *Server) announce(a *approval) {
	body, err := json.Marshal(object{"event": "approval.requested", "approval": a.object()})
	if err != nil {
		panic(err) // it is made of plain values
	}
	for _, o := range s.approvalNotices {
		if len(o.agents) > 0 && !slices.Contains(o.agents, a.AgentName) || !s.begin() {
			continue
		}
		var with DeliveryFault
		if len(o.faults) > 0 {
			with, o.faults = o.faults[0], o.faults[1:]
		}
		go func() {
			defer s.work.Done()
			o.deliver(a.RunID, body, with)
			if with.Twice {
				o.deliver(a.RunID, body, DeliveryFault{})
			}
		}()
	}
}
