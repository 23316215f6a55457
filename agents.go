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

// AgentsService lists and triggers agents. It needs a key with access to the
// agents section.
type AgentsService service

// An Agent is an agent of the project. Undocumented fields may be empty.
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

// AgentType is the type of an agent.
type AgentType string

// The known agent types.
const (
	AgentLLM        AgentType = "llm"
	AgentSequential AgentType = "sequential"
	AgentTool       AgentType = "tool"
)

// Known reports whether this version of the package knows t.
func (t AgentType) Known() bool { return t == AgentLLM || t == AgentSequential || t == AgentTool }

// AgentListParams selects agents. The zero value selects all of them.
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
		params.EnvironmentID = s.scope().environment
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
	return do(ctx, s.scope(), r, l.decode, opts)
}

// List returns one page of agents. It costs one request.
//
//	API:    GET /projects/{project}/agents
//	Access: agents read
//	Status: assumed
func (s *AgentsService) List(ctx context.Context, p *AgentListParams, opts ...RequestOption) (*Page[Agent], error) {
	l, params := s.listing(p)
	return s.page(ctx, &l, params, opts)
}

// All iterates over the agents, starting at the given offset. It costs one
// request per Limit agents; the default Limit is 100.
//
//	API:    GET /projects/{project}/agents
//	Access: agents read
//	Status: assumed
func (s *AgentsService) All(ctx context.Context, p *AgentListParams, opts ...RequestOption) iter.Seq2[*Agent, error] {
	l, params := s.listing(p)
	return l.all(ctx, "agents.list", func(ctx context.Context, l *listing[Agent]) (*Page[Agent], error) {
		return s.page(ctx, l, params, opts)
	})
}

// Get returns the agent with the given name in the client's environment, if the
// client has one. It costs one request.
//
//	API:    GET /projects/{project}/agents/{agent}
//	Access: agents read
//	Status: assumed
func (s *AgentsService) Get(ctx context.Context, agent string, opts ...RequestOption) (*Agent, error) {
	r := request{op: api.AgentsGet, id: agent}
	r.query.add("environment_id", s.scope().environment)
	return do(ctx, s.scope(), r, decodeInto[Agent], opts)
}

// A TriggerRequest is the input of a run: a message, a structured payload,
// files, or any combination of these.
type TriggerRequest struct {
	Message string
	// Payload is any value that encodes to a JSON object. Its keys are added to
	// the top level of the request, alongside message and files, and must differ
	// from those. Without a message and files, Payload may encode to any JSON
	// value, which then is the request body.
	Payload any
	Files   []File
}

// A File is a file passed to an agent.
type File struct {
	Name     string `json:"name" api:"words"`
	MIMEType string `json:"mime_type" api:"words"` // "text/plain"
	Data     []byte `json:"data" api:"words"`
}

// encode returns the request body of a trigger.
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
			files[i].Data = []byte{} // an empty file rather than null
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
	_ = d.Members(func(key []byte) error { // cannot fail: it was just encoded
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

// TriggerResult is the response to a trigger.
type TriggerResult struct {
	RunID     string    `json:"run_id" api:"assumed,id"`
	Status    RunStatus `json:"status" api:"assumed"`
	AgentName string    `json:"agent_name,omitzero" api:"assumed"`
	// Output is set if the service responds with the finished run.
	Output string `json:"output,omitzero" api:"assumed,response"`
}

// triggerWire covers every place where the response may name the run.
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
		return nil, &lenient.FieldError{Field: "run_id", Err: errors.New("the response names no run")}
	}
	return result, nil
}

// salvageTrigger extracts the run's id from a truncated response, using the
// members that are complete.
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

// Trigger starts a run of an agent and returns without waiting for it. To wait,
// use [RunsService.Wait] or [AgentsService.TriggerAndWait].
//
// The API has no protection against replays: a request that arrives twice
// starts two runs, and both are billed. Trigger therefore retries only if the
// first attempt cannot have been executed. If that is uncertain and no response
// came, the error is [ErrOutcomeUnknown]. If the response was truncated after
// it named the run, the result is returned with that error.
//
// The vendor describes this endpoint as intended for testing, and recommends
// webhook connectors for production traffic; package connector calls those.
//
// It costs one request.
//
//	API:    POST /projects/{project}/agents/{agent}/trigger
//	Access: agents write
//	Status: documented
func (s *AgentsService) Trigger(ctx context.Context, agent string, req TriggerRequest, opts ...RequestOption) (*TriggerResult, error) {
	body, err := req.encode()
	if err != nil {
		return nil, err
	}
	return do(ctx, s.scope(), request{op: api.AgentsTrigger, id: agent, encoded: body, salvage: salvageTrigger}, decodeTrigger, opts)
}
