// Cost-report reports what a project's agents cost: by agent, environment and day,
// as a table, as CSV, and as an HTML page with charts and budgets.
//
//	cost-report [-days 30] [-csv costs.csv] [-html costs.html]
//
// Without credentials it reports the sample costs of an embedded fake. With
// CONNIC_API_KEY and CONNIC_PROJECT_ID set it reports those of the project; the key
// must be allowed to read budgets. That costs 3 requests, and up to 3 more if the
// service does not separate agents, environments and days in one response.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/apps/internal/progress"
	"github.com/connic-go/connic/examples/apps/internal/service"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // there is no report
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("cost-report", flag.ContinueOnError)
	flags.SetOutput(stderr)
	days := flags.Int("days", 30, "number of days to report, up to the last one")
	until := flags.String("until", "", "the last `day`, as 2026-11-23 (default: today, in UTC)")
	csvFile := flags.String("csv", "", "write the rows as CSV to this `file`; - means standard output instead of the table")
	page := flags.String("html", "", "write a page with charts to this `file`")
	timeout := flags.Duration("timeout", 5*time.Minute, "time limit, including waits for the quota")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	fail := func(code int, err error) int {
		_, _ = fmt.Fprintln(stderr, "cost-report:", progress.Clean(err.Error()))
		return code
	}
	p, err := newPeriod(*until, *days, time.Now())
	if err == nil && flags.NArg() > 0 {
		err = errors.New("takes no arguments; see -h")
	}
	if err != nil {
		return fail(exitUsage, err)
	}
	line := progress.New(stderr)
	defer line.Done()
	where, err := service.Connect("connic-cost-report", furnish, connic.WithObserver(line.Observe))
	if err != nil {
		return fail(exitUsage, err)
	}
	defer where.Close()
	line.Show("asking %s", where)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	r, err := collect(ctx, where.Client, p)
	line.Done()
	if err != nil {
		return fail(exitFailed, err)
	}
	r.Source, r.Made = where.String(), time.Now().UTC()
	for _, note := range r.Notes {
		line.Say("note: %s", note)
	}
	if *csvFile == "-" {
		err = r.writeCSV(stdout)
	} else {
		err = r.writeTable(stdout)
		if *csvFile != "" {
			err = errors.Join(err, save(*csvFile, r.writeCSV))
		}
	}
	if *page != "" {
		err = errors.Join(err, save(*page, r.writeHTML))
	}
	if err != nil {
		return fail(exitFailed, err)
	}
	return exitDone
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
			return period{}, fmt.Errorf("-until: %q is not a day such as 2026-11-23", until)
		}
		last = t
	}
	if days < 1 || days > maxDays {
		return period{}, fmt.Errorf("-days: %d is not between 1 and %d", days, maxDays)
	}
	return period{last.AddDate(0, 0, 1-days), last.AddDate(0, 0, 1)}, nil
}

func (p period) holds(t time.Time) bool { return !t.Before(p.From) && t.Before(p.To) }

// String returns the first and the last day.
func (p period) String() string {
	return p.From.Format(time.DateOnly) + " to " + p.To.Add(-day).Format(time.DateOnly)
}

// save writes a file atomically.
func save(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".cost-report-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
