package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// write writes a file of a test and returns its name.
func write(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// outcomes returns the results by key, as statuses.
func outcomes(t *testing.T, out string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for line := range strings.Lines(out) {
		var r struct{ Key, Status, Output string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || found[r.Key] != "" {
			t.Fatalf("%v: %s", err, line)
		}
		found[r.Key] = strings.TrimSpace(r.Status + " " + r.Output)
	}
	return found
}

func TestBulk(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		inputs := write(t, "in.jsonl", "\ufeff{\"key\": \"a\", \"message\": \"one\"}\n\n{\"key\": 2, \"message\": \"two\"}\r\n{\"key\": \"a\", \"message\": \"again\"}\n")
		journal := filepath.Join(t.TempDir(), "j")
		args := []string{"bulk", "echo", inputs, "--journal", journal, "-o", "jsonl"}
		before := fake.Executions("agents.trigger")
		r := p.Run(args...)
		got := outcomes(t, r.Out)
		if r.Status != 0 || len(got) != 2 || !strings.HasSuffix(got["a"], "one") || !strings.HasSuffix(got["2"], "two") ||
			!strings.Contains(r.Out, `"cost":"0.0125","currency":"EUR"`) || !strings.Contains(r.Err, "3 of 3 done, 0 open") {
			t.Errorf("%+v", r)
		}
		if r := p.Run(args...); r.Status != 0 || r.Out != "" || !strings.Contains(r.Err, "done") || strings.HasPrefix(r.Err, "0 done") {
			t.Errorf("%+v", r)
		}
		if n := fake.Executions("agents.trigger") - before; n != 2 {
			t.Errorf("%d triggers", n)
		}
		delete(p.Env, "CONNIC_API_KEY") // which the journal does not need
		if r := p.Run("bulk", "status", "--journal", journal); r.Status != 0 || r.Out != "" || !strings.Contains(r.Err, "2 done, 0 started") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("bulk", "status", "--journal", journal, "--all", "-o", "jsonl"); r.Status != 0 || strings.Count(r.Out, `"state":"done"`) != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// Payloads from standard input, files, and the results of a failing agent.
func TestBulkInputs(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		dir := t.TempDir()
		p.Stdin = strings.NewReader(`{"id": 7, "message": "plain", "x": 1}` + "\n" + `{"id": "b"}`)
		r := p.Run("bulk", "echo", "-", "--key", "id", "--journal", filepath.Join(dir, "1"), "-o", "jsonl")
		if got := outcomes(t, r.Out); r.Status != 0 || len(got) != 2 || got["7"] != "completed plain" {
			t.Errorf("%+v", r)
		}
		var lines strings.Builder // more than the reader holds at once
		for i := range 100 {
			fmt.Fprintf(&lines, `{"id": %d, "message": "%s %d"}`+"\n", i, strings.Repeat("x", 100), i)
		}
		p.Stdin = strings.NewReader(lines.String())
		for key, got := range outcomes(t, p.Run("bulk", "echo", "--key", "id", "--journal", filepath.Join(dir, "many"), "-o", "jsonl").Out) {
			if !strings.HasSuffix(got, "x "+key) {
				t.Errorf("%s: %s", key, got)
			}
		}
		name := write(t, "a.txt", "the file")
		p.Stdin = strings.NewReader(`{"key": "f", "message": "m", "files": ["a.txt", {"name": "b.txt", "mime_type": "text/plain", "data": "aGk="}]}`)
		r = p.Run("bulk", "echo", "--files", filepath.Dir(name), "--journal", filepath.Join(dir, "2"), "-o", "jsonl")
		sent := ""
		for _, request := range fake.Requests() {
			sent += string(request.Body)
		}
		if r.Status != 0 || !strings.Contains(sent, `"a.txt"`) || !strings.Contains(sent, `"aGk="`) {
			t.Errorf("%+v", r)
		}
		p.Stdin = strings.NewReader(`{"key": "a", "message": "m"}`)
		if r := p.Run("bulk", "fail", "--journal", filepath.Join(dir, "3"), "-o", "jsonl"); r.Status != 1 || !strings.Contains(r.Out, `"status":"failed","error":"no luck"`) || !strings.Contains(r.Err, "1 of 1 inputs failed") {
			t.Errorf("%+v", r)
		}
		p.Stdin = strings.NewReader(`{"key": "a\u0007", "message": "m"}`)
		if r := p.Run("bulk", "echo", "--journal", filepath.Join(dir, "5"), "-o", "jsonl"); r.Status != 1 || !strings.Contains(r.Out, "not_started") || !strings.Contains(r.Err, "1 of 1 inputs failed") {
			t.Errorf("%+v", r)
		}
		// What came before a bad line is collected.
		p.Stdin = strings.NewReader(`{"key": "a", "message": "m"}` + "\n{\n")
		if r := p.Run("bulk", "echo", "--journal", filepath.Join(dir, "4"), "-o", "jsonl"); r.Status != 1 || len(outcomes(t, r.Out)) != 1 || !strings.Contains(r.Err, "standard input, line 2: ") {
			t.Errorf("%+v", r)
		}
	})
}

func TestBulkUsage(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		before := fake.Executions("agents.trigger")
		journal := filepath.Join(t.TempDir(), "j")
		for _, text := range []string{
			"{", "[]", `{"message": "m"}`, `{"key": "", "message": "m"}`, `{"key": ["a"], "message": "m"}`, `{"key": "a"}`, `{"key": "a", "payload": null}`,
			`{"key": "a", "message": "m"} {}`, `{"key": "a", "note": "m"}`, `{"key": "a", "message": 1}`, `{"key": "a", "files": ["/etc/passwd"]}`, `{"key": "a", "files": [{}]}`,
		} {
			good := `{"key": "g", "message": "m"}` + "\n"
			r := p.Run("bulk", "echo", write(t, "in", good+text), "--journal", journal)
			if r.Status != 2 || r.Out != "" || !strings.Contains(r.Err, "line 2: ") {
				t.Errorf("%s: %+v", text, r)
			}
		}
		outside := write(t, "in", `{"key": "a", "files": ["../in"]}`)
		p.StdinTTY = true
		for _, args := range [][]string{
			{"echo", "nothing"},
			{"echo", t.TempDir()},
			{"echo", outside, "--files", t.TempDir()},
			{"echo"},
			{"echo", "-", "--in-flight", "0"},
			{"echo", "-", "--budget", "5", "--per-run", "1"},
			{"echo", "-", "--budget", "x EUR", "--per-run", "1"},
			{"echo", "-", "--budget", "-5 EUR", "--per-run", "1"},
			{"echo", "-", "--per-run", "1"},
			{"echo", "-", "--max-failures", "-1"},
			{},
		} {
			if r := p.Run(append([]string{"bulk", "--journal", journal}, args...)...); r.Status != 2 || r.Out != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
		if r := p.Run("bulk", "echo", "-"); r.Status != 2 || !strings.Contains(r.Err, "journal") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("bulk", "status", "--journal", journal); r.Status != 3 {
			t.Errorf("%+v", r)
		}
		if r := p.Run("bulk", "status", "--journal", outside); r.Status != 2 || !strings.Contains(r.Err, "is not a journal") {
			t.Errorf("%+v", r)
		}
		for _, other := range []string{outside, filepath.Join(journal, "j")} {
			if r := p.Run("bulk", "echo", write(t, "in", many(1)), "--journal", other); r.Status != 2 || !strings.Contains(r.Err, "the journal cannot be opened") || strings.Contains(r.Err, "0 done") {
				t.Errorf("%+v", r)
			}
		}
		if _, err := os.Stat(journal); err == nil {
			t.Error("there is a journal")
		}
		if after := fake.Executions("agents.trigger"); after != before {
			t.Errorf("%d triggers", after-before)
		}
	})
}

