package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// addAgents adds an agent that takes an hour, and one that fails.
func addAgents(fake *connictest.Server) {
	fake.Agent("slow", func(ctx context.Context, in connictest.Input) (any, error) {
		select {
		case <-time.After(time.Hour):
			return "at last", nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	fake.Agent("fail", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no luck") })
}

func TestTrigger(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		if r := p.Run("agents", "trigger", "echo", "hi"); r.Status != 0 || r.Out != "hi\n" || !strings.Contains(r.Err, "run run-00000004 completed") || !strings.Contains(r.Err, "cost 0.0125 EUR") {
			t.Errorf("%+v", r)
		}
		p.Stdin = strings.NewReader("from a pipe")
		p.Files["payload.json"] = `{"year": 2026}`
		r := p.Run("agents", "trigger", "echo", "-", "--payload", "@payload.json", "--file", "main.go", "-o", "json")
		var run connic.Run
		if err := json.Unmarshal([]byte(r.Out), &run); r.Status != 0 || err != nil || run.Output != "from a pipe" {
			t.Errorf("%v: %+v", err, r)
		}
		if sent := string(fake.Requests()[len(fake.Requests())-2].Body); !strings.Contains(sent, `"year":2026`) || !strings.Contains(sent, `"main.go"`) {
			t.Errorf("sent %s", sent)
		}
		if r := p.Run("agents", "trigger", "fail", "x"); r.Status != 1 || r.Out != "" || !strings.Contains(r.Err, "no luck") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("agents", "trigger", "fail", "x", "-o", "jsonl"); r.Status != 1 || !strings.Contains(r.Out, `"status":"failed"`) {
			t.Errorf("%+v", r)
		}
		if r := p.Run("agents", "trigger", "nobody", "x"); r.Status != 3 || r.Out != "" {
			t.Errorf("%+v", r)
		}
		before := fake.Executions("agents.trigger")
		for _, args := range [][]string{
			{"echo"},
			{"echo", "-", "--payload", "-"},
			{"echo", "--payload", "{"},
			{"echo", "@nothing"},
			{"echo", "x", "--file", "nothing.txt"},
			{"echo", "x", "--no-wait", "--cancel"},
		} {
			if r := p.Run(append([]string{"agents", "trigger"}, args...)...); r.Status != 2 || r.Out != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
		if after := fake.Executions("agents.trigger"); after != before {
			t.Errorf("%d triggers", after-before)
		}
	})
}

// A lost response is no failure: the run may have been started, once.
func TestLostResponse(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		for _, args := range [][]string{{"agents", "trigger", "echo", "x"}, {"agents", "trigger", "echo", "x", "--no-wait"}, {"runs", "rerun", "run-00000001", "--yes"}} {
			fake.Fault(connictest.Fault{Op: args[0] + "." + args[1], After: true, Drop: true})
			r := p.Run(append(args, "--project", p.Env["CONNIC_PROJECT_ID"])...)
			_, command, _ := strings.Cut(strings.TrimSuffix(r.Err, "\n"), "connicctl runs list")
			if r.Status != 6 || r.Out != "" || command == "" {
				t.Fatalf("%+v", r)
			}
			if !strings.HasSuffix(command, " --project="+p.Env["CONNIC_PROJECT_ID"]) {
				t.Errorf("%s is not that of the project", command)
			}
			// The command that it names finds the run.
			if r := p.Run(append([]string{"runs", "list", "-o", "jsonl"}, strings.Fields(command)...)...); r.Status != 0 || !strings.Contains(r.Out, `"id"`) {
				t.Errorf("%s: %+v", command, r)
			}
		}
	})
}

// A command line that is to be copied is what a shell reads as it was meant.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})
		r := p.Run("agents", "trigger", "it's $(id)", "x")
		if want := `: connicctl runs list '--agent=it'\''s $(id)' --since=`; r.Status != 6 || !strings.Contains(r.Err, want) {
			t.Errorf("%+v", r)
		}
	})
}

