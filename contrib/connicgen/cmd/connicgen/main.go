// Connicgen generates Go types for the agents of a project, from their schemas.
//
//	connicgen ./agents-project -o agents_gen.go -package agents
//
// It exits with 0, with 1 if -check finds the file stale or missing, and with 2 if
// the project or the arguments are wrong.
package main

import (
	"os"

	"github.com/connic-go/connic/contrib/connicgen/gencmd"
)

func main() { os.Exit(gencmd.Main()) } //nolint:forbidigo // the exit code is what -check is for
