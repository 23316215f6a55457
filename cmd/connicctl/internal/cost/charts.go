package cost

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/connic-go/connic"
	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
)

const mostSeries = 8 // agents with their own color; the others share one

const others = "all others"

// charts creates the charts of a currency. Only the positions in charts use
// floating-point numbers; the tables have every digit.
func (r *report) charts(currency string) []chart {
	var all []chart
	if dailies := in(r.ByDay, currency); len(dailies.Rows) > 0 {
		all = append(all, r.dayChart(dailies, currency))
	}
	if budgets := r.whole(currency, connic.BudgetMonthly); len(budgets) > 0 && dated(r.month.Rows) && len(r.month.Rows) > 0 {
		all = append(all, r.monthChart(currency, budgets))
	}
	if agents := in(r.Agents, currency); len(agents.Rows) > 0 {
		all = append(all, r.agentChart(agents, currency))
	}
	return all
}

// dayChart has a bar for each day, stacked by agent, and the daily budgets.
func (r *report) dayChart(u *connic.Usage, currency string) chart {
	days := r.Period.days()
	c := chart{Title: "Cost per day in " + currency, Height: 340}
	bar := charts.NewBar()
	bar.SetXAxis(days)
	top := 0.0
	for _, g := range u.ByDay() {
		top = max(top, g.Cost.In(currency).Amount.Float64())
	}
	names, amounts := stacks(u, func(row *connic.UsageRow) string { return cmp.Or(row.AgentName, "all agents") }, func(row *connic.UsageRow) int { return r.Period.place(row.Date) }, len(days))
	lines := r.lines(&c, r.whole(currency, connic.BudgetDaily), &top)
	for i, name := range labels(names, 28) {
		extra := []charts.SeriesOpts{charts.WithBarChartOpts(opts.BarChart{Stack: "cost"})}
		if i == 0 {
			extra = append(extra, lines...)
		}
		bar.AddSeries(name, barData(amounts[i]), extra...)
	}
	bar.SetGlobalOptions(common(top)...)
	bar.Validate()
	c.Option = bar.JSON()
	return c
}

// monthChart accumulates the cost from the first day of each month, next to the
// monthly budgets.
func (r *report) monthChart(currency string, budgets []*connic.Budget) chart {
	c := chart{Title: "Since the first of the month in " + currency, Height: 300}
	byDay := make(map[string]connic.Decimal)
	for _, g := range in(r.month, currency).ByDay() {
		byDay[g.Key] = g.Cost.In(currency).Amount
	}
	var data []opts.LineData
	top := 0.0
	sum := connic.MustDecimal("0")
	for t := connic.BudgetMonthly.Start(r.Period.From); t.Before(r.Period.To); t = t.Add(day) {
		if t.Day() == 1 {
			sum = connic.MustDecimal("0")
		}
		sum = sum.Add(byDay[t.Format(time.DateOnly)])
		if !t.Before(r.Period.From) {
			data = append(data, opts.LineData{Value: number(sum)})
			top = max(top, sum.Float64())
		}
	}
	line := charts.NewLine()
	line.SetXAxis(r.Period.days())
	extra := append(r.lines(&c, budgets, &top),
		charts.WithLineChartOpts(opts.LineChart{Step: "end", ShowSymbol: opts.Bool(len(data) == 1)}),
		charts.WithAreaStyleOpts(opts.AreaStyle{Opacity: opts.Float(0.15)}))
	line.AddSeries("spent in the month", data, extra...)
	line.SetGlobalOptions(common(top)...)
	line.Validate()
	c.Option = line.JSON()
	return c
}

// agentChart has a bar for each agent, stacked by environment.
func (r *report) agentChart(u *connic.Usage, currency string) chart {
	groups := u.ByAgent()
	slices.SortStableFunc(groups, func(a, b connic.UsageGroup) int {
		return b.Cost.In(currency).Amount.Cmp(a.Cost.In(currency).Amount)
	})
	const most = 15
	c := chart{Title: "Cost by agent in " + currency}
	if len(groups) > most {
		c.Notes = append(c.Notes, fmt.Sprintf("Only the %d dearest of %d agents; the table has all.", most, len(groups)))
		groups = groups[:most]
	}
	slices.Reverse(groups) // the most expensive at the top
	at := make(map[string]int, len(groups))
	agents := make([]string, len(groups))
	for i, g := range groups {
		at[g.Key], agents[i] = i, cmp.Or(g.Key, unnamed)
	}
	c.Height = 110 + 34*len(groups)
	bar := charts.NewBar()
	bar.SetXAxis(labels(agents, 20))
	names, amounts := stacks(u, func(row *connic.UsageRow) string {
		if row.EnvironmentID == "" {
			return "all environments"
		}
		return r.environment(row.EnvironmentID)
	}, func(row *connic.UsageRow) int {
		if i, ok := at[row.AgentName]; ok {
			return i
		}
		return -1
	}, len(groups))
	for i, name := range labels(names, 28) {
		bar.AddSeries(name, barData(amounts[i]), charts.WithBarChartOpts(opts.BarChart{Stack: "cost"}))
	}
	bar.XYReversal()
	bar.SetGlobalOptions(common(0)...)
	bar.SetGlobalOptions(
		charts.WithXAxisOpts(opts.XAxis{Type: "value", AxisLabel: &opts.AxisLabel{HideOverlap: opts.Bool(true)}}),
		charts.WithYAxisOpts(opts.YAxis{Type: "category"}),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "axis", AxisPointer: &opts.AxisPointer{Type: "shadow"}}),
	)
	bar.Validate()
	c.Option = bar.JSON()
	return c
}

