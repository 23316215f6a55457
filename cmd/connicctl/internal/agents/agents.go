// Package agents has the commands that list and trigger agents.
package agents

import (
	"cmp"
	"context"
	"encoding/json"
	"mime"
	"path/filepath"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/runs"
	"github.com/spf13/cobra"
)

// Command returns the command agents.
func Command(a *cli.App) *cobra.Command {
	return cli.Group("agents", "List and trigger agents",
		list(a), trigger(a))
}

func list(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "List agents",
		Long:              "List the agents of the project, or of an environment. It costs one request per 100\nagents.",
		Example:           "  connicctl agents list\n  connicctl agents list --env staging -o json",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			var seen []*connic.Agent
			err = cli.List(a, func(yield func(*connic.Agent, error) bool) {
				for agent, err := range client.Agents.All(cmd.Context(), nil) {
					if err == nil {
						seen = append(seen, agent)
					}
					if !yield(agent, err) {
						return
					}
				}
			}, columns()...)
			if err == nil {
				cli.RememberAgents(a, seen)
			}
			return err
		},
	}
}

func columns() []cli.Column[*connic.Agent] {
	return []cli.Column[*connic.Agent]{
		{Name: "name", Value: func(v *connic.Agent) string { return v.Name }},
		{Name: "type", Value: func(v *connic.Agent) string { return string(v.Type) }},
		{Name: "model", Value: func(v *connic.Agent) string { return v.Model }},
		{Name: "environment", Value: func(v *connic.Agent) string { return v.EnvironmentID }},
		{Name: "description", Value: func(v *connic.Agent) string { return v.Description }},
	}
}

func trigger(a *cli.App) *cobra.Command {
	var payload string
	var files []string
	var wait runs.Wait
	cmd := &cobra.Command{
		Use:   "trigger AGENT [MESSAGE]",
		Short: "Start a run of an agent and write its output",
		Long: `Start a run of an agent with a message, a JSON payload, files, or several of
these. The message and the payload may be @file, or - for standard input, which is
the way for text of others: it may begin with @ or -. It costs one request, and those
of the wait: the first 2 s after the start, and then less and less often.

The request is not repeated if the run may have been started already.
` + runs.WaitHelp,
		Example: `  connicctl agents trigger support "How long may I keep the goods?"
  connicctl agents trigger invoices --file march.pdf --payload '{"year": 2026}' -o json
  connicctl agents trigger summary - < report.txt > summary.txt
  printf %s "$mail" | connicctl agents trigger support -
  id=$(connicctl agents trigger nightly @input.txt --no-wait)`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.Complete(cli.Agents)(cmd, args, begun)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := input(cmd.Context(), a, args[1:], payload, files)
			if err != nil {
				return err
			}
			client, err := a.Client(cmd.Context())
			if err != nil {
				return err
			}
			since := time.Now()
			if wait.No {
				started, err := client.Agents.Trigger(cmd.Context(), args[0], request)
				if started == nil || started.RunID == "" && err != nil {
					return a.Unknown(err, args[0], since)
				}
				return runs.Started(a, started)
			}
			run, err := client.Agents.TriggerAndWait(cmd.Context(), args[0], request, wait.Options(a)...)
			if run == nil {
				return a.Unknown(err, args[0], since)
			}
			return wait.Ended(a, run, err)
		},
	}
	cmd.Flags().StringVar(&payload, "payload", "", "send this `JSON`, @file or -")
	cmd.Flags().StringArrayVar(&files, "file", nil, "send this `file`; can be repeated")
	wait.Flags(cmd)
	return cmd
}

// input returns the input of a run.
func input(ctx context.Context, a *cli.App, message []string, payload string, files []string) (request connic.TriggerRequest, err error) {
	if len(message) > 0 && message[0] == "-" && payload == "-" {
		return request, cli.Usage("the message and the payload cannot both be standard input")
	}
	if len(message) > 0 {
		text, err := a.Input(ctx, message[0])
		if err != nil {
			return request, err
		}
		request.Message = string(text)
	}
	if payload != "" {
		data, err := a.Input(ctx, payload)
		if err != nil {
			return request, err
		}
		if !json.Valid(data) {
			return request, cli.Usage("the payload is not JSON")
		}
		request.Payload = json.RawMessage(data)
	}
	for _, name := range files {
		file := connic.TriggerFile(connic.LocalFile(name))
		file.MIMEType = cmp.Or(file.MIMEType, mime.TypeByExtension(filepath.Ext(name)), "application/octet-stream")
		request.Files = append(request.Files, file)
	}
	if request.Message == "" && request.Payload == nil && len(files) == 0 {
		return request, cli.Usage("there is no input: give a message, --payload or --file")
	}
	return request, nil
}
