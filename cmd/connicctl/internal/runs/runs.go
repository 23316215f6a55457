// Package runs has the commands that read and change runs.
package runs

import (
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// Command returns the command runs.
func Command(a *cli.App) *cobra.Command {
	return cli.Group("runs", "List, read, follow, cancel and repeat runs",
		list(a), get(a), tail(a), watch(a), cancel(a), rerun(a))
}

// Columns are the columns of runs.
func Columns(a *cli.App) []cli.Column[*connic.Run] {
	return []cli.Column[*connic.Run]{
		{Name: "id", Value: func(r *connic.Run) string { return r.ID }, Width: 36, Whole: true},
		{Name: "agent", Value: func(r *connic.Run) string { return r.AgentName }, Width: 20},
		{Name: "status", Value: func(r *connic.Run) string { return string(r.Status) }, Style: Style, Width: 17},
		{Name: "created", Value: func(r *connic.Run) string { return a.Time(r.CreatedAt) }, Width: 19},
		{Name: "took", Value: took, Width: 7},
		{Name: "cost", Value: cost, Width: 11},
	}
}

// Style returns the style of a run's status.
func Style(r *connic.Run) string {
	switch r.Status {
	case connic.RunCompleted:
		return cli.Good
	case connic.RunFailed, connic.RunCancelled:
		return cli.Bad
	case connic.RunAwaitingApproval:
		return cli.Note
	default:
		return ""
	}
}

func took(r *connic.Run) string {
	if r.DurationMS == 0 {
		return ""
	}
	return cli.Duration(r.DurationMS)
}

func cost(r *connic.Run) string {
	if r.Cost.IsZero() {
		return ""
	}
	return r.Cost.String() + " " + r.Currency
}