// stacks sums the rows by name and position, the most expensive names first.
// Rows at position -1 are left out.
func stacks(u *connic.Usage, name func(*connic.UsageRow) string, place func(*connic.UsageRow) int, places int) ([]string, [][]connic.Decimal) {
	total := make(map[string]connic.Decimal)
	for _, row := range u.Rows {
		total[name(row)] = total[name(row)].Add(row.Cost().Amount)
	}
	names := make([]string, 0, len(total))
	for n := range total {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(total[b].Cmp(total[a]), cmp.Compare(a, b)) })
	if len(names) > mostSeries {
		names = append(names[:mostSeries-1:mostSeries-1], others)
	}
	index := make(map[string]int, len(names))
	amounts := make([][]connic.Decimal, len(names))
	for i, n := range names {
		index[n], amounts[i] = i, make([]connic.Decimal, places)
	}
	for _, row := range u.Rows {
		i, ok := index[name(row)]
		if !ok {
			i = index[others]
		}
		if p := place(row); p >= 0 {
			amounts[i][p] = amounts[i][p].Add(row.Cost().Amount)
		}
	}
	return names, amounts
}

func barData(amounts []connic.Decimal) []opts.BarData {
	data := make([]opts.BarData, len(amounts))
	for i, a := range amounts {
		data[i].Value = number(a)
	}
	return data
}

// number returns an amount as JSON, with every digit.
func number(d connic.Decimal) json.Number { return json.Number(d.String()) }

// lines draws budgets, and leaves room for them. A budget far above the cost
// would flatten the bars, so it becomes a note.
func (r *report) lines(c *chart, budgets []*connic.Budget, top *float64) []charts.SeriesOpts {
	var items []opts.MarkLineNameYAxisItem
	highest := *top
	for _, b := range budgets {
		amount := b.Amount.Float64()
		text := short(b.Name, 20) + " " + b.Amount.String()
		if *top > 0 && amount > 5**top {
			c.Notes = append(c.Notes, fmt.Sprintf("Not drawn, since it is far above: %s %s.", text, b.Currency))
			continue
		}
		highest = max(highest, amount)
		items = append(items, opts.MarkLineNameYAxisItem{Name: text, YAxis: number(b.Amount)})
	}
	if len(items) == 0 {
		*top = 0 // the library chooses the end of the axis
		return nil
	}
	*top = ceil(highest * 1.05)
	return []charts.SeriesOpts{
		charts.WithMarkLineNameYAxisItemOpts(items...),
		charts.WithMarkLineStyleOpts(opts.MarkLineStyle{
			Symbol:    []string{"none", "none"},
			Label:     &opts.Label{Show: opts.Bool(true), Position: "insideStartTop", Formatter: "{b}", Color: "#b3261e", BackgroundColor: "rgba(255,255,255,0.8)"},
			LineStyle: &opts.LineStyle{Color: "#d64545", Type: "dashed", Width: 2},
		}),
	}
}

// ceil returns the next round number.
func ceil(f float64) float64 {
	if f <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(f)))
	for _, step := range []float64{1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10} {
		if f <= step*unit {
			return step * unit
		}
	}
	return f
}

// common returns the options that all charts share. With a top of 0 the library
// chooses the end of the axis.
func common(top float64) []charts.GlobalOpts {
	y := opts.YAxis{Type: "value"}
	if top > 0 {
		y.Max = top
	}
	return []charts.GlobalOpts{
		charts.WithAnimation(false),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "axis"}),
		charts.WithLegendOpts(opts.Legend{Show: opts.Bool(true), Type: "scroll", Bottom: "0", Left: "center"}),
		charts.WithGridOpts(opts.Grid{Left: "8", Right: "24", Top: "20", Bottom: "40", ContainLabel: opts.Bool(true)}),
		charts.WithXAxisOpts(opts.XAxis{Type: "category", AxisLabel: &opts.AxisLabel{HideOverlap: opts.Bool(true)}}),
		charts.WithYAxisOpts(y),
	}
}
