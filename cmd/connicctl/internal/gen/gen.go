// Package gen has the command gen.
package gen

import (
	"errors"
	"flag"
	"strings"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/contrib/connicgen/gencmd"
	"github.com/spf13/cobra"
)

// Command returns the command gen.
func Command(a *cli.App) *cobra.Command {
	flags := flag.NewFlagSet("gen", flag.ContinueOnError)
	generate := gencmd.New(flags, func(text string) { a.Progress.Say("connicctl: %s", text) })
	cmd := &cobra.Command{
		Use: "gen FOLDER", Short: "Generate Go types for the agents of a project", Args: cobra.ExactArgs(1),
		Long: `Generate Go types for the agents of a project, from the schemas in its folder: a
constant for each agent, and the types of its input and its output. It sends no
request. A file that it has not generated is never overwritten.

With --check it writes nothing, and the exit status is 1 if the file is missing
or is not what it would write, so that a change of a schema breaks the build.`,
		Example: `  connicctl gen ./agents-project -o agents_gen.go --package agents
  connicctl gen ./agents-project -o agents_gen.go --check`,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := cli.Await(cmd.Context(), func() (struct{}, error) { return struct{}{}, generate(args[0]) }, nil)
			switch {
			case err == nil, errors.Is(err, cmd.Context().Err()):
				return err
			case errors.As(err, new(gencmd.StaleError)):
				return cli.Failed("%w", err)
			}
			// In the project or the flags. A project may have several errors, a line each.
			lines := strings.Split(err.Error(), "\n")
			for _, line := range lines[:len(lines)-1] {
				a.Progress.Say("connicctl: %s", line)
			}
			return cli.Usage("%s", lines[len(lines)-1])
		},
	}
	cli.GoFlags(cmd, flags)
	return cmd
}
