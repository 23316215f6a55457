package connictest

import (
	"strings"
	"time"

	"github.com/connic-go/connic"
)

// Usage adds costs from before the test, so that a report contains more than
// the runs of the test. Each row stands for the runs of an agent on a day, in
// an environment and in a currency. Costs are recorded at the start of the
// row's Date. Budgets include them, but notices are only given for later costs.
func (s *Server) Usage(rows ...connic.UsageRow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		row.Currency = strings.ToUpper(row.Currency)
		s.past = append(s.past, row)
	}
}

// spentBefore adds what the rows of Usage and older charges spent of a budget
// since start. The caller holds the mutex.
func (s *Server) spentBefore(b *budget, start time.Time, sum connic.Decimal) connic.Decimal {
	for _, past := range s.past {
		if past.Currency == b.Currency && !past.Date.Before(start) && b.covers(past.AgentName, past.EnvironmentID) {
			sum = sum.Add(past.Cost().Amount)
		}
	}
	for key, older := range s.olderUsage {
		if key.currency == b.Currency && !key.start().Before(start) && b.covers(key.agent, key.environment) {
			sum = sum.Add(older.total)
		}
	}
	return sum
}

func (r *usageRow) add(past *connic.UsageRow) {
	r.total = r.total.Add(past.Cost().Amount)
	r.judge = r.judge.Add(past.JudgeCost)
	r.count(past.RunCount, past.TokenUsage)
}

func (r *usageRow) spend(c *charge) {
	r.total = r.total.Add(c.amount)
	if c.judge {
		r.judge = r.judge.Add(c.amount)
	}
}

func (r *usageRow) count(runs int64, tokens connic.TokenUsage) {
	r.runs += runs
	r.tokens.Input += tokens.Input
	r.tokens.Output += tokens.Output
	r.tokens.Thinking += tokens.Thinking
	r.tokens.Cached += tokens.Cached
	r.tokens.Total += tokens.Total
}