// Ctrl-C and a time limit leave a run, and with --cancel cancel it.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		for _, c := range []struct {
			args   []string
			status int
			state  connic.RunStatus
		}{
			{[]string{"agents", "trigger", "slow", "x"}, 130, connic.RunRunning},
			{[]string{"agents", "trigger", "slow", "x", "--cancel"}, 130, connic.RunCancelled},
			{[]string{"agents", "trigger", "slow", "x", "--timeout", "5s"}, 5, connic.RunRunning},
			{[]string{"agents", "trigger", "slow", "x", "--timeout", "5s", "--cancel"}, 5, connic.RunCancelled},
			{[]string{"runs", "watch", "run-00000004"}, 130, connic.RunRunning},
			{[]string{"runs", "watch", "run-00000004", "--cancel"}, 130, connic.RunCancelled},
			{[]string{"runs", "tail"}, 130, ""},
		} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, nil)
			interrupted, stop := context.WithCancel(t.Context())
			context.AfterFunc(ctx, stop)
			r := p.RunContext(interrupted, c.args...)
			cancel()
			if r.Status != c.status {
				t.Errorf("%q: %+v", c.args, r)
			}
			if c.state == "" {
				continue
			}
			id := "run-00000004"
			if c.args[0] == "agents" {
				_, id, _ = strings.Cut(r.Err, "run run-")
				id = strings.Fields("run-" + id)[0]
			}
			run, err := fake.Client().Runs.Get(t.Context(), id)
			if err != nil || run.Status != c.state {
				t.Errorf("%q: %v, %v: %+v", c.args, run, err, r)
			}
			if hint := strings.Contains(r.Err, "connicctl runs watch "+id); hint != (c.state == connic.RunRunning) {
				t.Errorf("%q: %+v", c.args, r)
			}
		}
	})
}

func TestWatchAndCancel(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		addAgents(fake)
		ids := make([]string, 2)
		for i, agent := range []string{"slow", "fail"} {
			r := p.Run("agents", "trigger", agent, "x", "--no-wait")
			if ids[i] = strings.TrimSpace(r.Out); r.Status != 0 || !strings.HasPrefix(ids[i], "run-") {
				t.Fatalf("%+v", r)
			}
		}
		if r := p.Run("runs", "watch", "run-00000001", "-o", "json"); r.Status != 0 || !strings.Contains(r.Out, `"completed"`) {
			t.Errorf("%+v", r)
		}
		if r := p.Run("runs", "watch", "run-00000001", ids[0], ids[1]); r.Status != 1 || strings.Count(r.Out, "\n") != 4 || !strings.Contains(r.Err, "1 of 3 failed") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("runs", "watch", "run-00000001", "none"); r.Status != 3 || strings.Count(r.Out, "\n") != 2 {
			t.Errorf("%+v", r)
		}
		slow := strings.TrimSpace(p.Run("agents", "trigger", "slow", "x", "--no-wait").Out)
		other := strings.TrimSpace(p.Run("agents", "trigger", "slow", "x", "--no-wait").Out)
		if r := p.Run("runs", "watch", slow, other, "--timeout", "1ms"); r.Status != 5 || !strings.Contains(r.Err, "runs go on: connicctl runs watch "+slow+" "+other+"\n") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("runs", "cancel", slow, "none"); r.Status != 3 || r.Out != "" || !strings.Contains(r.Err, slow+" is being canceled") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("runs", "cancel", "run-00000001"); r.Status != 7 {
			t.Errorf("%+v", r)
		}
	})
}

// A run is not paid for twice without a yes.
func TestRerun(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		if r := p.Run("runs", "rerun", "run-00000001"); r.Status != 2 || !strings.Contains(r.Err, "--yes") {
			t.Errorf("%+v", r)
		}
		p.Terminal(80)
		for answer, want := range map[string]int{"n\n": 130, "\n": 130, "": 130, "y\n": 0, "yes": 0} {
			p.Stdin = strings.NewReader(answer)
			if r := p.Run("runs", "rerun", "run-00000001"); r.Status != want || (r.Out == "hello\n") != (want == 0) {
				t.Errorf("%q: %+v", answer, r)
			}
		}
		if n := fake.Executions("runs.rerun"); n != 2 {
			t.Errorf("%d runs", n)
		}
	})
}

func TestTail(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		want := `EVENT    ID                                    AGENT                 STATUS             CREATED              TOOK     COST
started  run-00000001                          echo                  completed          2026-10-01 12:00:00  -        0.0125 EUR
ended    run-00000001                          echo                  completed          2026-10-01 12:00:00  -        0.0125 EUR
`
		if r := p.Run("runs", "tail", "--since", "2026-10-01", "-n", "2"); r.Status != 0 || r.Out != want {
			t.Errorf("%+v", r)
		}
		r := p.Run("runs", "tail", "--since", "2026-10-01", "-n", "3", "--event", "ended", "-o", "jsonl")
		lines := strings.Split(r.Out, "\n")
		var last struct {
			Event  string
			Run    connic.Run
			Resume time.Time
		}
		if err := json.Unmarshal([]byte(lines[2]), &last); err != nil || len(lines) != 4 || last.Event != "ended" || last.Run.ID != "run-00000003" || last.Resume.IsZero() {
			t.Errorf("%v: %+v", err, r)
		}
	})
}
