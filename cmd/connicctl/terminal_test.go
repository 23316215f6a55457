package main

import (
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// Ids in tables can be copied, also from a narrow terminal. A row fits into 80
// columns.
func TestIDsAreWhole(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		fake.Seed(7)
		ask(t, fake)
		client := fake.Client()
		defer client.Close()
		triggered, err := client.Agents.Trigger(t.Context(), "echo", connic.TriggerRequest{Message: "x"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		approvals, err := client.Approvals.List(t.Context(), nil)
		if err != nil || len(approvals.Items) != 2 {
			t.Fatal(approvals, err)
		}
		p.Env["NO_COLOR"] = "1"
		for _, width := range []int{40, 80} {
			p.Terminal(width)
			for args, id := range map[string]string{
				"runs list":                        triggered.RunID,
				"runs tail --since 2026-10-01 -n9": triggered.RunID,
				"runs watch " + triggered.RunID:    triggered.RunID,
				"approvals list":                   approvals.Items[0].ID,
			} {
				r := p.Run(strings.Fields(args)...)
				if r.Status != 0 || !strings.Contains(r.Out, id+" ") {
					t.Errorf("%s at %d columns: %+v", args, width, r)
				}
				for line := range strings.Lines(r.Out) {
					if n := len([]rune(strings.TrimSuffix(line, "\n"))); width == 80 && n > 80 {
						t.Errorf("%s: %d columns: %q", args, n, line)
					}
				}
			}
		}
	})
}

// What a command says of its end can be acted on.
func TestAdvice(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		ask(t, fake)
		r := p.Run("runs", "watch", "nothing")
		if r.Status != 3 || !strings.Contains(r.Err, "Run not found") || strings.Contains(r.Err, "goes on") {
			t.Errorf("%+v", r)
		}
		if r := p.Run("runs", "tail", "--timeout", "1m"); r.Status != 5 || !strings.HasSuffix(r.Err, "connicctl: --timeout has passed\n") {
			t.Errorf("%+v", r)
		}
		r = p.Run("agents", "trigger", "payments", "pay", "--timeout", "1m")
		if r.Status != 5 || !strings.Contains(r.Err, "run run-00000006 awaits approval: connicctl approvals show approval-00000003\n") || !strings.Contains(r.Err, "goes on") {
			t.Errorf("%+v", r)
		}
		for _, args := range [][]string{{"completion"}, {"completion", "none"}} { // its output is a script that shells read
			if r := p.Run(args...); r.Status != 2 || r.Out != "" || r.Err == "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
	})
}
