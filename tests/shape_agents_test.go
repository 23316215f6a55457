package tests

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/connic-go/connic"
)

var agentShapes = []shape{
	{
		name: "list", op: "agents.list", method: "GET", path: "/agents",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Agent], error) {
			return c.Agents.List(ctx, &connic.AgentListParams{EnvironmentID: "e1", Limit: 20, Offset: 40})
		}),
		query:  url.Values{"environment_id": {"e1"}, "limit": {"20"}, "offset": {"40"}},
		answer: `{"items": [{"id": "a1", "name": "support", "type": "llm", "tools": ["search"], "timeout": "30", "created_at": "2026-11-23 10:00:00"}]}`,
		want: []*connic.Agent{{
			ID: "a1", Name: "support", Type: connic.AgentLLM, Tools: []string{"search"}, Timeout: 30,
			CreatedAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		}},
	},
	{
		name: "list without parameters", op: "agents.list", method: "GET", path: "/agents",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Agent], error) {
			return c.Agents.List(ctx, nil)
		}),
		answer: `[]`, want: []*connic.Agent{},
	},
	{
		name: "get", op: "agents.get", method: "GET", path: "/agents/support%20%C3%BC",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Agent, error) {
			return c.Agents.Get(ctx, "support ü")
		}),
		answer: `{"name": "support ü", "max_concurrent_runs": 3, "new_field": {"x": 1}}`,
		want:   &connic.Agent{Name: "support ü", MaxConcurrentRuns: 3},
	},
	{
		name: "get in the client's environment", op: "agents.get", method: "GET", path: "/agents/support",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Agent, error) {
			return c.Agents.Get(ctx, "support")
		}),
		opts:   []connic.Option{connic.WithEnvironment("e1")},
		query:  url.Values{"environment_id": {"e1"}},
		answer: `{"name": "support", "environment_id": "e1"}`,
		want:   &connic.Agent{Name: "support", EnvironmentID: "e1"},
	},
	{
		name: "trigger", op: "agents.trigger", method: "POST", path: "/agents/support/trigger",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TriggerResult, error) {
			return c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "Summarize the latest sales report"})
		}),
		body:   `{"message": "Summarize the latest sales report"}`,
		answer: `{"run_id": "r1", "status": "queued", "agent_name": "support"}`,
		want:   &connic.TriggerResult{RunID: "r1", Status: connic.RunQueued, AgentName: "support"},
	},
	{
		name: "trigger with payload and files", op: "agents.trigger", method: "POST", path: "/agents/support/trigger",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TriggerResult, error) {
			return c.Agents.Trigger(ctx, "support", connic.TriggerRequest{
				Message: "<b>&", Payload: struct {
					Priority int             `json:"priority"`
					Deep     json.RawMessage `json:"deep"`
				}{7, json.RawMessage(`{"a": [1, 2]}`)},
				Files: []connic.File{{Name: "a.txt", MIMEType: "text/plain", Data: []byte("hello")}},
			})
		}),
		body: `{"message": "<b>&", "priority": 7, "deep": {"a": [1, 2]},
			"files": [{"name": "a.txt", "mime_type": "text/plain", "data": "aGVsbG8="}]}`,
		status: 202, answer: `{"run": {"id": "r2"}}`,
		want: &connic.TriggerResult{RunID: "r2"},
	},
	{
		name: "trigger with a payload only", op: "agents.trigger", method: "POST", path: "/agents/support/trigger",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TriggerResult, error) {
			return c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Payload: map[string]any{"k": "v"}})
		}),
		body: `{"k": "v"}`, answer: `{"run_ids": ["r3"], "status": "ok"}`,
		want: &connic.TriggerResult{RunID: "r3", Status: "ok"},
	},
	{
		name: "trigger answered with the output", op: "agents.trigger", method: "POST", path: "/agents/support/trigger",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TriggerResult, error) {
			return c.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "hi"})
		}),
		body: `{"message": "hi"}`, answer: `{"id": "r4", "response": {"mood": "good"}}`,
		want: &connic.TriggerResult{RunID: "r4", Status: connic.RunCompleted, Output: `{"mood": "good"}`},
	},
}
