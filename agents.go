package connic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// AgentsService lists agents and triggers them. It needs a key with access to
// the section agents.
type AgentsService service

// Agent is an agent of the project. Of its fields only the name is documented;
// the others are assumed and may stay empty.
type Agent struct {
	ID                string    `json:"id,omitzero"`
	Name              string    `json:"name"` // unique within an environment only
	Type              AgentType `json:"type,omitzero"`
	Description       string    `json:"description,omitzero"`
	Model             string    `json:"model,omitzero"`
	FallbackModel     string    `json:"fallback_model,omitzero"`
	Version           string    `json:"version,omitzero"`
	EnvironmentID     string    `json:"environment_id,omitzero"`
	DeploymentID      string    `json:"deployment_id,omitzero"`
	Tools             []string  `json:"tools,omitzero"`
	MaxConcurrentRuns int       `json:"max_concurrent_runs,omitzero"`
	Timeout           float64   `json:"timeout,omitzero"` // seconds
	CreatedAt         time.Time `json:"created_at,omitzero"`
	UpdatedAt         time.Time `json:"updated_at,omitzero"`
}

// AgentType is the kind of an agent.
type AgentType string

// The known kinds of agents.
const (
	AgentLLM        AgentType = "llm"
	AgentSequential AgentType = "sequential"
	AgentTool       AgentType = "tool"
)

// Known reports whether this version of the package knows t.
func (t AgentType) Known() bool { return t == AgentLLM || t == AgentSequential || t == AgentTool }

// agentWire is an Agent as it comes: the wrapper's fields hide those of the
// Agent that need a tolerant reader.
type agentWire struct {
	Agent
	Created Time `json:"created_at"`
	Updated Time `json:"updated_at"`
}

func (w *agentWire) agent() *Agent {
	w.CreatedAt, w.UpdatedAt = w.Created.Time, w.Updated.Time
	return &w.Agent
}

func decodeAgent(body []byte) (*Agent, error) {
	var w agentWire
	if err := unmarshal(body, &w); err != nil {
		return nil, err
	}
	return w.agent(), nil
}

// AgentListParams selects agents. Zero fields select all.
type AgentListParams struct {
	EnvironmentID string // default: the client's environment, if it has one
	Limit, Offset int
}

func (s *AgentsService) listing(p *AgentListParams) (listing[Agent, agentWire], AgentListParams) {
	var params AgentListParams
	if p != nil {
		params = *p
	}
	if params.EnvironmentID == "" {
		params.EnvironmentID = s.client.environment
	}
	return listing[Agent, agentWire]{
		name: "agents", unwrap: (*agentWire).agent,
		id:    func(a *Agent) string { return a.ID + "\x00" + a.Name + "\x00" + a.EnvironmentID },
		limit: params.Limit, offset: params.Offset,
	}, params
}

func (s *AgentsService) page(ctx context.Context, l *listing[Agent, agentWire], p AgentListParams, opts []RequestOption) (*Page[Agent], error) {
	r := request{op: api.AgentsList}
	r.query.add("environment_id", p.EnvironmentID)
	l.query(&r.query)
	return do(ctx, s.client, r, l.decode, opts)
}

// List returns one page of agents. It costs one request.
//
// API: GET /projects/{project}/agents
// Access: agents read
// Status: assumed
func (s *AgentsService) List(ctx context.Context, p *AgentListParams, opts ...RequestOption) (*Page[Agent], error) {
	l, params := s.listing(p)
	return s.page(ctx, &l, params, opts)
}

// All iterates over the agents, from the given offset on. It costs one request
// per 100 agents, or per Limit.
//
// API: GET /projects/{project}/agents
// Access: agents read
// Status: assumed
func (s *AgentsService) All(ctx context.Context, p *AgentListParams, opts ...RequestOption) iter.Seq2[*Agent, error] {
	l, params := s.listing(p)
	return l.all(ctx, "agents.list", func(ctx context.Context, l *listing[Agent, agentWire]) (*Page[Agent], error) {
		return s.page(ctx, l, params, opts)
	})
}

// Get returns an agent by its name, in the client's environment if it has one.
// It costs one request.
//
// API: GET /projects/{project}/agents/{agent}
// Access: agents read
// Status: assumed
func (s *AgentsService) Get(ctx context.Context, agent string, opts ...RequestOption) (*Agent, error) {
	r := request{op: api.AgentsGet, id: agent}
	r.query.add("environment_id", s.client.environment)
	return do(ctx, s.client, r, decodeAgent, opts)
}

// TriggerRequest is what an agent gets to work on: a message, a structured
// payload, files, or several of them.
type TriggerRequest struct {
	Message string
	// Payload is any value that encodes to a JSON object. Its keys stand beside
	// message and files in the request, and must be others.
	Payload any
	Files   []File
}

// File is a file for an agent.
type File struct {
	Name     string `json:"name"`
	MIMEType string `json:"mime_type"` // "text/plain"
	Data     []byte `json:"data"`
}

