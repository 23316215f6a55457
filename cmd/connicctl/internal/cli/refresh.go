package cli

import (
	"github.com/connic-go/connic"
	"github.com/spf13/cobra"
)

// refresh returns the command completion refresh.
func (a *App) refresh() *cobra.Command {
	return &cobra.Command{
		Use:   "refresh",
		Short: "Fetch the names that are completed",
		Long: `Fetch the names of agents, and the ids of environments and of the last 100 runs,
for completion. It costs three requests, and one more per 100 agents.

Without it, what other commands have listed within a day is completed.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			agents, err := connic.Collect(client.Agents.All(cmd.Context(), nil), 0)
			if err != nil {
				return err
			}
			RememberAgents(a, agents)
			environments, err := client.Environments.List(cmd.Context())
			if err != nil {
				return err
			}
			RememberEnvironments(a, environments.Items)
			runs, err := client.Runs.List(cmd.Context(), &connic.RunListParams{EnvironmentID: a.EnvironmentID(), Limit: 100})
			if err != nil {
				return err
			}
			RememberRuns(a, runs.Items)
			a.Progress.Say("%d agents, %d environments and %d runs are completed for a day", len(agents), len(environments.Items), len(runs.Items))
			return nil
		},
	}
}
