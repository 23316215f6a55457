// Connicctl works with the agents and runs of a Connic project from a terminal
// and from scripts. See README.md, and the pages of the commands in docs.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/connic-go/connic/cmd/connicctl/internal/audit"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/cost"
	"github.com/connic-go/connic/cmd/connicctl/internal/runs"
	"github.com/connic-go/connic/cmd/connicctl/internal/whoami"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	status := run(ctx, cli.OS(), os.Args[1:])
	stop()
	os.Exit(status) //nolint:forbidigo // it is a program
}

// run runs a command line and returns the exit status.
func run(ctx context.Context, p *cli.Process, args []string) int {
	return cli.Run(ctx, p, args, commands()...)
}

// commands returns the commands of the program.
func commands() []func(*cli.App) *cobra.Command {
	return []func(*cli.App) *cobra.Command{
		audit.Command,
		cost.Command,
		runs.Command,
		whoami.Command,
	}
}
