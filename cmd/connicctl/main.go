// Connicctl works with the agents and runs of a Connic project from a terminal
// and from scripts. See README.md, and the pages of the commands in docs.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/connic-go/connic/cmd/connicctl/internal/agents"
	"github.com/connic-go/connic/cmd/connicctl/internal/approvals"
	"github.com/connic-go/connic/cmd/connicctl/internal/audit"
	"github.com/connic-go/connic/cmd/connicctl/internal/bulk"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/cost"
	"github.com/connic-go/connic/cmd/connicctl/internal/doctor"
	"github.com/connic-go/connic/cmd/connicctl/internal/fake"
	"github.com/connic-go/connic/cmd/connicctl/internal/gate"
	"github.com/connic-go/connic/cmd/connicctl/internal/gen"
	"github.com/connic-go/connic/cmd/connicctl/internal/kb"
	"github.com/connic-go/connic/cmd/connicctl/internal/listen"
	"github.com/connic-go/connic/cmd/connicctl/internal/runs"
	"github.com/connic-go/connic/cmd/connicctl/internal/whoami"
	"github.com/spf13/cobra"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// A write to a closed pipe is then an error, and no death of the process: one of
	// standard error must not lose a run, nor one of standard output skip --cancel.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	log.SetOutput(io.Discard)                    //nolint:forbidigo // what net/http logs would stand in the progress
	exit := func(status int) { os.Exit(status) } //nolint:forbidigo // it is a program
	go interrupt(signals, cancel, func() { exit(cli.ExitInterrupted) })
	exit(run(ctx, cli.OS(), os.Args[1:]))
}

// interrupt cancels the command at the first signal, and ends the program at the
// next one. Signals within a second are one: the program timeout, for example,
// sends its signal twice.
func interrupt(signals <-chan os.Signal, cancel, end func()) {
	<-signals
	first := time.Now()
	cancel()
	for range signals {
		if time.Since(first) >= time.Second {
			end()
			return
		}
	}
}

// run runs a command line and returns the exit status.
func run(ctx context.Context, p *cli.Process, args []string) int {
	return cli.Run(ctx, p, args, commands()...)
}

// commands returns the commands of the program.
func commands() []func(*cli.App) *cobra.Command {
	return []func(*cli.App) *cobra.Command{
		agents.Command,
		approvals.Command,
		audit.Command,
		bulk.Command,
		cost.Command,
		doctor.Command,
		fake.Command,
		gate.Command,
		gen.Command,
		kb.Command,
		listen.Command,
		runs.Command,
		whoami.Command,
	}
}
