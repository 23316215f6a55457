package guide

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// typedFence finds the blocks of the page that is followed: files, whose names stand
// behind the language, commands, and commands with what they print.
var typedFence = regexp.MustCompile("(?ms)^```(yaml|json|go|sh|console)(?: (\\S+))?\n(.*?)^```\n")

// TestTypedAgents follows docs/guide/typed.md from an empty folder. The modules of this
// repository take the place of their releases.
func TestTypedAgents(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds programs")
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/guide/typed.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	shell := func(script string) (string, int) {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -buildvcs=false", "GOWORK=off", "GOSUMDB=off", "GOPROXY=off")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	took := regexp.MustCompile(`\t\(cached\)|\t[0-9.]+s\b`)
	commands, files, failures := 0, 0, 0
	for _, m := range typedFence.FindAllStringSubmatch(string(page), -1) {
		kind, name, text := m[1], m[2], m[3]
		switch {
		case name != "":
			files++
			if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case kind == "sh":
			out, code := shell("set -e\n" + text)
			if code != 0 {
				t.Fatalf("%s\n%s", text, out)
			}
			if strings.Contains(text, "go mod init") {
				out, code = shell("go mod edit -replace github.com/connic-go/connic=" + top + " -replace github.com/connic-go/connic/contrib/connicgen=" + top + "/contrib/connicgen")
			}
			if code != 0 {
				t.Fatal(out)
			}
		case kind == "console":
			commands++
			line, want, _ := strings.Cut(text, "\n")
			out, code := shell(strings.TrimPrefix(line, "$ "))
			if code != 0 {
				failures++
			}
			if got, want := took.ReplaceAllString(out, "\t0.01s"), took.ReplaceAllString(want, "\t0.01s"); got != want {
				t.Errorf("%s\nprints\n%s\nand the page says\n%s", line, got, want)
			}
		}
	}
	if files != 4 || commands != 4 || failures != 2 {
		t.Errorf("%d files, %d commands, %d of them failed", files, commands, failures)
	}
}
