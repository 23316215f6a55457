package cli_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
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

// What a build would obey is escaped without loss.
func TestCommandsInFormats(t *testing.T) {
	t.Parallel()
	want := map[string]string{"text": "a ###[b] ##vso[c]\n ::d::", "::e::": "##[f]"}
	for _, format := range []string{"json", "jsonl", "yaml"} {
		var out bytes.Buffer
		p := &cli.Process{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
		status := cli.Run(t.Context(), p, []string{"say", "-o", format}, func(a *cli.App) *cobra.Command {
			return &cobra.Command{Use: "say", RunE: func(*cobra.Command, []string) error { return cli.Item(a, want) }}
		})
		var got map[string]string
		if err := yaml.Unmarshal(out.Bytes(), &got); status != 0 || err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: status %d, %v, %q", format, status, err, got)
		}
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") || strings.Contains(line, "##vso[") {
				t.Errorf("%s: %s", format, line)
			}
		}
	}
}
