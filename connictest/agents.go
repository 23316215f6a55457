package connictest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/connic-go/connic"
)

// An AgentFunc implements an agent. It receives an input and returns an output
// or an error. A string is the output itself; any other value is encoded as
// JSON. The context ends when the run is cancelled or the server is closed.
type AgentFunc func(ctx context.Context, in Input) (any, error)

// An Input is the input of an agent. Its methods report what the run did, and
// have no effect after its end.
type Input struct {
	RunID     string
	AgentName string
	Message   string
	Payload   map[string]json.RawMessage // the remaining keys of the trigger
	Files     []connic.File

	server *Server
	run    *run
}

// DecodePayload decodes the payload into v.
func (in Input) DecodePayload(v any) error {
	raw, err := json.Marshal(in.Payload)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// Tokens adds to the run's token usage.
func (in Input) Tokens(u connic.TokenUsage) {
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	if !in.run.ended.IsZero() {
		return
	}
	t := &in.run.tokens
	t.Input += u.Input
	t.Output += u.Output
	t.Thinking += u.Thinking
	t.Cached += u.Cached
	t.Total += u.Total
	if u.Total == 0 {
		t.Total += u.Input + u.Output + u.Thinking
	}
}

// Cost adds to the cost of the run. The amount is a decimal such as "0.0125",
// and the currency is EUR or USD. Cost panics if the amount is not a number, or
// if the currency differs from that of the first amount.
func (in Input) Cost(amount, currency string) {
	d, err := connic.ParseDecimal(amount)
	if err != nil {
		panic(err)
	}
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	switch {
	case !in.run.ended.IsZero():
		return
	case in.run.currency != "" && in.run.currency != currency:
		panic("connictest: a run costs in one currency")
	}
	in.run.cost, in.run.currency = in.run.cost.Add(d), currency
	in.server.charge(in.run.agent, in.run.environment, d, currency, false)
}

// agent is an agent of the project.
type agent struct {
	id, name    string
	environment string
	created     time.Time
	do          AgentFunc
}

func (a *agent) object() object {
	return object{
		"id": a.id, "name": a.name, "type": string(connic.AgentLLM), "model": "fake/model",
		"environment_id": a.environment, "tools": []string{}, "created_at": timestamp(a.created),
	}
}

// Agent adds an agent to the default environment. It replaces the function of
// an existing agent with the same name.
func (s *Server) Agent(name string, do AgentFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.findAgent(name); a != nil {
		a.do = do
		return
	}
	s.add(name, s.deployTarget(), do)
}

// AgentIn adds an agent to an environment, or moves the existing agent with the
// same name there. Unlike in the service, names are unique in the whole
// project.
func (s *Server) AgentIn(environmentID, name string, do AgentFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.findAgent(name); a != nil {
		a.environment, a.do = environmentID, do
		return
	}
	s.add(name, environmentID, do)
}

func (s *Server) add(name, environment string, do AgentFunc) {
	s.agents = append(s.agents, &agent{id: s.newID("agent"), name: name, environment: environment, created: s.now(), do: do})
}

func (s *Server) findAgent(name string) *agent {
	for _, a := range s.agents {
		if a.name == name {
			return a
		}
	}
	return nil
}

// run is a run of an agent.
type run struct {
	id, agent     string
	environment   string
	parent        string
	status        connic.RunStatus
	input         string
	body          []byte
	output, error string
	tokens        connic.TokenUsage
	cost          connic.Decimal
	currency      string
	created       time.Time
	started       time.Time
	ended         time.Time
	spans         []*span
	root          *span            // the agent's own
	open          map[string]*span // the innermost open step, by goroutine
	cancel        context.CancelFunc
	granted       bool          // the next approval, before it is requested
	connector     string        // the connector that started the run
	done          chan struct{} // closed when the run has ended

	size             int // of its texts, in bytes, once it was retired
	retired, deleted bool
}

// object returns the run as the service shows it. Lists omit the traces.
func (r *run) object(whole bool) object {
	o := object{
		"id": r.id, "agent_name": r.agent, "status": string(r.status), "input": text(r.input),
		"output": text(r.output), "error": text(r.error), "environment_id": r.environment, "parent_run_id": text(r.parent),
		"connector_id": text(r.connector),
		"created_at":   timestamp(r.created), "started_at": timestamp(r.started), "ended_at": timestamp(r.ended),
		"token_usage": object{
			"input": r.tokens.Input, "output": r.tokens.Output, "thinking": r.tokens.Thinking,
			"cached": r.tokens.Cached, "total": r.tokens.Total,
		},
		"cost": nil, "currency": text(r.currency), "duration_ms": nil,
	}
	if r.currency != "" {
		o["cost"] = r.cost.String()
	}
	if !r.ended.IsZero() {
		o["duration_ms"] = float64(r.ended.Sub(r.created).Microseconds()) / 1000
	}
	if whole {
		spans := make([]object, len(r.spans))
		for i, s := range r.spans {
			spans[i] = s.object()
		}
		o["traces"] = spans
		o["run_context"] = object{"agent": r.agent}
	}
	return o
}

func (s *Server) findRun(id string) *run {
	for _, r := range s.runs {
		if r.id == id {
			return r
		}
	}
	return nil
}

// start starts a run. The caller holds the mutex.
func (s *Server) start(a *agent, body []byte, parent string) *run {
	in := Input{AgentName: a.name, server: s, Payload: map[string]json.RawMessage{}}
	var keys map[string]json.RawMessage
	_ = json.Unmarshal(body, &keys) // it was checked
	for name, value := range keys {
		switch name {
		case "message":
			_ = json.Unmarshal(value, &in.Message)
		case "files":
			_ = json.Unmarshal(value, &in.Files)
		default:
			in.Payload[name] = value
		}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	r := &run{
		id: s.newID("run"), agent: a.name, environment: a.environment, parent: parent, status: connic.RunQueued,
		input: in.Message, body: body, created: s.now(), cancel: cancel,
		done: make(chan struct{}),
	}
	if r.input == "" && len(in.Payload) > 0 {
		r.input, _ = outputText(in.Payload) // its values were JSON already
	}
	in.RunID, in.run = r.id, r
	s.runs = append(s.runs, r)
	s.openBytes += len(body)
	if !s.begin() {
		r.status, r.ended = connic.RunCancelled, s.now()
		close(r.done)
		cancel()
		return r
	}
	do := a.do // the function may be replaced in the meantime
	go func() {
		defer s.work.Done()
		defer s.end(r)
		s.perform(ctx, do, in)
	}()
	return r
}

// perform calls the agent and records its result, however it ends.
func (s *Server) perform(ctx context.Context, do AgentFunc, in Input) {
	r := in.run
	defer r.cancel()
	if s.hold(ctx, r) != nil {
		return
	}
	s.mu.Lock()
	if r.started = s.now(); r.status == connic.RunQueued { // and not cancelled meanwhile
		r.status = connic.RunRunning
	}
	r.root = r.begin(r.started, r.agent, "agent", nil)
	s.mu.Unlock()

	output, problem := "", "the agent "+noReturn
	defer func() {
		if p := recover(); p != nil {
			problem = fmt.Sprintf("the agent panicked: %v", p)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(r, output, problem)
	}()
	result, err := do(ctx, in)
	if err == nil {
		output, err = outputText(result)
	}
	problem = errorText(err)
}

// finish ends a run. The caller holds the mutex.
func (s *Server) finish(r *run, output, problem string) {
	if r.ended.IsZero() { // else Close has given up on it
		r.ended = s.now()
	}
	r.root.end(r.ended, problem)
	for _, step := range r.spans {
		step.end(r.ended, "the run ended before the step")
	}
	switch {
	case r.status == connic.RunCancelled:
	case problem != "":
		r.status, r.error = connic.RunFailed, problem
	default:
		r.status, r.output = connic.RunCompleted, output
	}
	s.withdraw(r)
	s.judgeRun(r)
}

// errorText returns the text of an error, which is empty only for nil.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	if text := err.Error(); text != "" {
		return text
	}
	return "an error without a text"
}

func outputText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		raw, err := json.Marshal(v)
		return string(raw), err
	}
}
