package cost

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strconv"
	"time"

	"github.com/connic-go/connic"
)

var (
	//go:embed echarts/echarts.common.min.js
	library string
	//go:embed page.js
	starter string
	//go:embed page.css
	style string
	//go:embed page.html
	pageText string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
)

// A section is the part of the page for one currency.
type section struct {
	Headline string
	Charts   []chart
	Meters   []meter
	Tables   []grid
}

// A chart is a chart of ECharts.
type chart struct {
	Title  string
	Height int // pixels
	Option map[string]any
	Notes  []string
}

// A meter shows how much of a budget is used.
type meter struct {
	Name, Scope, Text, Resets string
	Width                     string // of the bar, in percent
	Class                     string // "", "near" or "over"
}

// writeHTML writes a self-contained page. Its content security policy prevents
// browsers from loading anything else, and from running any script but the two
// that are part of the page, since names come from elsewhere.
func (r *report) writeHTML(out io.Writer) error {
	var sections []section
	for _, currency := range r.currencies() {
		sections = append(sections, section{
			Headline: r.sum(currency).String(),
			Charts:   r.charts(currency), Meters: r.meters(currency),
			Tables: []grid{r.agentTable(currency), r.environmentTable(currency), r.dayTable(currency)},
		})
	}
	return pageTemplate.Execute(out, map[string]any{
		"Report": r, "Made": r.Made.Format("2006-01-02 15:04 MST"), "Sections": sections,
		"Library": template.JS(library), "Starter": template.JS(starter), "Style": template.CSS(style), //nolint:gosec // all three are part of the program
		"Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src " + source(library) + " " + source(starter),
	})
}

// source returns a script as a source of a content security policy.
func source(script string) string {
	sum := sha256.Sum256([]byte(script))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (r *report) meters(currency string) []meter {
	var meters []meter
	for _, b := range r.Budgets {
		if !same(b.Currency, currency) {
			continue
		}
		m := meter{Name: b.Name, Scope: r.scope(b) + ", " + string(b.Period) + " " + string(b.Kind)}
		if !b.Enabled {
			m.Scope += ", off"
		}
		if at, _ := b.NextReset(r.Made); !at.IsZero() {
			m.Resets = "until " + at.UTC().Format("2006-01-02 15:04 MST")
		}
		left, ok := b.Left()
		if !ok {
			m.Text, m.Width = "of "+b.Amount.String()+" "+currency+"; what was spent is not known", "0%"
			meters = append(meters, m)
			continue
		}
		m.Text = b.Spent.String() + " of " + b.Amount.String() + " " + currency + " (" + percent(b.Spent, b.Amount) + ")"
		used := 0.0
		if b.Amount.Sign() > 0 {
			used = b.Spent.Float64() / b.Amount.Float64()
		}
		switch {
		case left.Amount.Sign() < 0:
			m.Class = "over"
		case used >= 0.8:
			m.Class = "near"
		}
		m.Width = strconv.FormatFloat(100*min(max(used, 0), 1), 'f', 1, 64) + "%"
		meters = append(meters, m)
	}
	return meters
}

// Cut reports whether a table is long enough to be collapsed.
func (g grid) Cut() bool { return len(g.Rows) > 12 }

// IsNumber reports whether a column holds numbers.
func (g grid) IsNumber(column int) bool { return column >= g.Right }

// days returns the names of the days of the period, short enough for a phone.
func (p period) days() []string {
	var days []string
	for t := p.From; t.Before(p.To); t = t.Add(day) {
		days = append(days, t.Format("Jan 2"))
	}
	return days
}

// place returns the index of a time among the days, or -1.
func (p period) place(t time.Time) int {
	if !p.holds(t) {
		return -1
	}
	return int(t.Sub(p.From) / day)
}

// whole returns the budgets for all costs of the report, which a chart can show as
// a line.
func (r *report) whole(currency string, length connic.BudgetPeriod) []*connic.Budget {
	var budgets []*connic.Budget
	for _, b := range r.Budgets {
		if same(b.Currency, currency) && b.Scope == r.Scope && b.Period == length && b.Enabled && b.Amount.Sign() > 0 {
			budgets = append(budgets, b)
		}
	}
	return budgets
}

// short truncates a name in the middle, since names often differ at their ends.
// The tables have the full names.
func short(name string, most int) string {
	runes := []rune(name)
	if len(runes) <= most {
		return name
	}
	return string(runes[:most/2]) + "…" + string(runes[len(runes)-(most-most/2-1):])
}

// labels shortens names and keeps them distinct, because charts merge equal
// names.
func labels(names []string, most int) []string {
	taken := make(map[string]bool, len(names))
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = short(name, most)
		for n := 2; taken[out[i]]; n++ {
			out[i] = short(name, most-4) + " #" + strconv.Itoa(n)
		}
		taken[out[i]] = true
	}
	return out
}