// many returns inputs with the keys 1 to n.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"key": %d, "message": "m%d"}`+"\n", i+1, i+1)
	}
	return b.String()
}

// An input that left and brought no response is unknown until it is sent again.
func TestBulkUnknown(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		journal := filepath.Join(t.TempDir(), "j")
		args := []string{"bulk", "echo", write(t, "in", many(3)), "--journal", journal, "-o", "jsonl"}
		fake.Fault(connictest.Fault{Op: "agents.trigger", Drop: true})
		r := p.Run(args...)
		got := outcomes(t, r.Out)
		lost := "" // which of the three was sent first
		for key, outcome := range got {
			if outcome == "unknown" {
				lost += key
			}
		}
		if r.Status != 6 || len(got) != 3 || len(lost) != 1 || !strings.Contains(r.Err, "the outcome of 1 inputs is unknown") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("bulk", "status", "--journal", journal, "-o", "jsonl"); !strings.Contains(r.Out, fmt.Sprintf(`"key":%q,"state":"unknown"`, lost)) || strings.Count(r.Out, "\n") != 1 {
			t.Errorf("%+v", r)
		}
		before := fake.Executions("agents.trigger")
		if r := p.Run(args...); r.Status != 6 || len(outcomes(t, r.Out)) != 1 || fake.Executions("agents.trigger") != before {
			t.Errorf("%+v", r)
		}
		if r := p.Run(append(args, "--resend-unknown")...); r.Status != 0 || len(outcomes(t, r.Out)) != 1 || fake.Executions("agents.trigger") != before+1 {
			t.Errorf("%+v", r)
		}
		// One that was started is found by its marker.
		fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})
		if r := p.Run("bulk", "echo", write(t, "in", many(1)), "--journal", filepath.Join(t.TempDir(), "j"), "-o", "jsonl"); r.Status != 0 || !strings.Contains(r.Out, "completed") {
			t.Errorf("%+v", r)
		}
	})
}

