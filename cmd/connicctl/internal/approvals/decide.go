package approvals

import (
	"context"
	"errors"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

const decideHelp = `
If somebody else has decided, or the approval has expired, the exit status is 1,
and the message says who decided. If the response is lost, the approval is read to
find out what became of the decision; the exit status is 6 if that fails.`

func approve(a *cli.App) *cobra.Command {
	var d connic.Decision
	cmd := &cobra.Command{
		Use:   "approve APPROVAL",
		Short: "Approve a call, so that its run goes on",
		Long: `Approve a call, so that its run goes on. It costs one request, and one more
without --response, to see whether the approval asks for one. It is then read from
the terminal, without being shown.

The reason and the response may be @file, or - for standard input, so that they are
in no history of commands.
` + decideHelp,
		Example: `  connicctl approvals approve "$approval" --reason "known supplier"
  pass show bank/pin | connicctl approvals approve "$approval" --response -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			d.Approve = true
			return decide(cmd.Context(), a, args[0], d)
		},
	}
	cmd.Flags().StringVar(&d.Reason, "reason", "", "keep this `text` with the approval; @file or -")
	cmd.Flags().StringVar(&d.Response, "response", "", "give this `text` to the tool that asks for one; @file or -")
	return cmd
}

func reject(a *cli.App) *cobra.Command {
	var d connic.Decision
	cmd := &cobra.Command{
		Use:   "reject APPROVAL",
		Short: "Reject a call",
		Long: `Reject a call. It costs one request. The reason may be @file, or - for standard
input.
` + decideHelp,
		Example:           `  connicctl approvals reject "$approval" --reason "not our supplier"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return decide(cmd.Context(), a, args[0], d) },
	}
	cmd.Flags().StringVar(&d.Reason, "reason", "", "keep this `text` with the approval; @file or -")
	return cmd
}

// decide sends a decision, and writes the approval as decided.
func decide(ctx context.Context, a *cli.App, id string, d connic.Decision) error {
	if d.Reason == "-" && d.Response == "-" {
		return cli.Usage("the reason and the response cannot both be standard input")
	}
	given := d.Response != ""
	for _, text := range []*string{&d.Reason, &d.Response} {
		read, err := a.Input(ctx, *text)
		if err != nil {
			return err
		}
		if len(*text) > 0 && strings.ContainsAny((*text)[:1], "@-") {
			read = []byte(strings.TrimRight(string(read), "\r\n"))
		}
		*text = string(read)
	}
	if given && d.Response == "" {
		return cli.Usage("the response is empty")
	}
	client, err := a.Client(ctx)
	if err != nil {
		return err
	}
	if d.Approve && !given {
		if err := respond(ctx, a, client, id, &d); err != nil {
			return decided(err)
		}
	}
	approval, err := client.Approvals.Decide(ctx, id, d)
	if err != nil {
		return decided(err)
	}
	return item(a, approval)
}

// respond asks for the response on a terminal, if the approval needs one.
func respond(ctx context.Context, a *cli.App, client *connic.Client, id string, d *connic.Decision) error {
	approval, err := client.Approvals.Get(ctx, id)
	switch {
	case err != nil:
		return err
	case approval.Status.Finished():
		return &connic.DecidedError{Approval: approval}
	case approval.Check(*d) == nil:
		return nil
	case !a.StdinTTY || !a.StderrTTY:
		return cli.Usage("the approval asks for %s: use --response", labels(approval))
	}
	a.Progress.Say("%s (not shown while you type):", labels(approval))
	if d.Response, err = a.ReadSecret(ctx); err != nil {
		return err
	}
	return approval.Check(*d)
}

// decided gives the error of an approval that was decided already its exit status.
func decided(err error) error {
	if other := (*connic.DecidedError)(nil); errors.As(err, &other) {
		return cli.Failed("%w", err)
	}
	return err
}
