package bulk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

// A result is what became of an input.
type result struct {
	Key      string         `json:"key"`
	RunID    string         `json:"run_id,omitzero"`
	Status   string         `json:"status"` // of the run, or started, unknown or not_started
	Output   string         `json:"output,omitzero"`
	Error    string         `json:"error,omitzero"`
	Cost     connic.Decimal `json:"cost,omitzero"`
	Currency string         `json:"currency,omitzero"`
}

func resultOf(r connic.BulkResult[connic.Run], err error) result {
	to := result{Key: r.Key}
	if run := r.Value; run != nil {
		to.RunID, to.Status, to.Output, to.Error = run.ID, string(run.Status), run.Output, run.Error
		to.Cost, to.Currency = run.Cost, run.Currency
	}
	switch {
	case to.Status != "":
	case errors.Is(err, connic.ErrOutcomeUnknown):
		to.Status = string(connic.JournalUnknown)
	case r.Value != nil:
		to.Status = string(connic.JournalStarted)
	default:
		to.Status = string(connic.JournalNotStarted)
	}
	switch {
	case err == nil || to.Error != "":
	case to.Status == string(connic.JournalStarted) && errors.As(err, new(*connic.WaitError)):
		to.Error = "the run goes on" // the error names other runs, too
	default:
		to.Error = cli.Message(err)
	}
	return to
}

func columns() []cli.Column[result] {
	return []cli.Column[result]{
		{Name: "key", Value: func(r result) string { return r.Key }, Width: 20},
		{Name: "run", Value: func(r result) string { return r.RunID }, Width: 36, Whole: true},
		{Name: "status", Value: func(r result) string { return r.Status }, Style: style, Width: 11},
		{Name: "cost", Value: func(r result) string {
			if r.Cost.IsZero() {
				return ""
			}
			return r.Cost.String() + " " + r.Currency
		}, Width: 11},
		{Name: "result", Value: func(r result) string {
			if r.Error != "" {
				return r.Error
			}
			return r.Output
		}, Width: 40},
	}
}

func style(r result) string {
	switch {
	case r.Status == string(connic.RunCompleted):
		return cli.Good
	case r.Error != "":
		return cli.Bad
	}
	return ""
}

// A tally tells the exit status.
type tally struct {
	progress connic.BulkProgress
	count    int // of results
	failed   int
	unknown  int
	open     int   // runs that go on
	waiting  error // of the first run that goes on
	ended    error // why not all inputs were started
}

func (t *tally) add(err error) {
	var wait *connic.WaitError
	t.count++
	switch {
	case err == nil:
	case errors.Is(err, connic.ErrOutcomeUnknown):
		t.unknown++
	case errors.As(err, &wait) && !errors.Is(err, connic.ErrNotFound):
		t.open++
		if t.waiting == nil {
			t.waiting = err
		}
	default:
		t.failed++
	}
}

// err returns the error of the command. Bad is why not all inputs were read.
func (t *tally) err(ctx context.Context, bad error) error {
	exit := func(status int, err error) error { return &cli.ExitError{Status: status, Err: err} }
	if ended := t.ended; t.unknown > 0 {
		err := fmt.Errorf("the outcome of %d inputs is unknown: the next call searches again, and --resend-unknown may pay for them twice", t.unknown)
		return exit(cli.ExitUnknown, errors.Join(err, ended, bad))
	} else if ended != nil {
		switch status := cli.ExitStatus(ended); {
		case errors.Is(ended, connic.ErrBudgetExceeded):
			return cli.Failed("%w", ended)
		case t.count == 0 && t.progress.Elapsed == 0 && status == cli.ExitOther: // the journal is another one, or none
			return exit(cli.ExitUsage, ended)
		case errors.Is(ctx.Err(), context.Canceled) && status == cli.ExitOther:
			return exit(cli.ExitInterrupted, errors.New("interrupted with inputs left: repeat the command to go on"))
		case t.failed > 0 && (status == cli.ExitOther || status == cli.ExitUsage):
			return cli.Failed("%w", ended)
		}
		return ended
	}
	switch {
	case bad != nil:
		return cli.Failed("%w", bad)
	case t.failed > 0:
		return cli.Failed("%d of %d inputs failed", t.failed, t.count)
	case t.waiting != nil:
		return exit(cli.ExitStatus(t.waiting), fmt.Errorf("runs go on; repeat the command to collect them: %w", t.waiting))
	}
	return nil
}

// A record is what a journal has of an input.
type record struct {
	Key string `json:"key"`
	connic.JournalRecord
}

// show writes the records of a journal: the open ones, or all.
func show(ctx context.Context, a *cli.App, journal connic.Journal, all bool) (err error) {
	if err := journal.Open(ctx); err != nil {
		if errors.Is(err, connic.ErrJournalInUse) {
			return err
		}
		return cli.Usage("the journal cannot be opened: %w", err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	counts := make(map[connic.JournalState]int)
	err = cli.List(a, func(yield func(record, error) bool) {
		var failed error
		err := journal.All(ctx, func(key, text string) bool {
			if key == "" { // of the journal itself
				return true
			}
			r := record{Key: key}
			if failed = json.Unmarshal([]byte(text), &r.JournalRecord); failed != nil {
				return false
			}
			counts[r.State]++
			return !all && r.State == connic.JournalDone || yield(r, nil)
		})
		if err = errors.Join(err, failed); err != nil {
			yield(record{}, err)
		}
	}, []cli.Column[record]{
		{Name: "key", Value: func(r record) string { return r.Key }},
		{Name: "state", Value: func(r record) string { return string(r.State) }},
		{Name: "sent", Value: func(r record) string { return a.Time(r.Sent) }},
		{Name: "run", Value: func(r record) string { return strings.Join(r.IDs, " ") }, Whole: true},
		{Name: "cost", Value: func(r record) string { return strings.TrimSpace(r.Cost + " " + r.Currency) }},
	}...)
	if err == nil {
		a.Progress.Say("%d done, %d started, %d sending, %d unknown, %d not started", counts[connic.JournalDone], counts[connic.JournalStarted],
			counts[connic.JournalSending], counts[connic.JournalUnknown], counts[connic.JournalNotStarted])
	}
	return err
}
