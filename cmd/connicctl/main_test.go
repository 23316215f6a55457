package main

import (
	"context"
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
	"go.yaml.in/yaml/v3"
)

// test runs a test in virtual time, with a fake that has three runs.
func test(t *testing.T, f func(t *testing.T, fake *connictest.Server, p *clitest.Program)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New(t)
		fake.SetTime(time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC))
		fake.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) {
			in.Cost("0.0125", "EUR")
			return in.Message, nil
		})
		client := fake.Client()
		defer client.Close()
		for _, message := range []string{"hello", "a \x1b[31mred\x1b[0m\tline\nand\u202e another \u009b2J\U000e0041", "日本語"} {
			if _, err := client.Agents.TriggerAndWait(t.Context(), "echo", connic.TriggerRequest{Message: message}); err != nil {
				t.Fatal(err)
			}
		}
		f(t, fake, clitest.New(t, fake, commands()...))
	})
}

// A table in a pipe is not shortened, and has no colors.
func TestTables(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		want := `ID            AGENT  STATUS     CREATED              TOOK  COST
run-00000003  echo   completed  2026-10-01 12:00:04  -     0.0125 EUR
run-00000002  echo   completed  2026-10-01 12:00:02  -     0.0125 EUR
run-00000001  echo   completed  2026-10-01 12:00:00  -     0.0125 EUR
`
		if r := p.Run("runs", "list"); r.Status != 0 || r.Out != want || r.Err != "" {
			t.Errorf("%+v", r)
		}
		p.Terminal(50)
		r := p.Run("runs", "list")
		for line := range strings.Lines(r.Out) {
			plain := strings.NewReplacer("\x1b[1m", "", "\x1b[32m", "", "\x1b[0m", "", "\n", "").Replace(line)
			if n := len([]rune(plain)); n > 50 || strings.Contains(plain, "\x1b") {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		if !strings.Contains(r.Out, "\x1b[32mcompleted\x1b[0m") && !strings.Contains(r.Out, "\x1b[32mcompl") {
			t.Errorf("no color: %q", r.Out)
		}
		p.Env["NO_COLOR"] = "1"
		if r := p.Run("runs", "list"); strings.Contains(r.Out, "\x1b") || !strings.Contains(r.Out, "…") {
			t.Errorf("%q", r.Out)
		}
	})
}

// What a run says cannot reach the terminal, in any form of output.
func TestUntrustedText(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		p.Terminal(80)
		p.Env["NO_COLOR"] = "1"
		r := p.Run("runs", "get", "run-00000002")
		if want := "OUTPUT\na \\x1b[31mred\\x1b[0m\tline\nand\\u202e another \\u009b2J\\U000e0041\n"; r.Status != 0 || !strings.HasSuffix(r.Out, want) {
			t.Errorf("%+v", r)
		}
		for _, format := range []string{"json", "jsonl", "yaml"} {
			r := p.Run("runs", "get", "run-00000002", "-o", format)
			if r.Status != 0 || strings.ContainsAny(r.Out, "\x1b\u009b\u202e\U000e0041") {
				t.Errorf("%+v", r)
			}
			var run connic.Run
			decode := json.Unmarshal
			if format == "yaml" {
				decode = func(data []byte, v any) error { return yaml.Unmarshal(data, v) }
			}
			if err := decode([]byte(r.Out), &run); err != nil || run.Output != "a \x1b[31mred\x1b[0m\tline\nand\u202e another \u009b2J\U000e0041" {
				t.Errorf("%s: %v, %q", format, err, run.Output)
			}
		}
	})
}

