// Package bulk has the command that starts a run for each of many inputs.
package bulk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// options are the flags of the command.
type options struct {
	journal     string
	key         string
	files       string
	inFlight    int
	budget      connic.Money
	perRun      connic.Decimal
	maxFailures int
	runTime     time.Duration
	resend      bool
}

// Command returns the command bulk.
func Command(a *cli.App) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "bulk AGENT [FILE]",
		Short: "Start a run for each of many inputs, once, and write the results",
		Long: `Start a run for each line of a file, or of standard input, and write each result as
its run ends. It costs one request per input, and the polls, which the runs share.

A line is a JSON object with a key of yours and an input:

  {"key": "order-1", "message": "Summarize order 1"}
  {"key": "order-2", "payload": {"order": 2}, "files": ["order-2.pdf"]}

With --key NAME it is any JSON object, all of which is the payload; the member NAME
is its key. An input with the key of an earlier one is skipped. Files are names in
the folder --files, or objects with name, mime_type and data in base64.

The journal says what was started. After the end of the process, whatever it was,
repeat the command: what is done is skipped, what was started is collected, and
nothing that was sent is sent again. Inputs are marked so that they can be found: the
agent receives a line before the message, or a member connic_marker of the payload.
An input whose outcome stays unknown is only sent again with --resend-unknown, which
may pay for it twice. Without inputs, as with /dev/null, what is open is collected.

Append the results to a file, with >>: what is done is not written again. A result
that was being written when the process ended is. The run of an input that is done
is shown by bulk status --all.

A file is checked before anything is sent. A bad line of standard input ends the
reading; what was started before it is collected.

The first Ctrl-C starts nothing more and collects what was started; the second
leaves at once. So do kill -9 and --timeout: the runs go on, and the next call
collects them. A run that awaits approval is waited for: see connicctl approvals.

The status of a result is that of its run, or unknown, or not_started, or started if
the run goes on: the next call then writes another result for its key. The exit
status is 0 if all inputs have completed, 6 if the outcome of some is unknown, 1 if
others have failed, a line is invalid or a bound is reached, 130 after Ctrl-C if not
all were started, and 5 if runs go on after --timeout, or the journal is in use.`,
		Example: `  connicctl bulk support tickets.jsonl --journal tickets.journal -o jsonl >> results.jsonl
  psql -Atc 'select row_to_json(o) from orders o' | connicctl bulk orders --key id --journal orders.journal --budget "5 EUR" --per-run 0.02`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.Complete(cli.Agents)(cmd, args, begun)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			name := "-"
			if len(args) > 1 {
				name = args[1]
			} else if a.StdinTTY {
				return cli.Usage("there are no inputs: name a file, or - for standard input, or /dev/null to collect what is open")
			}
			in, err := open(a, name, o.key, o.files)
			if err != nil {
				return err
			}
			defer in.close()
			client, err := a.Client(cmd.Context())
			if err != nil {
				return err
			}
			return start(cmd.Context(), a, client, args[0], in, &o)
		},
	}
	cmd.PersistentFlags().StringVar(&o.journal, "journal", "", "`file` that says what was started")
	if err := cmd.MarkPersistentFlagRequired("journal"); err != nil {
		panic(err) //nolint:forbidigo // there is no such flag
	}
	flags := cmd.Flags()
	flags.StringVar(&o.key, "key", "", "`name` of the member with the key, in lines that are payloads")
	flags.StringVar(&o.files, "files", "", "`folder` of the files that inputs name")
	flags.IntVar(&o.inFlight, "in-flight", 1000, "maximum `number` of inputs in progress")
	flags.Func("budget", "start nothing that may cost more in all than this `amount`, such as \"5 EUR\"", func(s string) error { return o.budget.UnmarshalText([]byte(s)) })
	flags.Func("per-run", "expect a run to cost this `amount`, or as much as the most expensive one so far", func(s string) error { return o.perRun.UnmarshalText([]byte(s)) })
	flags.IntVar(&o.maxFailures, "max-failures", 10, "start nothing more after this `number` of failures in a row; 0 means go on")
	flags.DurationVar(&o.runTime, "run-time", 0, "`time` of a run: start none that --timeout would not let end")
	flags.BoolVar(&o.resend, "resend-unknown", false, "send inputs again whose outcome is unknown, which may pay for them twice")
	cmd.AddCommand(status(a, &o.journal))
	return cmd
}

