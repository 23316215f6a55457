package tests

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/connic-go/connic"
)

var day = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

var runShapes = []shape{
	{
		name: "list", op: "runs.list", method: "GET", path: "/runs",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Run], error) {
			return c.Runs.List(ctx, &connic.RunListParams{
				AgentName: "support & sales", Status: []connic.RunStatus{connic.RunFailed, connic.RunCancelled},
				EnvironmentID: "e1", DeploymentID: "d1", ParentRunID: "r0",
				CreatedAfter: day, CreatedBefore: day.Add(36 * time.Hour), Limit: 10, Offset: 20,
			})
		}),
		query: url.Values{
			"agent_name": {"support & sales"}, "status": {"failed", "cancelled"}, "environment_id": {"e1"},
			"deployment_id": {"d1"}, "parent_run_id": {"r0"}, "created_after": {"2026-11-23T00:00:00Z"},
			"created_before": {"2026-11-24T12:00:00Z"}, "limit": {"10"}, "offset": {"20"},
		},
		answer: `{"runs": [{"run_id": "r1", "status": "failed", "error": "boom"}, {"id": "r2", "status": "paused_by_moon"}], "total": 2}`,
		want:   []*connic.Run{{ID: "r1", Status: connic.RunFailed, Error: "boom"}, {ID: "r2", Status: "paused_by_moon"}},
	},
	{
		name: "get", op: "runs.get", method: "GET", path: "/runs/7b1c4a52",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Run, error) {
			return c.Runs.Get(ctx, "7b1c4a52")
		}),
		answer: `{"id": "7b1c4a52", "agent_name": "support", "status": "completed", "input": "hi", "output": "hello", "error": null,
			"run_context": {"user": 7}, "environment_id": "e1", "deployment_id": "d1", "parent_run_id": null, "connector_id": "c1",
			"created_at": "2026-11-23T00:00:00", "started_at": "2026-11-23T01:00:00+01:00", "ended_at": "2026-11-23T00:00:02.5Z",
			"duration_ms": 2500.25, "cost": 0.0125, "currency": "EUR",
			"token_usage": {"input_tokens": 10, "output_tokens": 20, "thinking": 5, "cached": null, "total": 35},
			"traces": [{"span_id": "s1", "parent_span_id": null, "span_order": 0, "name": "support", "type": "agent", "status": "ok",
				"start_time": "2026-11-23T00:00:00", "duration_ms": 2500, "metadata_json": "{\"tool_name\": \"x\"}"}]}`,
		want: &connic.Run{
			ID: "7b1c4a52", AgentName: "support", Status: connic.RunCompleted, Input: "hi", Output: "hello",
			Context: json.RawMessage(`{"user": 7}`), EnvironmentID: "e1", DeploymentID: "d1", ConnectorID: "c1",
			CreatedAt: day, StartedAt: day, EndedAt: day.Add(2500 * time.Millisecond), DurationMS: 2500.25,
			Cost: decimal("0.0125"), Currency: "EUR",
			TokenUsage: connic.TokenUsage{Input: 10, Output: 20, Thinking: 5, Total: 35},
			Traces: []connic.Span{{
				ID: "s1", Name: "support", Type: "agent", Status: "ok", StartTime: connic.Time{Time: day},
				DurationMS: 2500, Metadata: `{"tool_name": "x"}`,
			}},
		},
	},
	{
		name: "get with values of other types", op: "runs.get", method: "GET", path: "/runs/17",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Run, error) { return c.Runs.Get(ctx, "17") }),
		answer: `{"run_id": 17, "status": "completed", "output": {"answer": [1, 2]}, "duration_ms": "12.5", "cost": "0.10",
			"created_at": 1795392000, "token_usage": {"input": "7", "output": 3.0}, "traces": [{"span_id": 1, "metadata_json": {"a": 1}}]}`,
		want: &connic.Run{
			ID: "17", Status: connic.RunCompleted, Output: `{"answer": [1, 2]}`, DurationMS: 12.5, Cost: decimal("0.10"),
			CreatedAt: day, TokenUsage: connic.TokenUsage{Input: 7, Output: 3},
			Traces: []connic.Span{{ID: "1", Metadata: `{"a": 1}`}},
		},
	},
	{
		name: "cancel", op: "runs.cancel", method: "POST", path: "/runs/r1/cancel",
		call:   call0(func(ctx context.Context, c *connic.Client) error { return c.Runs.Cancel(ctx, "r1") }),
		answer: `{"status": "cancelled"}`,
	},
	{
		name: "cancel without an answer's body", op: "runs.cancel", method: "POST", path: "/runs/r1/cancel",
		call:   call0(func(ctx context.Context, c *connic.Client) error { return c.Runs.Cancel(ctx, "r1") }),
		status: 204,
	},
	{
		name: "rerun", op: "runs.rerun", method: "POST", path: "/runs/r1/rerun",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.TriggerResult, error) {
			return c.Runs.Rerun(ctx, "r1")
		}),
		answer: `{"run_id": "r2", "status": "queued"}`,
		want:   &connic.TriggerResult{RunID: "r2", Status: connic.RunQueued},
	},
	{
		name: "delete", op: "runs.delete", method: "DELETE", path: "/runs/r1",
		call:   call0(func(ctx context.Context, c *connic.Client) error { return c.Runs.Delete(ctx, "r1") }),
		status: 204,
	},
}

func decimal(s string) connic.Decimal {
	d, err := connic.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}