// encode makes the body of a trigger.
func (r *TriggerRequest) encode() (json.RawMessage, error) {
	bad := func(arg, reason string) (json.RawMessage, error) {
		return nil, &ArgumentError{Op: api.Table[api.AgentsTrigger].Name, Arg: arg, Reason: reason}
	}
	if r.Message == "" && r.Payload == nil && len(r.Files) == 0 {
		return bad("request", "is empty: it has neither message nor payload nor files")
	}
	for _, f := range r.Files {
		if f.Name == "" {
			return bad("file", "has no name")
		}
		if f.MIMEType == "" {
			return bad("file", "has no MIME type")
		}
	}
	own, err := json.Marshal(struct {
		Message string `json:"message,omitempty"`
		Files   []File `json:"files,omitempty"`
	}{r.Message, r.Files})
	if err != nil {
		return bad("request", "cannot be encoded as JSON: "+err.Error())
	}
	if r.Payload == nil {
		return own, nil
	}
	payload, err := json.Marshal(r.Payload)
	if err != nil {
		return bad("payload", "cannot be encoded as JSON: "+err.Error())
	}
	var keys map[string]json.RawMessage
	if payload[0] != '{' || json.Unmarshal(payload, &keys) != nil {
		return bad("payload", "does not encode to a JSON object")
	}
	if _, ok := keys["message"]; ok && r.Message != "" {
		return bad("payload", "has a key message, and the request has a message too")
	}
	if _, ok := keys["files"]; ok && len(r.Files) > 0 {
		return bad("payload", "has a key files, and the request has files too")
	}
	switch {
	case len(own) == len("{}"):
		return payload, nil
	case len(keys) == 0:
		return own, nil
	}
	return append(append(own[:len(own)-1], ','), payload[1:]...), nil
}

// TriggerResult is the service's answer to a trigger.
type TriggerResult struct {
	RunID     string    `json:"run_id"`
	Status    RunStatus `json:"status"`
	AgentName string    `json:"agent_name,omitzero"`
	// Output is set where the service answers with the finished run.
	Output string `json:"output,omitzero"`
}

// triggerWire holds every place where the answer may name the run.
type triggerWire struct {
	RunID     string          `json:"run_id"`
	ID        string          `json:"id"`
	RunIDs    []string        `json:"run_ids"`
	Run       *triggerWire    `json:"run"`
	Status    RunStatus       `json:"status"`
	AgentName string          `json:"agent_name"`
	Output    json.RawMessage `json:"output"`
	Response  json.RawMessage `json:"response"`
}

func (w *triggerWire) id() string {
	switch {
	case w.RunID != "":
		return w.RunID
	case w.ID != "":
		return w.ID
	case w.Run != nil && w.Run.id() != "":
		return w.Run.id()
	case len(w.RunIDs) == 1:
		return w.RunIDs[0]
	}
	return ""
}

func decodeTrigger(body []byte) (*TriggerResult, error) {
	quick := new(TriggerResult)
	if quickTrigger(body, quick) {
		return quick, nil
	}
	var w triggerWire
	if err := unmarshal(body, &w); err != nil {
		return nil, err
	}
	result := &TriggerResult{RunID: w.id(), Status: w.Status, AgentName: w.AgentName}
	finished := false
	for _, raw := range [...]json.RawMessage{w.Output, w.Response} {
		if len(raw) > 0 && string(raw) != "null" && !finished {
			result.Output, finished = scalar(raw), true
		}
	}
	if finished && !result.Status.Finished() {
		result.Status = RunCompleted
	}
	if result.RunID == "" && !finished {
		return nil, &fieldError{field: "run_id", err: errors.New("the answer names no run")}
	}
	return result, nil
}

// salvageTrigger finds the run's id in an answer that broke off.
func salvageTrigger(body []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for {
		key, err := decoder.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return nil
		}
		var w triggerWire
		if name, ok := key.(string); ok {
			if member, err := json.Marshal(map[string]json.RawMessage{name: value}); err == nil && unmarshal(member, &w) == nil && w.id() != "" {
				return &TriggerResult{RunID: w.id()}
			}
		}
	}
}

// Trigger starts a run of an agent and returns at once; see [RunsService.Wait]
// and [AgentsService.TriggerAndWait] for its answer.
//
// There is no protection against replays in the API: a request that is sent
// twice is two runs that somebody pays for. Trigger is therefore repeated only
// when the first attempt cannot have been executed. Where that is not certain
// and no answer came, the error is [ErrOutcomeUnknown]; if the answer broke off
// after it had named the run, the result is returned beside that error.
//
// The vendor calls this endpoint one for testing, and recommends webhook
// connectors for production traffic.
//
// It costs one request.
//
// API: POST /projects/{project}/agents/{agent}/trigger
// Access: agents write
// Status: documented
func (s *AgentsService) Trigger(ctx context.Context, agent string, req TriggerRequest, opts ...RequestOption) (*TriggerResult, error) {
	body, err := req.encode()
	if err != nil {
		return nil, err
	}
	return do(ctx, s.client, request{op: api.AgentsTrigger, id: agent, encoded: body, salvage: salvageTrigger}, decodeTrigger, opts)
}
