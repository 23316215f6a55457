package connic

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// AgentsService lists and triggers agents. It needs a key with access to the
// agents section.
type AgentsService service

func (s *AgentsService) scope() *scope { return (*service)(s).scope() }

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

	RawItem
}

// AgentType is the type of an agent: "llm", "sequential" or "tool".
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
	// Limit is the number of agents per page, at most 100 (assumed). If it is 0,
	// List leaves it to the service, and All uses 100.
	Limit, Offset int
}

func agentListing(s *AgentsService, p *AgentListParams) listing[Agent] {
	if p == nil {
		p = new(AgentListParams)
	}
	l := listing[Agent]{
		scope: s.scope(), request: request{op: api.AgentsList}, name: "agents", id: func(a *Agent) string { return a.ID + "\x00" + a.Name + "\x00" + a.EnvironmentID },
		limit: p.Limit, offset: p.Offset,
	}
	l.request.query.add("environment_id", cmp.Or(p.EnvironmentID, l.scope.environment))
	return l
}

// List returns one page of agents. It costs one request.
//
//	API:    GET /projects/{project}/agents
//	Access: agents read
//	Status: assumed
func (s *AgentsService) List(ctx context.Context, p *AgentListParams, opts ...RequestOption) (*Page[Agent], error) {
	return agentListing(s, p).page(ctx, opts)
}

// All iterates over the agents, starting at the given offset. Agents may be
// added and deleted during the iteration: each of the others is yielded once,
// or the iteration ends with [ErrPageLoop]. It costs one request per Limit
// agents, and a few more if the list changes; the default Limit is 100.
//
//	API:    GET /projects/{project}/agents
//	Access: agents read
//	Status: assumed
func (s *AgentsService) All(ctx context.Context, p *AgentListParams, opts ...RequestOption) iter.Seq2[*Agent, error] {
	return agentListing(s, p).all(ctx, opts)
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
