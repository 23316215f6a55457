package runs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// An event is an event of a run as tail writes it.
type event struct {
	Event string      `json:"event"` // started or ended
	Run   *connic.Run `json:"run"`
	// Resume is the --since with which another tail misses nothing.
	Resume time.Time `json:"resume,omitzero"`
}

func tail(a *cli.App) *cobra.Command {
	var p connic.RunListParams
	var limit int
	var only string
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Follow runs as they start and end",
		Long: `Follow runs as they start and end, from now on or from --since. It looks 5 s
after an event and then less and less often, up to every 30 s, at one request a
look. A failed look is repeated. Ctrl-C ends it, with exit status 130.

Each item has the run, and the time from which another tail misses nothing.`,
		Example: `  connicctl runs tail --agent support
  connicctl runs tail --event ended --status failed -o jsonl | while read -r line; do …; done`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			events, ok := map[string]connic.FollowEvents{
				"": connic.FollowStarted | connic.FollowEnded, "started": connic.FollowStarted, "ended": connic.FollowEnded,
			}[only]
			if !ok || limit < 0 {
				return cli.Usage("--event is started or ended, and --limit is not negative")
			}
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			p.EnvironmentID = a.EnvironmentID()
			return cli.Stream(a, func(yield func(event, error) bool) {
				count := 0
				a.Progress.Show("waiting for runs; Ctrl-C ends it")
				for f, err := range client.Runs.Follow(cmd.Context(), events, &p) {
					if err != nil {
						yield(event{}, err)
						return
					}
					e := event{Event: "started", Run: f.Run, Resume: f.Resume}
					if f.Ended {
						e.Event = "ended"
					}
					if count++; !yield(e, nil) || count == limit {
						return
					}
					a.Progress.Show("waiting for runs; events so far: %d", count)
				}
			}, tailColumns(a)...)
		},
	}
	Filter(a, cmd, &p)
	cmd.Flags().StringVar(&only, "event", "", "only this `event`: started or ended")
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "end after this `number` of events; 0 means never")
	return cmd
}

func tailColumns(a *cli.App) []cli.Column[event] {
	columns := []cli.Column[event]{{Name: "event", Value: func(e event) string { return e.Event }, Width: 7}}
	for _, c := range Columns(a) {
		of := cli.Column[event]{Name: c.Name, Value: func(e event) string { return c.Value(e.Run) }, Width: c.Width, Whole: c.Whole}
		if c.Style != nil {
			of.Style = func(e event) string { return c.Style(e.Run) }
		}
		columns = append(columns, of)
	}
	return columns
}

func watch(a *cli.App) *cobra.Command {
	var cancel bool
	cmd := &cobra.Command{
		Use:   "watch RUN...",
		Short: "Wait for runs, and show each as it ends",
		Long: `Wait for runs, and show each as it ends. It looks 2 s apart at first, and then up
to 15 s; a look costs one request per 100 runs. The exit status is 1 if a run did
not complete.

Ctrl-C and --timeout end the wait and leave the runs, unless --cancel is set.`,
		Example: `  connicctl runs watch "$id" "$other"
  connicctl runs watch "$id" --timeout 10m --cancel -o json`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.Complete(cli.Runs),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.Client(cmd.Context())
			if err != nil {
				return err
			}
			opts := []connic.WaitOption{a.WaitProgress()}
			if cancel {
				opts = append(opts, connic.CancelOnAbort())
			}
			ctx, end := context.WithCancel(cmd.Context())
			defer end()
			var failed []error
			closed := false
			err = cli.Stream(a, func(yield func(*connic.Run, error) bool) {
				for run, err := range client.Runs.WaitAll(ctx, args, opts...) {
					var ended *connic.RunError
					if err != nil {
						failed = append(failed, err)
					}
					if err != nil && !errors.As(err, &ended) {
						continue // for the others
					}
					if !closed && !yield(run, nil) {
						closed = true // the wait ends, and cancels if it is to
						end()
					}
				}
			}, Columns(a)...)
			if err != nil {
				return err
			}
			a.Left(errors.Join(failed...), cancel)
			return a.Failures(failed, len(args))
		},
	}
	cmd.Flags().BoolVar(&cancel, "cancel", false, "cancel the runs if the wait ends before them")
	return cmd
}

// tree returns the steps of a run, indented.
func tree(r *connic.Run) string {
	var b strings.Builder
	var add func(nodes []*connic.SpanNode, depth int)
	add = func(nodes []*connic.SpanNode, depth int) {
		for _, n := range nodes {
			b.WriteString(strings.Repeat("  ", depth) + n.Name + "  " + cli.Duration(n.DurationMS))
			if !n.OK() && n.Status != "" {
				b.WriteString("  " + n.Status)
			}
			b.WriteString("\n")
			add(n.Children, depth+1)
		}
	}
	add(r.SpanTree(), 0)
	return b.String()
}
