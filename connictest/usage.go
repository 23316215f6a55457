package connictest

import (
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
)

// usageKey is what the runs of a row have in common.
type usageKey struct{ day, agent, environment, currency string }

// start returns the start of the day.
func (k usageKey) start() time.Time {
	at, _ := time.Parse(time.DateOnly, k.day) // it was formatted so
	return at
}

type usageRow struct {
	total, judge connic.Decimal
	runs         int64
	tokens       connic.TokenUsage
}

// listUsage adds up the costs of runs: amounts on the day they were spent, runs
// and their tokens on the day they were created. Of the components of a cost,
// the fake only knows that of the judges.
func (s *Server) listUsage(x *exchange) answer {
	from, complaint := x.time("from")
	if complaint != nil {
		return *complaint
	}
	to, complaint := x.time("to")
	if complaint != nil {
		return *complaint
	}
	grouping := connic.UsageGrouping(x.param("group_by"))
	if x.has("group_by") && !grouping.Known() {
		return *invalid("Input should be 'agent', 'environment' or 'day'", "enum", "query", "group_by")
	}
	rows := make(map[usageKey]*usageRow)
	row := func(at time.Time, agent, environment, currency string) *usageRow {
		if at.Before(from) || (!to.IsZero() && !at.Before(to)) || x.differs("agent_name", agent) || x.differs("environment_id", environment) {
			return new(usageRow) // does not count
		}
		key := usageKey{at.UTC().Format(time.DateOnly), agent, environment, currency}
		switch grouping {
		case connic.UsageByAgent:
			key.day, key.environment = "", ""
		case connic.UsageByEnvironment:
			key.day, key.agent = "", ""
		case connic.UsageByDay:
			key.agent, key.environment = "", ""
		}
		if rows[key] == nil {
			rows[key] = new(usageRow)
		}
		return rows[key]
	}
	for _, past := range s.past {
		r := row(past.Date, past.AgentName, past.EnvironmentID, past.Currency)
		r.add(&past)
	}
	for key, older := range s.olderUsage {
		r := row(key.start(), key.agent, key.environment, key.currency)
		r.total, r.judge = r.total.Add(older.total), r.judge.Add(older.judge)
		r.count(older.runs, older.tokens)
	}
	for _, c := range s.charges {
		row(c.at, c.agent, c.environment, c.currency).spend(&c)
	}
	for _, runs := range [][]*run{s.runs, s.ending} {
		for _, begun := range runs {
			row(begun.created, begun.agent, begun.environment, strings.ToUpper(begun.currency)).count(1, begun.tokens)
		}
	}
	return ok(object{"usage": usageObjects(rows)})
}

func usageObjects(rows map[usageKey]*usageRow) []object {
	keys := make([]usageKey, 0, len(rows))
	for key := range rows {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b usageKey) int {
		return slices.Compare([]string{a.day, a.agent, a.environment, a.currency}, []string{b.day, b.agent, b.environment, b.currency})
	})
	items := make([]object, len(keys))
	for i, key := range keys {
		r := rows[key]
		items[i] = object{
			"date": text(key.day), "agent_name": text(key.agent), "environment_id": text(key.environment), "currency": text(key.currency),
			"total_cost": r.total.String(), "input_cost": nil, "output_cost": nil, "thinking_cost": nil, "cached_cost": nil,
			"judge_cost": r.judge.String(), "run_count": r.runs,
			"token_usage": object{
				"input": r.tokens.Input, "output": r.tokens.Output, "thinking": r.tokens.Thinking,
				"cached": r.tokens.Cached, "total": r.tokens.Total,
			},
		}
	}
	return items
}
