package fakecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Agent is an agent with scripted answers.
type Agent struct {
	Name        string `json:"name"`
	Environment string `json:"environment_id"` // empty: the default environment
	// Answers are tried in order; the first one whose When occurs in the
	// message is given.
	Answers []Answer `json:"answers"`
}

// An Answer is what an agent does: it creates its spans, waits, and then
// answers.
type Answer struct {
	When string `json:"when"` // a substring of the message; empty matches any
	// Output is a string or any JSON value. The default is the message.
	Output json.RawMessage `json:"output"`
	Error  string          `json:"error"` // makes the run fail
	Delay  Duration        `json:"delay"`
	Spans  []Span          `json:"spans"`
	Tokens *Tokens         `json:"tokens"`
	Cost   string          `json:"cost"` // "0.0125"
	// Currency is EUR, the default, or USD.
	Currency string `json:"currency"`
	// Approval keeps the run in the status awaiting_approval until it is
	// cancelled.
	Approval bool `json:"approval"`
}

// Tokens is the token usage of a run.
type Tokens struct {
	Input    int64 `json:"input"`
	Output   int64 `json:"output"`
	Thinking int64 `json:"thinking"`
	Cached   int64 `json:"cached"`
}

// A Span is a step of a run.
type Span struct {
	Name  string   `json:"name"`
	Type  string   `json:"type"` // "tool" by default; for "log", the name is the line
	Delay Duration `json:"delay"`
	Error string   `json:"error"`
	Spans []Span   `json:"spans"`
}

func (c *Config) agents(srv *connictest.Server) error {
	if len(c.Agents) == 0 {
		c.Agents = []Agent{
			{Name: "echo", Answers: []Answer{{}}},
			{Name: "slow", Answers: []Answer{{Delay: Duration(5 * time.Second)}}},
			{Name: "fail", Answers: []Answer{{Error: "this agent always fails"}}},
		}
	}
	seen := make(map[string]bool)
	for _, a := range c.Agents {
		switch {
		case a.Name == "":
			return errors.New("an agent needs a name")
		case seen[a.Name]:
			return fmt.Errorf("several agents have the name %s", a.Name)
		}
		seen[a.Name] = true
		for _, answer := range a.Answers {
			if _, err := connic.ParseDecimal(answer.Cost); answer.Cost != "" && err != nil {
				return fmt.Errorf("the agent %s: %w", a.Name, err)
			}
		}
		if a.Environment == "" {
			srv.Agent(a.Name, a.do)
		} else {
			srv.AgentIn(a.Environment, a.Name, a.do)
		}
	}
	return nil
}

func (a *Agent) do(ctx context.Context, in connictest.Input) (any, error) {
	for _, answer := range a.Answers {
		if strings.Contains(in.Message, answer.When) {
			return answer.give(ctx, in)
		}
	}
	return nil, fmt.Errorf("no answer is scripted for %q", in.Message)
}

func (a *Answer) give(ctx context.Context, in connictest.Input) (any, error) {
	if err := spans(ctx, in, a.Spans); err != nil {
		return nil, err
	}
	if a.Approval {
		if err := in.AwaitApproval(ctx); err != nil {
			return nil, err
		}
	}
	if err := sleep(ctx, a.Delay); err != nil {
		return nil, err
	}
	if t := a.Tokens; t != nil {
		in.Tokens(connic.TokenUsage{Input: t.Input, Output: t.Output, Thinking: t.Thinking, Cached: t.Cached})
	}
	if a.Cost != "" {
		currency := a.Currency
		if currency == "" {
			currency = connic.EUR
		}
		in.Cost(a.Cost, currency)
	}
	var text string
	switch {
	case a.Error != "":
		return nil, errors.New(a.Error)
	case len(a.Output) == 0:
		return in.Message, nil
	case json.Unmarshal(a.Output, &text) == nil:
		return text, nil
	}
	return a.Output, nil
}

func spans(ctx context.Context, in connictest.Input, all []Span) error {
	for _, s := range all {
		if s.Type == "log" {
			in.Log(s.Name)
			continue
		}
		kind := s.Type
		if kind == "" {
			kind = "tool"
		}
		err := in.Step(s.Name, kind, func() error {
			if err := sleep(ctx, s.Delay); err != nil {
				return err
			}
			if err := spans(ctx, in, s.Spans); err != nil {
				return err
			}
			if s.Error != "" {
				return errors.New(s.Error)
			}
			return nil
		})
		if ctx.Err() != nil {
			return err // a step that fails does not fail the run
		}
	}
	return nil
}

func sleep(ctx context.Context, d Duration) error {
	timer := time.NewTimer(time.Duration(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
