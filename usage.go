package connic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// A UsageRow is the cost of some runs in one currency: those of a day, an
// agent, an environment, or a combination of these.
type UsageRow struct {
	Date          time.Time `json:"date,omitzero" api:"words"` // midnight UTC; zero if the rows are not grouped by day
	AgentName     string    `json:"agent_name,omitzero" api:"words"`
	EnvironmentID string    `json:"environment_id,omitzero" api:"words"`
	Currency      string    `json:"currency,omitzero" api:"words"` // EUR or USD, of all amounts of the row
	TotalCost     Decimal   `json:"total_cost,omitzero" api:"words"`
	// The components of the total. InputCost excludes cached input.
	InputCost    Decimal    `json:"input_cost,omitzero" api:"words"`
	OutputCost   Decimal    `json:"output_cost,omitzero" api:"words"`
	ThinkingCost Decimal    `json:"thinking_cost,omitzero" api:"words"`
	CachedCost   Decimal    `json:"cached_cost,omitzero" api:"words"`
	JudgeCost    Decimal    `json:"judge_cost,omitzero" api:"words"` // of evaluations by judges
	RunCount     int64      `json:"run_count,omitzero" api:"words"`
	TokenUsage   TokenUsage `json:"token_usage,omitzero" api:"words"`

	RawItem
}

// Cost returns the row's total or, if the service omits it, the sum of its
// components.
func (r *UsageRow) Cost() Money {
	total := r.TotalCost
	if total.IsZero() {
		for _, part := range [...]Decimal{r.InputCost, r.OutputCost, r.ThinkingCost, r.CachedCost, r.JudgeCost} {
			if !part.IsZero() {
				total = total.Add(part)
			}
		}
	}
	return Money{total, r.Currency}
}

// Usage is the cost of the project's runs. Its sums are exact and never mix
// currencies.
type Usage struct {
	Rows []*UsageRow `json:"rows"`
}

// Cost returns the sum of all rows.
func (u *Usage) Cost() Sums { return costOf(u.Rows) }

func costOf(rows []*UsageRow) Sums {
	var sums Sums
	for _, row := range rows {
		sums = sums.Add(row.Cost())
	}
	return sums
}

// A UsageGroup is the sum of some rows.
type UsageGroup struct {
	// Key is the common property of the rows: the name of the agent, the id of
	// the environment, or the day in the form 2026-11-23. It is empty for rows
	// that lack it.
	Key        string      `json:"key"`
	Cost       Sums        `json:"cost,omitzero"`
	RunCount   int64       `json:"run_count"`
	TokenUsage TokenUsage  `json:"token_usage,omitzero"`
	Rows       []*UsageRow `json:"rows"`
}

// ByAgent groups the rows by agent, sorted by name.
func (u *Usage) ByAgent() []UsageGroup {
	return u.groups(func(r *UsageRow) string { return r.AgentName })
}

// ByEnvironment groups the rows by environment, sorted by id.
func (u *Usage) ByEnvironment() []UsageGroup {
	return u.groups(func(r *UsageRow) string { return r.EnvironmentID })
}

// ByDay groups the rows by day, earliest first.
func (u *Usage) ByDay() []UsageGroup {
	return u.groups(func(r *UsageRow) string {
		if r.Date.IsZero() {
			return ""
		}
		return r.Date.UTC().Format(time.DateOnly)
	})
}

func (u *Usage) groups(key func(*UsageRow) string) []UsageGroup {
	byKey := make(map[string][]*UsageRow)
	for _, row := range u.Rows {
		byKey[key(row)] = append(byKey[key(row)], row)
	}
	groups := make([]UsageGroup, 0, len(byKey))
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		g := UsageGroup{Key: k, Rows: byKey[k], Cost: costOf(byKey[k])}
		for _, row := range g.Rows {
			g.RunCount += row.RunCount
			g.TokenUsage.Input += row.TokenUsage.Input
			g.TokenUsage.Output += row.TokenUsage.Output
			g.TokenUsage.Thinking += row.TokenUsage.Thinking
			g.TokenUsage.Cached += row.TokenUsage.Cached
			g.TokenUsage.Total += row.TokenUsage.Total
		}
		groups = append(groups, g)
	}
	return groups
}

// UsageGrouping specifies how the service groups the costs: by "agent",
// "environment" or "day".
type UsageGrouping string

// The known groupings. Their names are assumed. The methods of [Usage], such as
// [Usage.ByAgent], group the rows locally, whatever the service supports.
const (
	UsageByAgent       UsageGrouping = "agent"
	UsageByEnvironment UsageGrouping = "environment"
	UsageByDay         UsageGrouping = "day"
)

// Known reports whether this version of the package knows g.
func (g UsageGrouping) Known() bool {
	return g == UsageByAgent || g == UsageByEnvironment || g == UsageByDay
}

// UsageParams selects costs. The zero value selects whatever the service
// returns by default.
type UsageParams struct {
	From, To      time.Time // whether To itself is included is not documented
	GroupBy       UsageGrouping
	EnvironmentID string
	AgentName     string
}

// Usage returns the cost of the project's runs. The vendor documents that the
// API provides this data; the route, the parameters and the fields are assumed.
//
// The operation has no paging parameters. If the response looks like one page
// of several, its rows are returned together with [ErrPartial], because their
// sums would be too low. It costs one request.
//
//	API:    GET /projects/{project}/budgets/usage
//	Access: budgets read
//	Status: assumed
func (s *BudgetsService) Usage(ctx context.Context, p *UsageParams, opts ...RequestOption) (*Usage, error) {
	var params UsageParams
	if p != nil {
		params = *p
	}
	if !params.From.IsZero() && !params.To.IsZero() && params.To.Before(params.From) {
		return nil, &ArgumentError{Op: api.Table[api.BudgetsUsage].Name, Arg: "to", Reason: "is before from"}
	}
	r := request{op: api.BudgetsUsage}
	r.query.addTime("from", params.From)
	r.query.addTime("to", params.To)
	r.query.add("group_by", string(params.GroupBy))
	r.query.add("environment_id", params.EnvironmentID)
	r.query.add("agent_name", params.AgentName)
	page, err := listing[UsageRow]{
		scope: s.scope(), request: r, name: "usage", id: func(*UsageRow) string { return "" },
	}.page(ctx, opts)
	if err != nil {
		return nil, err
	}
	usage := &Usage{Rows: page.Items}
	if page.HasNext() {
		return usage, fmt.Errorf("connic: budgets.usage: %w: it looks like one page of several; request a shorter period", ErrPartial)
	}
	return usage, nil
}
