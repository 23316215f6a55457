package cost

import (
	"cmp"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

func same(a, b string) bool { return strings.EqualFold(a, b) }

// A grid is a table of strings whose first row is the heading.
type grid struct {
	Title string
	Days  bool
	Right int // from this column on, the strings are numbers
	Head  []string
	Rows  [][]string
}

// tables returns the tables of a currency.
func (r *report) tables(currency string) []grid {
	return []grid{
		r.agentTable(currency), r.environmentTable(currency), r.dayTable(currency), r.budgetTable(currency),
	}
}

func (r *report) agentTable(currency string) grid {
	return costs("By agent", "agent", in(r.Agents, currency).ByAgent(), currency, func(key string) string { return cmp.Or(key, unnamed) })
}

func (r *report) environmentTable(currency string) grid {
	return costs("By environment", "environment", in(r.Places, currency).ByEnvironment(), currency, r.environment)
}

func (r *report) dayTable(currency string) grid {
	return costs("By day", "day", in(r.ByDay, currency).ByDay(), currency, func(key string) string { return cmp.Or(key, unnamed) })
}

// costs creates a table of groups: days in order, others by cost, highest
// first.
func costs(title, what string, groups []connic.UsageGroup, currency string, name func(string) string) grid {
	g := grid{Title: title, Days: what == "day", Right: 1, Head: []string{what, "cost " + currency, "share", "runs", "tokens"}}
	if !g.Days {
		slices.SortStableFunc(groups, func(a, b connic.UsageGroup) int {
			return b.Cost.In(currency).Amount.Cmp(a.Cost.In(currency).Amount)
		})
	}
	var total connic.UsageGroup
	for _, group := range groups {
		total.Cost = total.Cost.Add(group.Cost.In(currency))
		total.RunCount += group.RunCount
		total.TokenUsage.Total += tokens(group.TokenUsage)
	}
	sum := total.Cost.In(currency).Amount
	amounts := make([]string, 0, len(groups)+1)
	for _, group := range groups {
		amount := group.Cost.In(currency).Amount
		amounts = append(amounts, amount.String())
		g.Rows = append(g.Rows, []string{
			name(group.Key), "", percent(amount, sum), strconv.FormatInt(group.RunCount, 10), strconv.FormatInt(tokens(group.TokenUsage), 10),
		})
	}
	g.Rows = append(g.Rows, []string{"total", "", "", strconv.FormatInt(total.RunCount, 10), strconv.FormatInt(total.TokenUsage.Total, 10)})
	for i, amount := range level(append(amounts, sum.String())) {
		g.Rows[i][1] = amount
	}
	return g
}

// tokens returns the total, or the sum of the parts if the service omits it.
func tokens(u connic.TokenUsage) int64 {
	if u.Total != 0 {
		return u.Total
	}
	return u.Input + u.Output + u.Thinking + u.Cached
}

func (r *report) budgetTable(currency string) grid {
	g := grid{Title: "Budgets", Right: 4, Head: []string{"budget", "for", "kind", "period", "spent", "of " + currency, "used"}}
	var spent, amounts []string
	for _, b := range r.Budgets {
		if !same(b.Currency, currency) {
			continue
		}
		used, now := "?", "?"
		if _, ok := b.Left(); ok {
			used, now = percent(b.Spent, b.Amount), b.Spent.String()
		}
		kind := string(b.Kind)
		if !b.Enabled {
			kind += " (off)"
		}
		g.Rows = append(g.Rows, []string{cmp.Or(b.Name, b.ID), r.scope(b), kind, string(b.Period), "", "", used})
		spent, amounts = append(spent, now), append(amounts, b.Amount.String())
	}
	spent, amounts = level(spent), level(amounts)
	for i, row := range g.Rows {
		row[4], row[5] = spent[i], amounts[i]
	}
	return g
}

// scope describes whose costs a budget tracks.
func (r *report) scope(b *connic.Budget) string {
	switch {
	case b.Scope == connic.BudgetGlobal:
		return "the project"
	case b.AgentName != "" && b.EnvironmentID != "":
		return b.AgentName + " in " + r.environment(b.EnvironmentID)
	case b.AgentName != "":
		return b.AgentName
	case b.EnvironmentID != "":
		return r.environment(b.EnvironmentID)
	}
	return string(b.Scope)
}

func percent(part, whole connic.Decimal) string {
	if whole.Sign() <= 0 {
		return "-"
	}
	return strconv.FormatFloat(100*part.Float64()/whole.Float64(), 'f', 1, 64) + "%"
}

// level pads amounts with zeros to the same number of decimal places, so that
// no digit is lost.
func level(amounts []string) []string {
	most := 0
	for _, a := range amounts {
		if _, fraction, found := strings.Cut(a, "."); found {
			most = max(most, len(fraction))
		}
	}
	out := make([]string, len(amounts))
	for i, a := range amounts {
		_, fraction, found := strings.Cut(a, ".")
		switch {
		case strings.ContainsAny(a, "eE?") || most == 0:
			out[i] = a
		case !found:
			out[i] = a + "." + strings.Repeat("0", most)
		default:
			out[i] = a + strings.Repeat("0", most-len(fraction))
		}
	}
	return out
}

// writeTables writes the tables for people.
func (r *report) writeTables(a *cli.App) error {
	currencies := r.currencies()
	if len(currencies) == 0 {
		a.Progress.Say("%s: no costs and no budgets", r.Period)
	}
	var err error
	for i, currency := range currencies {
		heading := r.Period.String() + r.Where() + ": " + r.sum(currency).String()
		if i > 0 {
			heading = "\n" + heading
		}
		err = cmp.Or(err, a.Print(heading))
		for _, g := range r.tables(currency) {
			if len(g.Rows) > 0 {
				err = cmp.Or(err, a.Print("\n"+g.Title), g.write(a))
			}
		}
	}
	return err
}

func (g grid) write(a *cli.App) error {
	columns := make([]cli.Column[[]string], len(g.Head))
	for i, name := range g.Head {
		columns[i] = cli.Column[[]string]{Name: name, Right: i >= g.Right, Whole: i >= g.Right, Value: func(row []string) string { return row[i] }}
	}
	return cli.List(a, func(yield func([]string, error) bool) {
		for _, row := range g.Rows {
			if !yield(row, nil) {
				return
			}
		}
	}, columns...)
}

// Where returns the environment of the costs, if they are of one.
func (r *report) Where() string {
	if r.Environment == "" {
		return ""
	}
	return " in " + r.environment(r.Environment)
}

// sum returns the sum in a currency, from the rows by day or, if there are none,
// from those by agent.
func (r *report) sum(currency string) connic.Money {
	sum := r.ByDay.Cost().In(currency)
	if sum.Amount.Sign() == 0 {
		sum = r.Agents.Cost().In(currency)
	}
	return sum
}

// writeCSV writes the rows as received, with every digit.
func (r *report) writeCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	_ = w.Write([]string{"date", "agent", "environment", "environment_id", "currency", "total_cost", "judge_cost", "runs", "tokens"})
	for _, row := range r.Rows {
		date := ""
		if !row.Date.IsZero() {
			date = row.Date.UTC().Format(time.DateOnly)
		}
		_ = w.Write([]string{
			date, cell(row.AgentName), cell(r.names[row.EnvironmentID]), cell(row.EnvironmentID), cell(row.Currency),
			row.Cost().Amount.String(), row.JudgeCost.String(), strconv.FormatInt(row.RunCount, 10), strconv.FormatInt(tokens(row.TokenUsage), 10),
		})
	}
	w.Flush()
	return w.Error()
}

// cell prevents a spreadsheet from interpreting a name as a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