// Ctrl-C collects what was started, a time limit leaves it, and so does a reader
// that has gone. The next call goes on.
func TestBulkEnds(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		journal := filepath.Join(t.TempDir(), "j")
		args := []string{"bulk", "slow", write(t, "in", many(5)), "--journal", journal, "--in-flight", "2", "-o", "jsonl"}
		before := fake.Executions("agents.trigger")
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Minute, interrupt)
		r := p.RunContext(ctx, args...)
		if got := outcomes(t, r.Out); r.Status != 130 || len(got) != 2 || got["1"] != "completed at last" || !strings.Contains(r.Err, "nothing more is started") {
			t.Errorf("%+v", r)
		}
		r = p.Run(append(args, "--timeout", "10m")...)
		if got := outcomes(t, r.Out); r.Status != 5 || len(got) != 2 || strings.Count(r.Out, `"status":"started","error":"the run goes on"`) != 2 || !strings.Contains(r.Err, "\n2 of 5 done, 2 open\nconnicctl: ") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("bulk", "status", "--journal", journal, "-o", "jsonl"); strings.Count(r.Out, `"state":"started"`) != 2 {
			t.Errorf("%+v", r)
		}
		p.Stdout = closed{}
		if r := p.Run(args...); r.Status != 141 {
			t.Errorf("%+v", r)
		}
		p.Stdout = nil
		r = p.Run(args...)
		if got := outcomes(t, r.Out); r.Status != 0 || len(got) != 3 {
			t.Errorf("%+v", r)
		}
		if n := fake.Executions("agents.trigger") - before; n != 5 {
			t.Errorf("%d triggers", n)
		}
	})
}

func TestBulkBounds(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		run := func(agent string, more ...string) (clitest.Result, int) {
			before := fake.Executions("agents.trigger")
			r := p.Run(append([]string{"bulk", agent, write(t, "in", many(40)), "--journal", filepath.Join(t.TempDir(), "j"), "-o", "jsonl"}, more...)...)
			return r, fake.Executions("agents.trigger") - before
		}
		if r, n := run("echo", "--budget", "0.05 EUR", "--per-run", "0.0125"); r.Status != 1 || n != 4 || !strings.Contains(r.Err, "the budget would be exceeded") {
			t.Errorf("%d: %+v", n, r)
		}
		if r, n := run("fail", "--in-flight", "1"); r.Status != 1 || n != 10 || !strings.Contains(r.Err, "10 inputs in a row have failed") {
			t.Errorf("%d: %+v", n, r)
		}
		if r, _ := run("nobody", "--in-flight", "1", "--max-failures", "2"); r.Status != 3 || len(outcomes(t, r.Out)) != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// While a call is in progress, its journal is in use.
func TestBulkInUse(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, _ *connictest.Server, p *clitest.Program) {
		name := filepath.Join(t.TempDir(), "j")
		journal := connic.FileJournal(name)
		if err := journal.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer journal.Close()
		for _, args := range [][]string{{"bulk", "status"}, {"bulk", "echo", "-"}} {
			if r := p.Run(append(args, "--journal", name)...); r.Status != 5 || r.Out != "" || !strings.Contains(r.Err, "in use") {
				t.Errorf("%+v", r)
			}
		}
	})
}
