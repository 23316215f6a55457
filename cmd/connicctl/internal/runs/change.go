package runs

import (
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

func cancel(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN...",
		Short: "Cancel runs",
		Long: `Ask the service to cancel runs, at one request each. It does not wait until they
have ended: see runs watch.`,
		Example:           `  connicctl runs cancel "$id" && connicctl runs watch "$id"`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.Complete(cli.Runs),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.Client(cmd.Context())
			if err != nil {
				return err
			}
			var failed []error
			for _, id := range args {
				if err := client.Runs.Cancel(cmd.Context(), id); err != nil {
					failed = append(failed, err)
				} else {
					a.Progress.Say("run %s is being canceled", id)
				}
			}
			return a.Failures(failed, len(args))
		},
	}
}

func rerun(a *cli.App) *cobra.Command {
	var yes bool
	var wait Wait
	cmd := &cobra.Command{
		Use:   "rerun RUN",
		Short: "Start a run again with the same input",
		Long: `Start a new run with the input of another one, which is billed again. It costs
one request, and those of the wait. Without --yes it asks first.
` + WaitHelp,
		Example: `  connicctl runs rerun "$id"
  connicctl runs rerun "$id" --yes --no-wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.Complete(cli.Runs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.Confirm(cmd.Context(), yes, "A new run of the same input is billed again. Start it?"); err != nil {
				return err
			}
			client, err := a.Client(cmd.Context())
			if err != nil {
				return err
			}
			since := time.Now()
			started, err := client.Runs.Rerun(cmd.Context(), args[0])
			if started == nil || started.RunID == "" && err != nil {
				return a.Unknown(err, "", since)
			}
			if wait.No {
				return Started(a, started)
			}
			run, err := client.Runs.Wait(cmd.Context(), started.RunID, wait.Options(a)...)
			return wait.Ended(a, run, err)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	wait.Flags(cmd)
	return cmd
}

// A Wait is the wait for a run that a command starts, with its flags.
type Wait struct {
	No     bool
	Cancel bool
}

// WaitHelp is the part of a help text that describes the wait.
const WaitHelp = `
It waits for the run and writes its output. The exit status is 1 if the run did
not complete, and 6 if no response came and the run may have been started.
Ctrl-C and --timeout end the wait and leave the run, unless --cancel is set. With
--no-wait it writes the id of the run instead.`

// Flags adds the flags of the wait.
func (w *Wait) Flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.No, "no-wait", false, "do not wait for the run")
	cmd.Flags().BoolVar(&w.Cancel, "cancel", false, "cancel the run if the wait ends before it")
	cmd.MarkFlagsMutuallyExclusive("no-wait", "cancel")
}

// Options returns the options of the wait.
func (w *Wait) Options(a *cli.App) []connic.WaitOption {
	opts := []connic.WaitOption{a.WaitProgress()}
	if w.Cancel {
		opts = append(opts, connic.CancelOnAbort())
	}
	return opts
}

// Ended writes the run that a wait ended with: for people its output, and for
// programs all of it.
func (w *Wait) Ended(a *cli.App, run *connic.Run, err error) error {
	a.Left(err, w.Cancel)
	if run == nil {
		return err
	}
	cli.RememberRuns(a, []*connic.Run{run})
	write := func() error { return cli.Item(a, run) }
	if a.ForPeople() {
		write = func() error { return a.Print(run.Output) }
		if err == nil {
			a.Progress.Say("%s", summary(run))
		}
	}
	if failed := write(); failed != nil {
		return lost(a, run.ID, failed)
	}
	return err
}

// lost says which run's output could not be written, which is paid for.
func lost(a *cli.App, id string, err error) error {
	if err != nil {
		a.Progress.Say("run %s was started; to read it: %s", id, a.Command("runs", "get", id))
	}
	return err
}

// summary describes a run that has completed.
func summary(r *connic.Run) string {
	text := strings.TrimSpace("run "+r.ID) + " completed"
	if t := took(r); t != "" {
		text += " in " + t
	}
	if c := cost(r); c != "" {
		text += ", cost " + c
	}
	return text
}

// Started writes a run that was started: for people its id.
func Started(a *cli.App, r *connic.TriggerResult) error {
	if a.ForPeople() {
		return lost(a, r.RunID, a.Print(r.RunID))
	}
	return lost(a, r.RunID, cli.Item(a, r))
}