// check returns what is wrong with the flags.
func (o *options) check(cmd *cobra.Command) error {
	switch {
	case cmd.Flags().Changed("per-run") != cmd.Flags().Changed("budget"):
		return cli.Usage("--budget and --per-run go together: without an estimate, all that is in flight may exceed the budget")
	case cmd.Flags().Changed("budget") && (o.budget.Currency == "" || o.budget.Amount.Sign() <= 0):
		return cli.Usage("--budget is no amount such as \"5 EUR\"")
	case cmd.Flags().Changed("per-run") && o.perRun.Sign() <= 0 || o.inFlight < 1 || o.maxFailures < 0 || o.runTime < 0:
		return cli.Usage("--per-run and --in-flight are more than 0, and --max-failures and --run-time not negative")
	}
	return nil
}

func (o *options) bulk() []connic.BulkOption {
	opts := []connic.BulkOption{connic.WithInFlight(o.inFlight), connic.WithMaxFailures(o.maxFailures), connic.WithRunTime(o.runTime)}
	if o.budget.Currency != "" {
		opts = append(opts, connic.WithBudget(o.budget, o.perRun))
	}
	if o.resend {
		opts = append(opts, connic.ResendUnknown())
	}
	return opts
}

// start starts the inputs and writes the results. Ctrl-C ends the start of further
// ones. The time limit ends the call.
func start(ctx context.Context, a *cli.App, client *connic.Client, agent string, in *source, o *options) error {
	work := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		work, cancel = context.WithDeadline(work, deadline)
		defer cancel()
	}
	stop := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			close(stop)
			a.Progress.Say("nothing more is started; what was started is collected; Ctrl-C again leaves it to the next call")
		}
	})()
	var t tally
	opts := append(o.bulk(), connic.WithStop(stop), connic.WithBulkProgress(in.total, func(p connic.BulkProgress) {
		t.progress = p
		a.Progress.Show("%v", p)
	}))
	err := cli.Stream(a, func(yield func(result, error) bool) {
		for r, err := range client.Agents.TriggerAll(work, agent, in.all, connic.FileJournal(o.journal), opts...) {
			if r.Key == "" && r.Index < 0 {
				t.ended = err
				return
			}
			t.add(err)
			if !yield(resultOf(r, err), nil) {
				return
			}
		}
	}, columns()...)
	if err != nil {
		return err
	}
	switch {
	case t.progress.Elapsed > 0:
		p := t.progress // counts a run that goes on as failed
		p.Ended, p.Failed, p.Open = p.Ended-t.open, p.Failed-t.open, p.Open+t.open
		a.Progress.Say("%v", p)
	case t.ended == nil && t.count == 0:
		a.Progress.Say("nothing to do: all inputs are done")
	}
	return t.err(ctx, in.failed())
}

// status returns the command that shows a journal.
func status(a *cli.App, path *string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which inputs of a journal are open",
		Long: `Show which inputs of a journal are open, without a request. Started ones have a run
whose result was not written yet, and sending and unknown ones may have one; the
next call collects them or searches for them. Those that were not started are sent
again. Inputs that were never sent are in no journal. While a call is in progress,
the exit status is 5.`,
		Example:           "  connicctl bulk status --journal tickets.journal\n  connicctl bulk status --journal tickets.journal --all -o jsonl",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(*path); errors.Is(err, fs.ErrNotExist) {
				return &cli.ExitError{Status: cli.ExitNotFound, Err: err} // opening would make one
			}
			return show(cmd.Context(), a, connic.FileJournal(*path), all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show those that are done, too")
	return cmd
}
