// Package cost has the command cost.
package cost

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// Command returns the command cost.
func Command(a *cli.App) *cobra.Command {
	var days int
	var until, csvFile, page string
	cmd := &cobra.Command{
		Use:   "cost",
		Short: "Report what runs cost, by agent, environment and day",
		Long: `Report what runs cost, by agent, environment and day, and what is left of the
budgets: as tables, as data, as CSV, and as a page with charts.

Amounts are exact, and currencies are kept apart: the runs and tokens of a table are
those of runs with a cost in its currency. Days are in UTC. There are no
partial reports: if a response looks like one page of several, shorter periods
are requested instead, and if that is not possible, there is no report.

--env or CONNIC_ENVIRONMENT selects the costs and budgets of an environment; without
one, those of all are reported.

The page is a single file that loads nothing. In the CSV, names that a
spreadsheet would take for formulas begin with an apostrophe.

The key must be allowed to read budgets. If it may also list environments, they
have names. It costs 3 requests, and up to 3 more if the service does not separate
agents, environments and days in one response.`,
		Example: `  connicctl cost --days 7
  connicctl cost --csv costs.csv --html costs.html
  connicctl cost -o json | jq '.agents[] | {key, cost}'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := newPeriod(until, days, time.Now())
			if err != nil {
				return err
			}
			if csvFile == "-" && !a.ForPeople() {
				return cli.Usage("--csv - and -o are both for standard output")
			}
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			found, err := a.Settings()
			if err != nil {
				return err
			}
			a.Progress.Show("reading costs")
			r, err := collect(cmd.Context(), client, p, a.EnvironmentID())
			if err != nil {
				return err
			}
			r.Project = found.Project.Project
			return r.write(cmd.OutOrStdout(), a, csvFile, page)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&days, "days", 30, "`number` of days, up to the last one")
	flags.StringVar(&until, "until", "", "the last `day`, such as 2026-11-23 (default: today in UTC)")
	flags.StringVar(&csvFile, "csv", "", "write the rows as CSV to this `file`, or with - to standard output")
	flags.StringVar(&page, "html", "", "write a page with charts to this `file`")
	return cmd
}

// write writes the report to standard output and to the files.
func (r *report) write(stdout io.Writer, a *cli.App, csvFile, page string) error {
	for _, note := range r.Notes {
		a.Progress.Say("note: %s", note)
	}
	var err error
	if !a.ForPeople() {
		err = cli.Item(a, r.data())
	}
	r.clean(a.Line)
	switch {
	case csvFile == "-":
		err = r.writeCSV(stdout)
	case a.ForPeople():
		err = r.writeTables(a)
	}
	if csvFile != "" && csvFile != "-" {
		err = errors.Join(err, cli.Save(csvFile, 0o600, r.writeCSV))
	}
	if page != "" {
		err = errors.Join(err, cli.Save(page, 0o600, r.writeHTML))
	}
	return err
}

// A period is a number of whole days in UTC.
type period struct{ From, To time.Time } // To is excluded

const (
	day     = 24 * time.Hour
	maxDays = 366
)

func newPeriod(until string, days int, now time.Time) (period, error) {
	last := now.UTC().Truncate(day)
	if until != "" {
		t, err := time.Parse(time.DateOnly, until)
		if err != nil {
			return period{}, cli.Usage("--until: %q is not a day such as 2026-11-23", until)
		}
		last = t
	}
	if days < 1 || days > maxDays {
		return period{}, cli.Usage("--days: %d is not between 1 and %d", days, maxDays)
	}
	return period{last.AddDate(0, 0, 1-days), last.AddDate(0, 0, 1)}, nil
}

func (p period) holds(t time.Time) bool { return !t.Before(p.From) && t.Before(p.To) }

// first and last return the days at the ends.
func (p period) first() string { return p.From.Format(time.DateOnly) }
func (p period) last() string  { return p.To.Add(-day).Format(time.DateOnly) }

// String returns the first and the last day.
func (p period) String() string { return p.first() + " to " + p.last() }

// of returns the rows of the period, and those that say no day.
func (p period) of(rows []*connic.UsageRow) []*connic.UsageRow {
	return slices.DeleteFunc(slices.Clone(rows), func(row *connic.UsageRow) bool { return !row.Date.IsZero() && !p.holds(row.Date) })
}