// The formats for programs say the same.
func TestFormats(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		var want, got []connic.Run
		if err := json.Unmarshal([]byte(p.Run("runs", "list", "-o", "json").Out), &want); err != nil || len(want) != 3 || want[0].Cost.String() != "0.0125" {
			t.Fatal(err, want)
		}
		lines := p.Run("runs", "list", "-o", "jsonl").Out
		if strings.Count(lines, "\n") != 3 {
			t.Errorf("%q", lines)
		}
		if err := json.Unmarshal([]byte("["+strings.ReplaceAll(strings.TrimSpace(lines), "\n", ",")+"]"), &got); err != nil || len(got) != 3 || got[2].Output != want[2].Output {
			t.Errorf("%v: %v", err, got)
		}
		sequence := p.Run("runs", "list", "-o", "yaml").Out
		if err := yaml.Unmarshal([]byte(sequence), &got); err != nil || len(got) != 3 || got[0].Output != "日本語" || got[0].Cost.String() != "0.0125" || !got[0].CreatedAt.Equal(want[0].CreatedAt) {
			t.Errorf("%v: %s", err, sequence)
		}
		for format, empty := range map[string]string{"json": "[]\n", "jsonl": "", "yaml": "[]\n", "table": ""} {
			if r := p.Run("runs", "list", "--agent", "none", "-o", format); r.Status != 0 || r.Out != empty {
				t.Errorf("%s: %+v", format, r)
			}
		}
	})
}

func TestUsage(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		for _, args := range [][]string{
			{"runs", "lst"},
			{"nothing"},
			{"runs", "get"},
			{"runs", "get", "a", "b"},
			{"runs", "list", "--nothing"},
			{"runs", "list", "-o", "xml"},
			{"runs", "list", "--status", "done"},
			{"runs", "list", "--since", "yesterday"},
			{"runs", "list", "--since", "213504d"},
			{"approvals", "list", "--limit", "-1"},
			{"whoami", "--key-file", "nothing"},
			{"runs", "get", "a/b"},
		} {
			if r := p.Run(args...); r.Status != 2 || r.Out != "" || !strings.Contains(r.Err, "connicctl: ") {
				t.Errorf("%q: %+v", args, r)
			}
		}
		for _, args := range [][]string{{}, {"runs"}} { // shows the commands
			if r := p.Run(args...); r.Status != 2 || r.Out != "" || !strings.Contains(r.Err, "\nAvailable Commands:\n") || strings.Contains(r.Err, "connicctl: ") {
				t.Errorf("%q: %+v", args, r)
			}
		}
		for _, args := range [][]string{{"--help"}, {"help", "runs"}, {"runs", "list", "-h"}, {"--version"}, {"completion", "bash"}} {
			if r := p.Run(args...); r.Status != 0 || r.Out == "" || r.Err != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
		delete(p.Env, "CONNIC_API_KEY")
		if r := p.Run("whoami"); r.Status != 2 || !strings.Contains(r.Err, "CONNIC_API_KEY") {
			t.Errorf("%+v", r)
		}
	})
}

// closed is a pipe whose reader has gone.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestClosedOutput(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		p.Stdout = closed{}
		for _, format := range []string{"table", "json", "jsonl", "yaml"} {
			if r := p.Run("runs", "list", "-o", format); r.Status != 141 || r.Err != "" {
				t.Errorf("%s: %+v", format, r)
			}
		}
	})
}

// A run whose output cannot be written is named, because it is paid for, and the
// rest are canceled with --cancel.
func TestUnwrittenRun(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		p.Stdout = closed{}
		for _, args := range [][]string{{"agents", "trigger", "echo", "x"}, {"agents", "trigger", "echo", "x", "--no-wait"}, {"agents", "trigger", "echo", "x", "-o", "json"}, {"runs", "rerun", "run-00000001", "--yes", "--no-wait"}} {
			if r := p.Run(args...); r.Status != 141 || !strings.Contains(r.Err, "connicctl runs get run-0000000") {
				t.Errorf("%q: %+v", args, r)
			}
		}
		client := fake.Client()
		defer client.Close()
		slow, err := client.Agents.Trigger(t.Context(), "slow", connic.TriggerRequest{Message: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if r := p.Run("runs", "watch", "run-00000001", slow.RunID, "--cancel"); r.Status != 141 {
			t.Errorf("%+v", r)
		}
		if run, err := client.Runs.Wait(t.Context(), slow.RunID); run == nil || run.Status != connic.RunCancelled {
			t.Error(run, err)
		}
	})
}
