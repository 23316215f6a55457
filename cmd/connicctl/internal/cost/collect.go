package cost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/connic-go/connic"
)

// A report holds everything to be reported.
type report struct {
	Period  period
	Made    time.Time
	Project string
	// Environment is that of all costs, or empty, and Scope that of the budgets for
	// the same costs.
	Environment string
	Scope       connic.BudgetScope
	Rows        []*connic.UsageRow
	ByDay       *connic.Usage
	Agents      *connic.Usage
	Places      *connic.Usage // by environment
	Budgets     []*connic.Budget
	Notes       []string // remarks for the reader

	// month is ByDay from the first of the month in which the period begins,
	// for comparison with monthly budgets.
	month *connic.Usage
	names map[string]string // of environments, by id
}

// A query requests costs: those of an environment, if it is not empty.
type query struct {
	client      *connic.Client
	environment string
}

// collect requests what a report needs.
func collect(ctx context.Context, client *connic.Client, p period, environment string) (*report, error) {
	r := &report{Period: p, Made: time.Now().UTC(), Environment: environment, Scope: connic.BudgetGlobal, names: make(map[string]string)}
	q := query{client, environment}
	start := connic.BudgetMonthly.Start(p.From)
	all, err := q.usage(ctx, period{start, p.To}, "")
	if err != nil {
		return nil, err
	}
	base := &connic.Usage{Rows: p.of(all.Rows)}
	if !dated(all.Rows) { // the response also covers the days before the period
		if base, err = q.usage(ctx, p, ""); err != nil {
			return nil, err
		}
	}
	r.Rows, r.ByDay, r.Agents, r.Places, r.month = base.Rows, base, base, base, all
	for _, part := range []struct {
		by   connic.UsageGrouping
		into **connic.Usage
		says func(*connic.UsageRow) bool
	}{
		{connic.UsageByDay, &r.ByDay, func(row *connic.UsageRow) bool { return !row.Date.IsZero() }},
		{connic.UsageByAgent, &r.Agents, func(row *connic.UsageRow) bool { return row.AgentName != "" }},
		{connic.UsageByEnvironment, &r.Places, func(row *connic.UsageRow) bool { return row.EnvironmentID != "" }},
	} {
		if len(base.Rows) == 0 || slices.ContainsFunc(base.Rows, part.says) {
			continue
		}
		// The service aggregates its response, or does not report this
		// dimension at all: request it separately.
		asked := p
		if part.by == connic.UsageByDay {
			asked.From = start
		}
		grouped, err := q.usage(ctx, asked, part.by)
		if err != nil {
			return nil, err
		}
		if part.by == connic.UsageByDay {
			r.month = grouped
			grouped = &connic.Usage{Rows: p.of(grouped.Rows)}
		}
		*part.into = grouped
		if got, want := grouped.Cost(), base.Cost(); !equal(got, want) {
			r.note("by %s the costs add up to %s, and together to %s: the service counts differently", part.by, got, want)
		}
		if len(grouped.Rows) > len(r.Rows) {
			r.Rows = grouped.Rows
		}
	}
	if r.Budgets, err = connic.Collect(client.Budgets.All(ctx, nil), maxBudgets); err != nil {
		return nil, err
	}
	if environment != "" {
		r.Scope = connic.BudgetEnvironment
		r.Budgets = slices.DeleteFunc(r.Budgets, func(b *connic.Budget) bool { return b.EnvironmentID != environment })
	}
	environments, err := client.Environments.List(ctx)
	switch {
	case err == nil:
		for _, e := range environments.Items {
			r.names[e.ID] = e.Name
		}
	case errors.Is(err, connic.ErrForbidden), errors.Is(err, connic.ErrNotFound):
		r.note("the key may not list environments, so they have no names here")
	default:
		return nil, err
	}
	return r, nil
}

// clean makes the texts of the service safe for tables, the CSV and the page.
func (r *report) clean(line func(string) string) {
	r.Project, r.Environment = line(r.Project), line(r.Environment)
	names := make(map[string]string, len(r.names))
	for id, name := range r.names {
		names[line(id)] = line(name)
	}
	r.names = names
	for _, u := range []*connic.Usage{{Rows: r.Rows}, r.ByDay, r.Agents, r.Places, r.month} {
		for _, row := range u.Rows {
			row.AgentName, row.EnvironmentID, row.Currency = line(row.AgentName), line(row.EnvironmentID), line(row.Currency)
		}
	}
	for _, b := range r.Budgets {
		b.Name, b.AgentName, b.EnvironmentID, b.Currency = line(b.Name), line(b.AgentName), line(b.EnvironmentID), line(b.Currency)
	}
}

const maxBudgets = 10_000

// usage requests costs. If a response looks like one page of several, usage
// requests the two halves of the period instead, provided that the rows have
// dates: the sums of a partial response would be too low.
func (q query) usage(ctx context.Context, p period, by connic.UsageGrouping) (*connic.Usage, error) {
	u, err := q.client.Budgets.Usage(ctx, &connic.UsageParams{From: p.From, To: p.To, GroupBy: by, EnvironmentID: q.environment})
	if half := (p.To.Sub(p.From) / 2).Truncate(day); errors.Is(err, connic.ErrPartial) && half > 0 && dated(u.Rows) {
		first, err := q.usage(ctx, period{p.From, p.From.Add(half)}, by)
		if err != nil {
			return nil, err
		}
		second, err := q.usage(ctx, period{p.From.Add(half), p.To}, by)
		if err != nil {
			return nil, err
		}
		return &connic.Usage{Rows: slices.Concat(first.Rows, second.Rows)}, nil
	}
	if err != nil {
		return nil, err
	}
	// Whether the service includes the day of To is not documented, nor that it
	// selects an environment.
	u.Rows = slices.DeleteFunc(p.of(u.Rows), func(row *connic.UsageRow) bool {
		return q.environment != "" && row.EnvironmentID != "" && row.EnvironmentID != q.environment
	})
	return u, nil
}

// dated reports whether all rows have a date.
func dated(rows []*connic.UsageRow) bool {
	return !slices.ContainsFunc(rows, func(row *connic.UsageRow) bool { return row.Date.IsZero() })
}

func equal(a, b connic.Sums) bool {
	return slices.EqualFunc(a, b, func(x, y connic.Money) bool {
		c, err := x.Cmp(y)
		return err == nil && c == 0
	})
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// environment returns the display name of an environment. Names may repeat, ids
// do not.
func (r *report) environment(id string) string {
	name := r.names[id]
	for other, same := range r.names {
		if same == name && other != id {
			return name + " (" + id + ")"
		}
	}
	return cmp.Or(name, id, unnamed)
}

const unnamed = "(not said)"

// currencies returns the currencies of the costs and the budgets, sorted.
func (r *report) currencies() []string {
	sums := r.ByDay.Cost()
	for _, u := range []*connic.Usage{r.Agents, r.Places, {Rows: r.Rows}} {
		for _, m := range u.Cost() {
			sums = sums.Add(m)
		}
	}
	for _, b := range r.Budgets {
		sums = sums.Add(connic.Money{Amount: b.Amount, Currency: b.Currency})
	}
	codes := make([]string, len(sums))
	for i, m := range sums {
		codes[i] = m.Currency
	}
	return codes
}

// in returns the rows in a currency.
func in(u *connic.Usage, currency string) *connic.Usage {
	var rows []*connic.UsageRow
	for _, row := range u.Rows {
		if same(row.Currency, currency) {
			rows = append(rows, row)
		}
	}
	return &connic.Usage{Rows: rows}
}
