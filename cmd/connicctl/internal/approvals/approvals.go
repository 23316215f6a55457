// Package approvals has the commands that list and decide approvals.
package approvals

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// Command returns the command approvals.
func Command(a *cli.App) *cobra.Command {
	return cli.Group("approvals", "List, show, approve and reject calls of tools that await a decision",
		list(a), show(a), approve(a), reject(a))
}

// statuses are the values of --status.
var statuses = []string{"pending", "approved", "rejected", "expired", "all"}

func list(a *cli.App) *cobra.Command {
	var p connic.ApprovalListParams
	var status string
	var limit int
	var watch bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List approvals, pending ones unless --status is set",
		Long: `List approvals, newest first: pending ones unless --status is set. It costs one
request per 100 approvals.

With --watch the pending ones are listed oldest first, and then each as it comes,
until Ctrl-C, with exit status 130. It looks 2 s apart at first, and then less and
less often, up to once a minute, at one request a look.`,
		Example: `  connicctl approvals list
  connicctl approvals list --watch -o jsonl | while read -r line; do …; done
  connicctl approvals list --status all --run "$id"`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !slices.Contains(statuses, status):
				return cli.Usage("--status is none of %s: %q", strings.Join(statuses, ", "), status)
			case limit < 0:
				return cli.Usage("--limit is negative")
			case watch && (status != string(connic.ApprovalPending) || cmd.Flags().Changed("limit")):
				return cli.Usage("--watch shows all that are pending: --status and --limit do not go with it")
			case status != "all":
				p.Status = connic.ApprovalStatus(status)
			}
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			p.EnvironmentID = a.EnvironmentID()
			if watch {
				a.Progress.Show("waiting for approvals; Ctrl-C ends it")
				return cli.Stream(a, client.Approvals.Follow(cmd.Context(), &p), columns(a)...)
			}
			if limit > 0 {
				p.Limit = min(limit, 100)
			}
			return cli.List(a, func(yield func(*connic.Approval, error) bool) {
				count := 0
				for v, err := range client.Approvals.All(cmd.Context(), &p) {
					if err == nil && p.Status != "" && v.Status != p.Status {
						continue // the filter of the service is not documented
					}
					if count++; !yield(v, err) || err != nil || count == limit {
						return
					}
					a.Progress.Show("approvals so far: %d", count)
				}
			}, columns(a)...)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&status, "status", "pending", "only approvals with this `status`: "+strings.Join(statuses, ", "))
	flags.StringVar(&p.RunID, "run", "", "only approvals of the run with this `id`")
	flags.StringVar(&p.AgentName, "agent", "", "only approvals of the agent with this `name`")
	flags.IntVarP(&limit, "limit", "n", 50, "list at most this `number` of approvals; 0 means all")
	flags.BoolVar(&watch, "watch", false, "go on with those that come")
	a.CompleteFlag(cmd, "run", cli.Runs)
	a.CompleteFlag(cmd, "agent", cli.Agents)
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

func show(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "show APPROVAL",
		Short: "Show an approval with the arguments of the call",
		Long: `Show an approval with the arguments of the call. It costs one request. The
arguments can contain anything: they are for the person who decides.`,
		Example:           "  connicctl approvals show \"$approval\"\n  connicctl approvals show \"$approval\" -o json | jq .arguments",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			approval, err := client.Approvals.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return item(a, approval)
		},
	}
}

func columns(a *cli.App) []cli.Column[*connic.Approval] {
	return []cli.Column[*connic.Approval]{
		{Name: "id", Value: func(v *connic.Approval) string { return v.ID }, Width: 36, Whole: true},
		{Name: "agent", Value: func(v *connic.Approval) string { return v.AgentName }, Width: 20},
		{Name: "tool", Value: func(v *connic.Approval) string { return v.ToolName }, Width: 20},
		{Name: "status", Value: func(v *connic.Approval) string { return string(v.Status) }, Style: style, Width: 8},
		{Name: "requested", Value: func(v *connic.Approval) string { return a.Time(v.RequestedAt) }, Width: 19},
		{Name: "expires", Value: func(v *connic.Approval) string { return a.Time(v.ExpiresAt) }, Width: 19},
		{Name: "run", Value: func(v *connic.Approval) string { return v.RunID }, Width: 36},
	}
}

func style(v *connic.Approval) string {
	switch v.Status {
	case connic.ApprovalApproved:
		return cli.Good
	case connic.ApprovalPending:
		return cli.Note
	case connic.ApprovalRejected, connic.ApprovalExpired:
		return cli.Bad
	}
	return ""
}

// item writes an approval with all that is known of it.
func item(a *cli.App, approval *connic.Approval) error {
	return cli.Item(a, approval, append(columns(a),
		cli.Column[*connic.Approval]{Name: "decided", Value: func(v *connic.Approval) string { return a.Time(v.DecidedAt) }},
		cli.Column[*connic.Approval]{Name: "decided by", Value: func(v *connic.Approval) string { return v.DecidedBy.String() }},
		cli.Column[*connic.Approval]{Name: "reason", Value: func(v *connic.Approval) string { return v.Reason }},
		cli.Column[*connic.Approval]{Name: "asks for", Value: labels},
		cli.Column[*connic.Approval]{Name: "arguments", Value: arguments, Block: true},
	)...)
}

// labels returns the names of the texts that an approval asks for.
func labels(v *connic.Approval) string {
	names := make([]string, len(v.Inputs))
	for i, in := range v.Inputs {
		names[i] = in.Label
	}
	return strings.Join(names, ", ")
}

func arguments(v *connic.Approval) string {
	var b bytes.Buffer
	if json.Indent(&b, v.Arguments, "", "  ") != nil {
		return string(v.Arguments)
	}
	return b.String()
}
