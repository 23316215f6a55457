// Package doctor has the command doctor.
package doctor

import (
	"context"
	"errors"
	"flag"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/contrib/doctor/doctorcmd"
	"github.com/spf13/cobra"
)

// Command returns the command doctor.
func Command(a *cli.App) *cobra.Command {
	p := &doctorcmd.Program{
		In: a.Stdin, Err: a.Stderr,
		Client: func(ctx context.Context, opts ...connic.Option) (*connic.Client, string, error) {
			client, err := a.Client(ctx, opts...)
			if err != nil {
				return nil, "", err
			}
			found, err := a.Settings()
			return client, found.URL, err
		},
		Agree: func(ctx context.Context, question string) error { return a.Confirm(ctx, false, question) },
	}
	check := command(p, p.Check, &cobra.Command{
		Use: "doctor", Short: "Check key, project, permissions, quota, clock and network", Args: cobra.NoArgs,
		Long: `Check whether a program can work with the service: the key, the project, what the
key may read, the quota, the clock and the network, with a verdict and advice on
each. It sends at most 9 requests, all of them reads. See docs/doctor.md.`,
		Example: `  connicctl doctor
  connicctl doctor -o json | jq .`,
	})
	check.AddCommand(
		command(p, p.Drift, &cobra.Command{
			Use: "drift {FILE | --live | --recorded FILE…}", Short: "Compare the service with the assumptions of this client",
			Long: `Compare the service with the assumptions of this client: with the OpenAPI document
of the service in a file (- is standard input), or with its responses. What
differs is reported as Markdown. It only reads.`,
			Example: `  connicctl doctor drift openapi.json
  connicctl doctor drift --live --fixtures answers
  connicctl doctor drift --recorded session.json`,
		}),
		command(p, p.Case, &cobra.Command{
			Use: "case FILE", Short: "Turn a response into a conformance case", Args: cobra.ExactArgs(1),
			Long:    "Turn a response that doctor drift --fixtures has kept into a conformance case, for\nthe tests of this client. It sends no request.",
			Example: "  connicctl doctor case answers/runs.get.json >case.json",
		}),
	)
	return check
}

// jsonFlags are the flags that -o json stands for.
var jsonFlags = map[string]string{"json": "true", "format": "json"}

// command completes a command with its flags and what it runs.
func command(p *doctorcmd.Program, define func(*flag.FlagSet) func(context.Context, []string) error, cmd *cobra.Command) *cobra.Command {
	flags := flag.NewFlagSet(cmd.Name(), flag.ContinueOnError)
	run := define(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.Out = cmd.OutOrStdout()
		switch format := cmd.Flag("output").Value.String(); format {
		case "table":
		case "json":
			for name, value := range jsonFlags {
				if flags.Lookup(name) != nil {
					_ = flags.Set(name, value) // it is valid
				}
			}
		default:
			return cli.Usage("%s has no output %s: use table or json", cmd.CommandPath(), format)
		}
		err := run(cmd.Context(), args)
		switch {
		case errors.Is(err, doctorcmd.ErrUnwell):
			return cli.Failed("%w", err)
		case errors.As(err, new(doctorcmd.UsageError)):
			return cli.Usage("%w", err)
		}
		return err
	}
	cli.GoFlags(cmd, flags)
	for name := range jsonFlags {
		if f := cmd.Flags().Lookup(name); f != nil {
			f.Hidden = true
		}
	}
	return cmd
}
