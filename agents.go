package connic

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// AgentsService lists agents and triggers them. It needs a key with access to
// the section agents.
type AgentsService service

// Agent is an agent of the project. Fields that are not documented may stay empty.
type Agent struct {
	ID                string    `json:"id,omitzero" api:"documented"`
	Name              string    `json:"name" api:"documented"` // unique within an environment only
	Type              AgentType `json:"type,omitzero" api:"words"`
	Description       string    `json:"description,omitzero" api:"assumed"`
	Model             string    `json:"model,omitzero" api:"assumed"`
	FallbackModel     string    `json:"fallback_model,omitzero" api:"assumed"`
	Version           string    `json:"version,omitzero" api:"assumed"`
	EnvironmentID     string    `json:"environment_id,omitzero" api:"assumed"`
	DeploymentID      string    `json:"deployment_id,omitzero" api:"assumed"`
	Tools             []string  `json:"tools,omitzero" api:"assumed"`
	MaxConcurrentRuns int       `json:"max_concurrent_runs,omitzero" api:"assumed"`
	Timeout           float64   `json:"timeout,omitzero" api:"assumed"` // seconds
	CreatedAt         time.Time `json:"created_at,omitzero" api:"assumed"`
	UpdatedAt         time.Time `json:"updated_at,omitzero" api:"assumed"`

	rawItem
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

// AgentListParams selects agents. Zero fields select all.
type AgentListParams struct {
	EnvironmentID string // default: the client's environment, if it has one
	Limit, Offset int
}

func (s *AgentsService) listing(p *AgentListParams) (listing[Agent], AgentListParams) {
	var params AgentListParams
	if p != nil {
		params = *p
	}
	if params.EnvironmentID == "" {
		params.EnvironmentID = s.client.inEnvironment()
	}
	return listing[Agent]{
		name:  "agents",
		id:    func(a *Agent) string { return a.ID + "\x00" + a.Name + "\x00" + a.EnvironmentID },
		limit: params.Limit, offset: params.Offset,
	}, params
}

func (s *AgentsService) page(ctx context.Context, l *listing[Agent], p AgentListParams, opts []RequestOption) (*Page[Agent], error) {
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
	return l.all(ctx, "agents.list", func(ctx context.Context, l *listing[Agent]) (*Page[Agent], error) {
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
	r.query.add("environment_id", s.client.inEnvironment())
	return do(ctx, s.client, r, decodeInto[Agent], opts)
}

// TriggerRequest is what an agent gets to work on: a message, a structured
// payload, files, or several of them.
type TriggerRequest struct {
	Message string
	// Payload is any value that encodes to a JSON object. Its keys join message and
	// files at the top level of the request, and must be others. Without a message
	// and files it may encode to any JSON value, which then is the request.
	Payload any
	Files   []File
}

// File is a file for an agent.
type File struct {
	Name     string `json:"name" api:"words"`
	MIMEType string `json:"mime_type" api:"words"` // "text/plain"
	Data     []byte `json:"data" api:"words"`
}

// encode makes the body of a trigger.
func (r *TriggerRequest) encode() (json.RawMessage, error) {
	bad := func(arg, reason string) (json.RawMessage, error) {
		return nil, &ArgumentError{Op: api.Table[api.AgentsTrigger].Name, Arg: arg, Reason: reason}
	}
	if r.Message == "" && r.Payload == nil && len(r.Files) == 0 {
		return bad("request", "is empty: it has neither message nor payload nor files")
	}
	files := slices.Clone(r.Files)
	for i, f := range files {
		if f.Data == nil {
			files[i].Data = []byte{} // an empty file, and not null
		}
		if f.Name == "" {
			return bad("file", "has no name")
		}
		if f.MIMEType == "" {
			return bad("file", "has no MIME type")
		}
	}
	own := []byte{'{'}
	if r.Message != "" || len(r.Files) > 0 {
		encoded, err := json.Marshal(struct {
			Message string `json:"message,omitempty"`
			Files   []File `json:"files,omitempty"`
		}{r.Message, files})
		if err != nil {
			return bad("request", "cannot be encoded as JSON: "+err.Error())
		}
		if r.Payload == nil {
			return encoded, nil
		}
		own = encoded[:len(encoded)-1]
	}
	payload, err := json.Marshal(r.Payload)
	if err != nil {
		return bad("payload", "cannot be encoded as JSON: "+err.Error())
	}
	if string(payload) == "null" {
		return bad("payload", "is null")
	}
	if len(own) == 1 {
		return payload, nil
	}
	if payload[0] != '{' {
		return bad("payload", "does not encode to a JSON object, and the request has a message or files too")
	}
	empty := true
	var clash string
	d := lenient.New(payload)
	_ = d.Members(func(key []byte) error { // it was encoded just now
		empty = false
		switch {
		case string(key) == "message" && r.Message != "":
			clash = "has a key message, and the request has a message too"
		case string(key) == "files" && len(r.Files) > 0:
			clash = "has a key files, and the request has files too"
		}
		return d.Skip()
	})
	switch {
	case clash != "":
		return bad("payload", clash)
	case empty:
		return append(own, '}'), nil
	}
	return append(append(own, ','), payload[1:]...), nil
}

// TriggerResult is the service's answer to a trigger.
type TriggerResult struct {
	RunID     string    `json:"run_id" api:"assumed,id"`
	Status    RunStatus `json:"status" api:"assumed"`
	AgentName string    `json:"agent_name,omitzero" api:"assumed"`
	// Output is set where the service answers with the finished run.
	Output string `json:"output,omitzero" api:"assumed,response"`
}

// triggerWire holds every place where the answer may name the run.
type triggerWire struct {
	TriggerResult
	RunIDs []string `json:"run_ids"`
	Run    *Run     `json:"run"`
}

func (w *triggerWire) id() string {
	switch {
	case w.RunID != "":
		return w.RunID
	case w.Run != nil && w.Run.ID != "":
		return w.Run.ID
	case len(w.RunIDs) == 1:
		return w.RunIDs[0]
	}
	return ""
}

func decodeTrigger(d *lenient.Decoder) (*TriggerResult, error) {
	w := new(triggerWire)
	if err := d.Decode(w); err != nil {
		return nil, err
	}
	result := &w.TriggerResult
	result.RunID = w.id()
	if result.Output != "" && !result.Status.Finished() {
		result.Status = RunCompleted
	}
	if result.RunID == "" && result.Output == "" {
		return nil, &lenient.FieldError{Field: "run_id", Err: errors.New("the answer names no run")}
	}
	return result, nil
}

// salvageTrigger finds the run's id in an answer that broke off: it goes by the
// members that are whole.
func salvageTrigger(body []byte) any {
	var w triggerWire
	d := lenient.New(body)
	_ = d.Members(func(key []byte) error {
		switch string(key) {
		case "run_id", "id":
			return d.Whole(&w.RunID)
		case "run_ids":
			return d.Whole(&w.RunIDs)
		case "run":
			return d.Whole(&w.Run)
		}
		return d.Skip()
	})
	if id := w.id(); id != "" {
		return &TriggerResult{RunID: id}
	}
	return nil
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
// connectors for production traffic: package connector calls them.
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
