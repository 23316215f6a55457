package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// The key comes from the environment, a file, or a prompt, and is shown nowhere.
func TestKeys(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		key := p.Env["CONNIC_API_KEY"]
		whoami := func(from string, args ...string) {
			t.Helper()
			r := p.Run(append([]string{"whoami", "--debug"}, args...)...)
			if r.Status != 0 || !strings.Contains(r.Out, ", from "+from+"\n") || !strings.Contains(r.Err, "project.get") {
				t.Errorf("from %s: %+v", from, r)
			}
		}
		whoami("CONNIC_API_KEY and CONNIC_PROJECT_ID")
		p.Files["key"] = key + "\n"
		p.Env["CONNIC_API_KEY"] = "cnc_another-key-0123"
		whoami("--key-file", "--key-file", "key")
		p.Files["key"] = "\n"
		if r := p.Run("whoami", "--key-file", "key"); r.Status != 2 {
			t.Errorf("%+v", r)
		}
		p.Env = map[string]string{}
		p.Files[".connic"] = `{"project_id": "` + connictest.ProjectID + `", "api_key": "` + key + `"}`
		whoami("the file .connic")
		if r := p.Run("whoami", "--project", "another"); r.Status != 2 || !strings.Contains(r.Err, "may not belong together") {
			t.Errorf("%+v", r)
		}
		p.Files[".connic"] = "{"
		if r := p.Run("whoami", "--project", connictest.ProjectID); r.Status != 2 || !strings.Contains(r.Err, ".connic is not JSON") {
			t.Errorf("%+v", r)
		}
		delete(p.Files, ".connic")
		p.Terminal(80)
		p.Env["NO_COLOR"] = "1"
		p.ReadSecret = func(context.Context) (string, error) { return key, nil }
		whoami("the prompt", "--project", connictest.ProjectID)
		p.ReadSecret = func(ctx context.Context) (string, error) { return "", context.Canceled }
		if r := p.Run("whoami", "--project", connictest.ProjectID); r.Status != 130 {
			t.Errorf("%+v", r)
		}
	})
}

func TestWhoami(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		p.Env["CONNIC_API_KEY"] = string(fake.Key("runs:read", "agents:read"))
		before := len(fake.Requests())
		r := p.Run("whoami", "--access")
		if n := len(fake.Requests()) - before; r.Status != 0 || n != 11 {
			t.Errorf("%d requests: %+v", n, r)
		}
		for _, line := range []string{"may read      agents, environments, runs\n", "may not read  approvals, audit-logs,", "quota         60 requests in 60 s"} {
			if !strings.Contains(r.Out, line) {
				t.Errorf("no %q in %s", line, r.Out)
			}
		}
		for _, request := range fake.Requests()[before:] {
			if request.Method != "GET" {
				t.Errorf("%s", request.Method)
			}
		}
		fake.RevokeKey("cnc_none")
		p.Env["CONNIC_API_KEY"] = "cnc_unknown-0123456"
		if r := p.Run("whoami"); r.Status != 4 || r.Out != "" {
			t.Errorf("%+v", r)
		}
	})
}

// An environment has a name or an id. An id that is known costs no request.
func TestEnvironments(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		for _, c := range []struct {
			env      string
			status   int
			requests int
		}{{"production", 0, 2}, {"Production", 0, 2}, {"env-production", 0, 1}, {"nowhere", 3, 1}} {
			before := len(fake.Requests())
			r := p.Run("runs", "list", "--env", c.env, "-o", "jsonl")
			if n := len(fake.Requests()) - before; r.Status != c.status || n != c.requests || (strings.Count(r.Out, "\n") == 3) != (c.status == 0) {
				t.Errorf("%s: %d requests: %+v", c.env, n, r)
			}
		}
		if r := p.Run("runs", "list", "--env", "test"); r.Status != 0 || r.Out != "" {
			t.Errorf("%+v", r)
		}
		p.Env["CONNIC_ENVIRONMENT"] = "env-test"
		if r := p.Run("runs", "list"); r.Status != 0 || r.Out != "" {
			t.Errorf("%+v", r)
		}
		if r := p.Run("runs", "list", "--env", "env-production", "-o", "jsonl"); r.Status != 0 || r.Out == "" {
			t.Errorf("%+v", r)
		}
		time.Sleep(25 * time.Hour)
		before := len(fake.Requests())
		if r := p.Run("runs", "list", "--env", "env-production"); r.Status != 0 || len(fake.Requests())-before != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// Completion sends no request, and knows what was listed within a day.
func TestCompletion(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		complete := func(want string, args ...string) {
			t.Helper()
			before := len(fake.Requests())
			r := p.Run(append([]string{"__complete"}, args...)...)
			if found, _, _ := strings.Cut(r.Out, ":"); r.Status != 0 || found != want || len(fake.Requests()) != before {
				t.Errorf("%q: %+v", args, r)
			}
		}
		complete("", "runs", "get", "")
		complete("", "agents", "trigger", "")
		if r := p.Run("completion", "refresh"); r.Status != 0 || r.Out != "" {
			t.Errorf("%+v", r)
		}
		complete("run-00000003\techo, completed\nrun-00000002\techo, completed\nrun-00000001\techo, completed\n", "runs", "get", "run-")
		complete("echo\n", "agents", "trigger", "e")
		complete("env-production\tproduction\n", "runs", "list", "--env", "env-p")
		complete("", "runs", "get", "--project", "another", "")
		for _, name := range []string{"a\nb\x1b[2J", "$(id)", "`id`", "a;id", "--debug", "a'b"} {
			fake.Agent(name, func(context.Context, connictest.Input) (any, error) { return "", nil })
		}
		if r := p.Run("agents", "list"); r.Status != 0 || strings.Contains(r.Out, "\x1b") {
			t.Errorf("%+v", r)
		}
		complete("echo\n", "agents", "trigger", "")
		time.Sleep(25 * time.Hour)
		complete("", "agents", "trigger", "")

		folder, _ := p.CacheDir()
		files, err := filepath.Glob(filepath.Join(folder, "connicctl", "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		complete("", "runs", "get", "")
		p.CacheDir = func() (string, error) { return "", errors.New("no home") }
		if r := p.Run("agents", "list"); r.Status != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// On a terminal, progress is one line that ends with the command; elsewhere it is
// a line every few seconds.
func TestProgress(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		args := []string{"agents", "trigger", "slow", "x", "--timeout", "1m"}
		r := p.Run(args...)
		if lines := strings.Split(r.Err, "\n"); len(lines) < 5 || len(lines) > 14 || strings.Contains(r.Err, "\x1b") || !strings.Contains(r.Err, "\nrunning, ") {
			t.Errorf("%q", r.Err)
		}
		if r := p.Run(append(args, "-q")...); strings.Count(r.Err, "\n") != 2 {
			t.Errorf("%q", r.Err)
		}
		p.Terminal(40)
		r = p.Run(args...)
		if strings.Count(r.Err, "\n") != 2 || !strings.Contains(r.Err, "\r\x1b[Krunning, ") || !strings.Contains(r.Err, "\r\x1b[Kthe run goes on") {
			t.Errorf("%q", r.Err)
		}
		for shown := range strings.SplitSeq(r.Err, "\r\x1b[K") {
			if line, _, permanent := strings.Cut(shown, "\n"); !permanent && len([]rune(line)) > 39 {
				t.Errorf("%q", line)
			}
		}
	})
}
