package runs

import (
	"fmt"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

func get(a *cli.App) *cobra.Command {
	var trace bool
	cmd := &cobra.Command{
		Use:   "get RUN",
		Short: "Show a run with its output",
		Long:  "Show a run with its output. It costs one request.",
		Example: `  connicctl runs get "$id"
  connicctl runs get "$id" -o json | jq -r .output`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.Complete(cli.Runs),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			run, err := client.Runs.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(a, run, trace)
		},
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "show the steps of the run; -o json always has them")
	return cmd
}

// show writes a run with all that is known of it.
func show(a *cli.App, run *connic.Run, trace bool) error {
	columns := append(Columns(a),
		cli.Column[*connic.Run]{Name: "environment", Value: func(r *connic.Run) string { return r.EnvironmentID }},
		cli.Column[*connic.Run]{Name: "deployment", Value: func(r *connic.Run) string { return r.DeploymentID }},
		cli.Column[*connic.Run]{Name: "parent", Value: func(r *connic.Run) string { return r.ParentRunID }},
		cli.Column[*connic.Run]{Name: "tokens", Value: tokens},
		cli.Column[*connic.Run]{Name: "error", Value: func(r *connic.Run) string { return r.Error }, Style: Style},
		cli.Column[*connic.Run]{Name: "input", Value: func(r *connic.Run) string { return r.Input }, Block: true},
		cli.Column[*connic.Run]{Name: "output", Value: func(r *connic.Run) string { return r.Output }, Block: true},
	)
	if trace {
		columns = append(columns, cli.Column[*connic.Run]{Name: "trace", Value: tree, Block: true})
	}
	return cli.Item(a, run, columns...)
}

func tokens(r *connic.Run) string {
	if r.TokenUsage == (connic.TokenUsage{}) {
		return ""
	}
	return fmt.Sprintf("%d in, %d out", r.TokenUsage.Input, r.TokenUsage.Output)
}
