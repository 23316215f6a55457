package tests

import (
	"context"
	"net/url"
	"time"

	"github.com/connic-go/connic"
)

var budgetShapes = []shape{
	{
		name: "list", op: "budgets.list", method: "GET", path: "/budgets",
		call: items(func(ctx context.Context, c *connic.Client) (*connic.Page[connic.Budget], error) {
			return c.Budgets.List(ctx, &connic.BudgetListParams{Limit: 10, Offset: 20})
		}),
		query:  url.Values{"limit": {"10"}, "offset": {"20"}},
		answer: `{"budgets": [{"id": "b1", "name": "guard", "amount": 10.50, "spent": 0}, {"id": "b2", "amount": null, "enabled": false}]}`,
		want: []*connic.Budget{
			{ID: "b1", Name: "guard", Amount: decimal("10.50"), Spent: decimal("0"), Enabled: true}, {ID: "b2"},
		},
	},
	{
		name: "get", op: "budgets.get", method: "GET", path: "/budgets/b1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Budget, error) { return c.Budgets.Get(ctx, "b1") }),
		answer: `{"id": "b1", "name": "guard", "kind": "limit", "scope": "agent", "environment_id": "e1", "agent_name": "support", "period": "daily",
			"amount": "100.00", "currency": "EUR", "spent": "99.9999999999999999", "resets_at": "2026-11-24T00:00:00Z", "enabled": true,
			"created_at": "2026-11-23T00:00:00Z", "updated_at": null, "notify": ["x"]}`,
		want: &connic.Budget{
			ID: "b1", Name: "guard", Kind: connic.BudgetLimit, Scope: connic.BudgetAgent, EnvironmentID: "e1", AgentName: "support",
			Period: connic.BudgetDaily, Amount: decimal("100.00"), Currency: connic.EUR, Spent: decimal("99.9999999999999999"),
			ResetsAt: day.Add(24 * time.Hour), Enabled: true, CreatedAt: day,
		},
	},
	{
		name: "get with values of other types", op: "budgets.get", method: "GET", path: "/budgets/5",
		call:   call1(func(ctx context.Context, c *connic.Client) (*connic.Budget, error) { return c.Budgets.Get(ctx, "5") }),
		answer: `{"id": 5, "kind": "throttle", "period": "weekly", "amount": 1e2, "spent": 0.1, "enabled": "false", "resets_at": "2026-11-23"}`,
		want: &connic.Budget{
			ID: "5", Kind: "throttle", Period: "weekly", Amount: decimal("1e2"), Spent: decimal("0.1"), ResetsAt: day,
		},
	},
	{
		name: "create", op: "budgets.create", method: "POST", path: "/budgets",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Budget, error) {
			return c.Budgets.Create(ctx, connic.BudgetCreate{
				Name: "guard", Kind: connic.BudgetLimit, Scope: connic.BudgetAgent, EnvironmentID: "e1", AgentName: "support",
				Period: connic.BudgetMonthly, Amount: decimal("0.10"), Currency: connic.USD, Enabled: connic.Set(false),
			})
		}),
		body: `{"name": "guard", "kind": "limit", "scope": "agent", "environment_id": "e1", "agent_name": "support", "period": "monthly",
			"amount": "0.10", "currency": "USD", "enabled": false}`,
		status: 201, answer: `{"id": "b1", "enabled": false}`,
		want: &connic.Budget{ID: "b1"},
	},
	{
		name: "create with what it needs", op: "budgets.create", method: "POST", path: "/budgets",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Budget, error) {
			return c.Budgets.Create(ctx, connic.BudgetCreate{
				Name: "all", Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily, Amount: decimal("5"), Currency: connic.EUR,
			})
		}),
		body:   `{"name": "all", "kind": "alert", "scope": "global", "period": "daily", "amount": "5", "currency": "EUR"}`,
		answer: `{"id": "b2"}`,
		want:   &connic.Budget{ID: "b2", Enabled: true},
	},
	{
		name: "update", op: "budgets.update", method: "PATCH", path: "/budgets/b1",
		call: call1(func(ctx context.Context, c *connic.Client) (*connic.Budget, error) {
			return c.Budgets.Update(ctx, "b1", connic.BudgetUpdate{
				Name: connic.Set("all"), Kind: connic.Set(connic.BudgetAlert), Scope: connic.Set(connic.BudgetGlobal),
				EnvironmentID: connic.Null[string](), AgentName: connic.Null[string](), Period: connic.Set(connic.BudgetDaily),
				Amount: connic.Set(decimal("20")), Currency: connic.Set(connic.EUR), Enabled: connic.Set(true),
			})
		}),
		body: `{"name": "all", "kind": "alert", "scope": "global", "environment_id": null, "agent_name": null, "period": "daily",
			"amount": "20", "currency": "EUR", "enabled": true}`,
		answer: `{"id": "b1"}`,
		want:   &connic.Budget{ID: "b1", Enabled: true},
	},
	{
		name: "delete", op: "budgets.delete", method: "DELETE", path: "/budgets/b1",
		call: call0(func(ctx context.Context, c *connic.Client) error { return c.Budgets.Delete(ctx, "b1") }),
		// Some frameworks answer with an object, or with null.
		answer: `null`,
	},
	{
		name: "usage", op: "budgets.usage", method: "GET", path: "/budgets/usage",
		call: usageRows(func(ctx context.Context, c *connic.Client) (*connic.Usage, error) {
			return c.Budgets.Usage(ctx, &connic.UsageParams{
				From: day, To: day.Add(36 * time.Hour), GroupBy: connic.UsageByDay, EnvironmentID: "e1", AgentName: "support",
			})
		}),
		query: url.Values{
			"from": {"2026-11-23T00:00:00Z"}, "to": {"2026-11-24T12:00:00Z"}, "group_by": {"day"}, "environment_id": {"e1"}, "agent_name": {"support"},
		},
		answer: `[{"date": "2026-11-23", "agent_name": "support", "environment_id": "e1", "currency": "EUR", "total_cost": "0.60", "input_cost": 0.1,
				"output_cost": 0.2, "thinking_cost": "0.1", "cached_cost": 0.05, "judge_cost": 0.15, "run_count": 7,
				"token_usage": {"input_tokens": 100, "output": 50, "total": 150}},
			{"date": null, "agent_name": null, "currency": "USD", "total_cost": 1.5, "run_count": "3", "token_usage": null}]`,
		want: []*connic.UsageRow{
			{
				Date: day, AgentName: "support", EnvironmentID: "e1", Currency: "EUR", TotalCost: decimal("0.60"), InputCost: decimal("0.1"),
				OutputCost: decimal("0.2"), ThinkingCost: decimal("0.1"), CachedCost: decimal("0.05"), JudgeCost: decimal("0.15"), RunCount: 7,
				TokenUsage: connic.TokenUsage{Input: 100, Output: 50, Total: 150},
			},
			{Currency: "USD", TotalCost: decimal("1.5"), RunCount: 3},
		},
	},
	{
		name: "usage without parameters", op: "budgets.usage", method: "GET", path: "/budgets/usage",
		call:   usageRows(func(ctx context.Context, c *connic.Client) (*connic.Usage, error) { return c.Budgets.Usage(ctx, nil) }),
		answer: `{"usage": null, "total": 0}`, want: []*connic.UsageRow{},
	},
}

// usageRows are the rows of a usage.
func usageRows(f func(ctx context.Context, c *connic.Client) (*connic.Usage, error)) func(context.Context, *connic.Client) (any, error) {
	return func(ctx context.Context, c *connic.Client) (any, error) {
		usage, err := f(ctx, c)
		if err != nil {
			return nil, err
		}
		return usage.Rows, nil
	}
}
