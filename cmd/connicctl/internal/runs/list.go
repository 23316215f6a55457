package runs

import (
	"errors"
	"slices"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func list(a *cli.App) *cobra.Command {
	var p connic.RunListParams
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, newest first",
		Long: `List runs, newest first. It costs one request per 100 runs.

--env or CONNIC_ENVIRONMENT selects the runs of an environment; without one, runs of
all are listed.`,
		Example: `  connicctl runs list --status failed --since 24h
  connicctl runs list --agent support -n 0 -o jsonl | jq -r .id`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return cli.Usage("--limit is negative")
			}
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			if limit > 0 {
				p.Limit = min(limit, 100)
			}
			p.EnvironmentID = a.EnvironmentID()
			var seen []*connic.Run
			defer func() { cli.RememberRuns(a, seen) }()
			return cli.List(a, func(yield func(*connic.Run, error) bool) {
				count := 0
				for run, err := range client.Runs.All(cmd.Context(), &p) {
					if err == nil && len(seen) < 100 {
						seen = append(seen, run)
					}
					if !yield(run, err) || err != nil {
						return
					}
					if count++; count == limit {
						return
					}
					a.Progress.Show("runs so far: %d", count)
				}
			}, Columns(a)...)
		},
	}
	Filter(a, cmd, &p)
	cmd.Flags().Var(a.TimeFlag(&p.CreatedBefore), "before", "only runs created before this `time` or this long ago")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "list at most this `number` of runs; 0 means all")
	return cmd
}

// Filter adds the flags that select runs.
func Filter(a *cli.App, cmd *cobra.Command, p *connic.RunListParams) {
	flags := cmd.Flags()
	flags.StringVar(&p.AgentName, "agent", "", "only runs of the agent with this `name`")
	flags.Var((*statuses)(&p.Status), "status", "only runs with this `status`; can be repeated, or have commas")
	flags.StringVar(&p.DeploymentID, "deployment", "", "only runs of the deployment with this `id`")
	flags.StringVar(&p.ParentRunID, "parent", "", "only runs that the run with this `id` started")
	flags.Var(a.TimeFlag(&p.CreatedAfter), "since", "only runs created after this `time`, such as 2026-10-01T12:00:00Z, or this long ago, such as 2h or 7d")
	a.CompleteFlag(cmd, "agent", cli.Agents)
	a.CompleteFlag(cmd, "parent", cli.Runs)
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(known, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// known are the statuses of runs.
var known = []string{"scheduled", "queued", "running", "awaiting_approval", "completed", "failed", "cancelled"}

// statuses is a flag of statuses.
type statuses []connic.RunStatus

var _ pflag.Value = (*statuses)(nil)

func (s *statuses) String() string { return "" }
func (s *statuses) Type() string   { return "status" }

// Set adds statuses that are separated by commas.
func (s *statuses) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(known, name) {
			return errors.New("there are " + strings.Join(known, ", "))
		}
		*s = append(*s, connic.RunStatus(name))
	}
	return nil
}
