package cli_test

import (
	"bytes"
	"testing"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// Progress and text on one terminal do not mix.
func TestPrintAfterProgress(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer
	p := &cli.Process{Stdout: &screen, Stderr: &screen, StdoutTTY: true, StderrTTY: true, Width: 80, Getenv: func(string) string { return "" }}
	status := cli.Run(t.Context(), p, []string{"say"}, func(a *cli.App) *cobra.Command {
		return &cobra.Command{Use: "say", RunE: func(*cobra.Command, []string) error {
			a.Progress.Show("working")
			return a.Print("done")
		}}
	})
	if want := "\r\x1b[Kworking\r\x1b[Kdone\n"; status != 0 || screen.String() != want {
		t.Errorf("status %d, %q, want %q", status, screen.String(), want)
	}
}
