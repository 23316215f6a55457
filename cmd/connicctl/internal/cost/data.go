package cost

import "github.com/connic-go/connic"

// data is a report for programs. Its members are not renamed or removed.
type data struct {
	ProjectID     string      `json:"project_id"`
	EnvironmentID string      `json:"environment_id,omitempty"` // of all costs, if they are of one
	From          string      `json:"from"`                     // the first day
	To            string      `json:"to"`                       // the last day
	Cost          connic.Sums `json:"cost"`
	Agents        []group     `json:"agents"`
	Environments  []group     `json:"environments"`
	Days          []group     `json:"days"`
	// Budgets are as they are now, whatever the period.
	Budgets []*connic.Budget `json:"budgets"`
	// Rows are as the service sent them.
	Rows  []*connic.UsageRow `json:"rows"`
	Notes []string           `json:"notes"`
}

// A group is a [connic.UsageGroup] without its rows.
type group struct {
	Key        string            `json:"key"` // the name of the agent, the id of the environment, or the day
	Name       string            `json:"name,omitempty"`
	Cost       connic.Sums       `json:"cost"`
	RunCount   int64             `json:"run_count"`
	TokenUsage connic.TokenUsage `json:"token_usage"`
}

func (r *report) data() *data {
	groups := func(all []connic.UsageGroup, name func(string) string) []group {
		out := make([]group, len(all))
		for i, g := range all {
			out[i] = group{g.Key, name(g.Key), g.Cost, g.RunCount, g.TokenUsage}
		}
		return out
	}
	none := func(string) string { return "" }
	d := &data{
		ProjectID: r.Project, EnvironmentID: r.Environment, From: r.Period.first(), To: r.Period.last(), Cost: connic.Sums{},
		Agents: groups(r.Agents.ByAgent(), none), Days: groups(r.ByDay.ByDay(), none),
		Environments: groups(r.Places.ByEnvironment(), func(id string) string { return r.names[id] }),
		Budgets:      append([]*connic.Budget{}, r.Budgets...),
		Rows:         append([]*connic.UsageRow{}, r.Rows...),
		Notes:        append([]string{}, r.Notes...),
	}
	for _, currency := range r.currencies() {
		d.Cost = d.Cost.Add(r.sum(currency))
	}
	return d
}
