package tests

import (
	"context"
	"net/url"
	"time"

	"github.com/connic-go/connic"
)

var judgeShapes = []shape{
	{
		name: "list", op: "judges.list", method: "GET", path: "/judges",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Judge], error) {
			return c.Judges.List(ctx, &connic.JudgeListParams{AgentName: "support", Limit: 10, Offset: 20})
		}),
		query:  url.Values{"agent_name": {"support"}, "limit": {"10"}, "offset": {"20"}},
		answer: `{"judges": [{"id": "j1", "name": "quality", "enabled": false}, {"id": 2, "sample_rate": null}], "total": "22"}`,
		want:   []*connic.Judge{{ID: "j1", Name: "quality"}, {ID: "2", Enabled: true}},
	},
	{
		name: "get", op: "judges.get", method: "GET", path: "/judges/j1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Judge, error) { return c.Judges.Get(ctx, "j1") }),
		answer: `{"id": "j1", "name": "Invoice check", "agent_name": "invoices", "model": "acme/large-1", "system_prompt": "Be strict.",
			"include_agent_system_prompt": true, "criteria": [{"name": "accuracy", "description": "all positions", "max_score": 10}],
			"trigger_mode": "automatic", "sample_rate": 20, "filters": [{"field": "status", "operator": "equals", "value": "completed"}],
			"filter_expression": "context.vip", "enabled": true, "score_alert": {"threshold": 7.5, "window": 20},
			"created_at": "2026-11-23T00:00:00Z", "updated_at": "2026-11-23T12:00:00Z", "owner": "somebody"}`,
		want: &connic.Judge{
			ID: "j1", Name: "Invoice check", AgentName: "invoices", Model: "acme/large-1", SystemPrompt: "Be strict.",
			IncludeAgentSystemPrompt: true, Criteria: []connic.Criterion{{Name: "accuracy", Description: "all positions", MaxScore: 10}},
			TriggerMode: connic.JudgeAutomatic, SampleRate: 20,
			Filters:          []connic.RunFilter{{Field: "status", Operator: connic.FilterEquals, Value: "completed"}},
			FilterExpression: "context.vip", Enabled: true, ScoreAlert: &connic.ScoreAlert{Threshold: 7.5, Window: 20.0},
			CreatedAt: day, UpdatedAt: day.Add(12 * time.Hour),
		},
	},
	{
		name: "get with values of other types", op: "judges.get", method: "GET", path: "/judges/7",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Judge, error) { return c.Judges.Get(ctx, "7") }),
		answer: `{"id": 7, "name": "x", "sample_rate": "12.5", "enabled": "true", "criteria": [{"name": "a", "max_score": "10"}],
			"filters": [{"field": "a", "operator": "matches_moon", "value": 3}], "trigger_mode": "hourly", "system_prompt": null,
			"score_alert": {"threshold": "5", "window": "24h"}, "created_at": "2026-11-23 00:00:00", "updated_at": 1795392000}`,
		want: &connic.Judge{
			ID: "7", Name: "x", SampleRate: 12.5, Enabled: true, Criteria: []connic.Criterion{{Name: "a", MaxScore: 10}},
			Filters: []connic.RunFilter{{Field: "a", Operator: "matches_moon", Value: 3.0}}, TriggerMode: "hourly",
			ScoreAlert: &connic.ScoreAlert{Threshold: 5, Window: "24h"}, CreatedAt: day, UpdatedAt: day,
		},
	},
	{
		name: "create", op: "judges.create", method: "POST", path: "/judges",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Judge, error) {
			return c.Judges.Create(ctx, connic.JudgeCreate{
				Name: "quality", AgentName: "support", Model: "openai/gpt-5", SystemPrompt: "Be fair.", IncludeAgentSystemPrompt: connic.Set(false),
				Criteria:    []connic.Criterion{{Name: "accuracy", Description: "is it right?", MaxScore: 10}, {Name: "tone", MaxScore: 2.5}},
				TriggerMode: connic.JudgeAutomatic, SampleRate: 25,
				Filters: []connic.RunFilter{
					{Field: "status", Operator: connic.FilterNotEquals, Value: "failed"},
					{Field: "context.tier", Operator: connic.FilterContains, Value: "gold"},
					{Field: "context.flag", Operator: connic.FilterEquals, Value: false},
					{Field: "context.customer", Operator: connic.FilterExists},
				},
				FilterExpression: "context.a == 1", Enabled: connic.Set(true), ScoreAlert: &connic.ScoreAlert{Threshold: 8, Window: 50},
			})
		}),
		body: `{"name": "quality", "agent_name": "support", "model": "openai/gpt-5", "system_prompt": "Be fair.", "include_agent_system_prompt": false,
			"criteria": [{"name": "accuracy", "description": "is it right?", "max_score": 10}, {"name": "tone", "max_score": 2.5}],
			"trigger_mode": "automatic", "sample_rate": 25,
			"filters": [{"field": "status", "operator": "not_equals", "value": "failed"}, {"field": "context.tier", "operator": "contains", "value": "gold"},
				{"field": "context.flag", "operator": "equals", "value": false}, {"field": "context.customer", "operator": "exists"}],
			"filter_expression": "context.a == 1", "enabled": true, "score_alert": {"threshold": 8, "window": 50}}`,
		status: 201, answer: `{"id": "j1"}`,
		want: &connic.Judge{ID: "j1", Enabled: true},
	},
	{
		name: "create with what it needs", op: "judges.create", method: "POST", path: "/judges",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Judge, error) {
			return c.Judges.Create(ctx, connic.JudgeCreate{Name: "q", AgentName: "a", Criteria: []connic.Criterion{{Name: "c", MaxScore: 1}}})
		}),
		body:   `{"name": "q", "agent_name": "a", "criteria": [{"name": "c", "max_score": 1}]}`,
		answer: `{"id": "j1", "criteria": null, "filters": null, "score_alert": null}`,
		want:   &connic.Judge{ID: "j1", Enabled: true},
	},
	{
		name: "update", op: "judges.update", method: "PATCH", path: "/judges/j1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Judge, error) {
			return c.Judges.Update(ctx, "j1", connic.JudgeUpdate{
				Name: connic.Set("strict"), AgentName: connic.Set("sales"), Model: connic.Set("a/b"), SystemPrompt: connic.Null[string](),
				IncludeAgentSystemPrompt: connic.Set(true), Criteria: connic.Set([]connic.Criterion{{Name: "c", MaxScore: 3}}),
				TriggerMode: connic.Set(connic.JudgeManual), SampleRate: connic.Null[float64](), Filters: connic.Set([]connic.RunFilter{}),
				FilterExpression: connic.Null[string](), Enabled: connic.Set(false), ScoreAlert: connic.Null[connic.ScoreAlert](),
			})
		}),
		body: `{"name": "strict", "agent_name": "sales", "model": "a/b", "system_prompt": null, "include_agent_system_prompt": true,
			"criteria": [{"name": "c", "max_score": 3}], "trigger_mode": "manual", "sample_rate": null, "filters": [], "filter_expression": null,
			"enabled": false, "score_alert": null}`,
		answer: `{"id": "j1", "enabled": false}`,
		want:   &connic.Judge{ID: "j1"},
	},
	{
		name: "delete", op: "judges.delete", method: "DELETE", path: "/judges/j1",
		call:   call0(func(ctx context.Context, c *connic.Client) error { return c.Judges.Delete(ctx, "j1") }),
		status: 204,
	},
	{
		name: "evaluate", op: "judges.evaluate", method: "POST", path: "/judges/j1/evaluate",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Evaluation, error) {
			return c.Judges.Evaluate(ctx, "j1", "r1")
		}),
		body: `{"run_id": "r1"}`, status: 202,
		answer: `{"id": "e1", "judge_id": "j1", "run_id": "r1", "status": "pending", "score": null, "max_score": null, "criteria": null}`,
		want:   &connic.Evaluation{ID: "e1", JudgeID: "j1", RunID: "r1", Status: connic.EvaluationPending},
	},
	{
		name: "evaluate answered with an id only", op: "judges.evaluate", method: "POST", path: "/judges/j1/evaluate",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Evaluation, error) {
			return c.Judges.Evaluate(ctx, "j1", "r1")
		}),
		body: `{"run_id": "r1"}`, answer: `{"evaluation_id": 17}`,
		want: &connic.Evaluation{ID: "17", JudgeID: "j1", RunID: "r1", Status: connic.EvaluationPending},
	},
	{
		name: "evaluate answered with the result, wrapped", op: "judges.evaluate", method: "POST", path: "/judges/j1/evaluate",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Evaluation, error) {
			return c.Judges.Evaluate(ctx, "j1", "r1")
		}),
		body:   `{"run_id": "r1"}`,
		answer: `{"evaluation": {"id": "e1", "criteria": [{"name": "a", "score": "0.7", "max_score": 1, "reasoning": "ok"}, {"name": "b", "score": 0.1, "max_score": 1}]}}`,
		want: &connic.Evaluation{
			ID: "e1", JudgeID: "j1", RunID: "r1", Status: connic.EvaluationCompleted, Score: 0.8, MaxScore: 2,
			Criteria: []connic.CriterionScore{{Name: "a", Score: 0.7, MaxScore: 1, Reasoning: "ok"}, {Name: "b", Score: 0.1, MaxScore: 1}},
		},
	},
	{
		name: "evaluate answered without an id", op: "judges.evaluate", method: "POST", path: "/judges/j1/evaluate",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Evaluation, error) {
			return c.Judges.Evaluate(ctx, "j1", "r1")
		}),
		body: `{"run_id": "r1"}`, answer: `{"status": "pending"}`,
		want: &connic.Evaluation{JudgeID: "j1", RunID: "r1", Status: connic.EvaluationPending},
	},
	{
		name: "evaluations", op: "judges.evaluations", method: "GET", path: "/judges/j1/evaluations",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Evaluation], error) {
			return c.Judges.Evaluations(ctx, "j1", &connic.EvaluationListParams{RunID: "r1", Status: connic.EvaluationCompleted, Limit: 5, Offset: 10})
		}),
		query: url.Values{"run_id": {"r1"}, "status": {"completed"}, "limit": {"5"}, "offset": {"10"}},
		answer: `{"evaluations": [
			{"id": "e1", "judge_id": "j1", "run_id": "r1", "status": "completed", "score": 17, "max_score": "20", "created_at": "2026-11-23T00:00:00",
				"criteria": [{"name": "accuracy", "score": 9, "max_score": 10, "reasoning": "fine"}]},
			{"id": "e2", "run_id": "r2", "status": "failed", "error": "no key"},
			{"id": "e3", "run_id": "r3", "error": "broken"},
			{"id": "e4", "run_id": "r4", "status": "skipped"}]}`,
		want: []*connic.Evaluation{
			{
				ID: "e1", JudgeID: "j1", RunID: "r1", Status: connic.EvaluationCompleted, Score: 17, MaxScore: 20, CreatedAt: day,
				Criteria: []connic.CriterionScore{{Name: "accuracy", Score: 9, MaxScore: 10, Reasoning: "fine"}},
			},
			{ID: "e2", JudgeID: "j1", RunID: "r2", Status: connic.EvaluationFailed, Error: "no key"},
			{ID: "e3", JudgeID: "j1", RunID: "r3", Status: connic.EvaluationFailed, Error: "broken"},
			{ID: "e4", JudgeID: "j1", RunID: "r4", Status: "skipped"},
		},
	},
}
