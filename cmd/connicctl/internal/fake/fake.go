// Package fake has the command fake.
package fake

import (
	"errors"
	"flag"
	"net"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/contrib/chat/chattest"
	"github.com/connic-go/connic/internal/fakecmd"
	"github.com/spf13/cobra"
)

// Command returns the command fake.
func Command(a *cli.App) *cobra.Command {
	flags := flag.NewFlagSet("fake", flag.ContinueOnError)
	serve := fakecmd.New(flags, fakecmd.WebSocket(chattest.New))
	cmd := &cobra.Command{
		Use: "fake", Short: "Serve a fake of the service, for tests and experiments", Args: cobra.NoArgs,
		Long: `Serve a fake of the service on this machine, until Ctrl-C. It needs no key and
costs nothing.

It has three agents: echo returns its message, slow does so after 5 s, and fail
fails; a configuration replaces them (see docs/guide/testing.md). Its first agent
has a sync, an inbound and a WebSocket connector. The output is the variables for
clients, as lines that a shell reads. Requests are logged to standard error, with
keys and secrets masked. At /openapi.json there is the OpenAPI document.

With --record it is no fake: it passes requests on to the service, and writes
what was exchanged to a file when it ends, without what is private in it. With
--replay it responds with such a file; the exit status is 1 if a request was not
in it, or an exchange was not asked for.`,
		Example: `  connicctl fake --addr 127.0.0.1:0 >fake.env &
  until [ -s fake.env ]; do sleep 0.1; done
  . ./fake.env && connicctl agents trigger echo hello`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := serve(cmd.Context(), args, cmd.OutOrStdout(), a.Stderr)
			switch {
			case errors.As(err, new(*net.OpError)) && !errors.As(err, new(*net.AddrError)): // of the port, not of --addr
				return err
			case err == nil:
				return nil
			case errors.As(err, new(fakecmd.ReportError)):
				return cli.Failed("%w", err)
			}
			return cli.Usage("%w", err) // in the flags or the configuration
		},
	}
	cli.GoFlags(cmd, flags)
	return cmd
}
