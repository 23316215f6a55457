package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// ask starts runs that await approval: approval-00000001 wants to pay, and
// approval-00000002 asks for a PIN.
func ask(t *testing.T, fake *connictest.Server) {
	t.Helper()
	fake.Agent("payments", func(ctx context.Context, in connictest.Input) (any, error) {
		request := connictest.ApprovalRequest{ToolName: "pay\x1b[2J", Arguments: map[string]any{"amount": 49.9, "to": "\u202eDE02\u009b2J"}}
		if in.Message == "pin" {
			request.Inputs = []connic.ApprovalInput{{Label: "PIN", Sensitive: true}}
		}
		return in.RequestApproval(ctx, request)
	})
	client := fake.Client()
	defer client.Close()
	for _, message := range []string{"pay", "pin"} {
		if _, err := client.Agents.Trigger(t.Context(), "payments", connic.TriggerRequest{Message: message}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
}

func TestApprovals(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		ask(t, fake)
		p.Terminal(200)
		p.Env["NO_COLOR"] = "1"
		r := p.Run("approvals", "list")
		if r.Status != 0 || strings.Count(r.Out, "pending") != 2 || !strings.Contains(r.Out, `pay\x1b[2J`) || strings.Contains(r.Out, "\x1b") {
			t.Errorf("%+v", r)
		}
		r = p.Run("approvals", "show", "approval-00000001")
		if r.Status != 0 || !strings.HasSuffix(r.Out, "ARGUMENTS\n{\n  \"amount\": 49.9,\n  \"to\": \"\\u202eDE02\\u009b2J\"\n}\n") {
			t.Errorf("%+v", r)
		}
		r = p.Run("approvals", "approve", "approval-00000001", "--reason", "known supplier", "-o", "jsonl")
		if r.Status != 0 || !strings.Contains(r.Out, `"status":"approved"`) || !strings.Contains(r.Out, `"reason":"known supplier"`) {
			t.Errorf("%+v", r)
		}
		// The PIN is read from the terminal, or from standard input.
		p.ReadSecret = func(context.Context) (string, error) { return "", nil }
		if r := p.Run("approvals", "approve", "approval-00000002"); r.Status != 2 || !strings.Contains(r.Err, "PIN (not shown") {
			t.Errorf("%+v", r)
		}
		p.StdinTTY = false
		if r := p.Run("approvals", "approve", "approval-00000002"); r.Status != 2 || !strings.Contains(r.Err, "asks for PIN: use --response") {
			t.Errorf("%+v", r)
		}
		p.Stdin = strings.NewReader("1234\n")
		if r := p.Run("approvals", "approve", "approval-00000002", "--response", "-"); r.Status != 0 || strings.Contains(r.Out+r.Err, "1234") {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		if r := p.Run("runs", "get", "run-00000005", "-o", "jsonl"); !strings.Contains(r.Out, `"output":"1234"`) {
			t.Errorf("%+v", r)
		}
		if r := p.Run("approvals", "list", "-o", "jsonl"); r.Status != 0 || r.Out != "" {
			t.Errorf("%+v", r)
		}
		if r := p.Run("approvals", "list", "--status", "all", "-n", "1", "-o", "jsonl"); strings.Count(r.Out, "\n") != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A decision of somebody else is a failure that says whose it is, whether it was
// made before the approval is read or after.
func TestDecided(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		ask(t, fake)
		if err := fake.Decide("approval-00000001", "Grace", connic.Decision{Reason: "no"}); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"approve"}, {"reject"}, {"approve", "--response", "x"}} {
			r := p.Run(append([]string{"approvals", args[0], "approval-00000001"}, args[1:]...)...)
			if r.Status != 1 || r.Out != "" || !strings.Contains(r.Err, "was already rejected by Grace") {
				t.Errorf("%q: %+v", args, r)
			}
		}
		if err := fake.Decide("approval-00000002", "Grace", connic.Decision{}); err != nil {
			t.Fatal(err)
		}
		if r := p.Run("approvals", "approve", "approval-00000002"); r.Status != 1 || !strings.Contains(r.Err, "rejected by Grace") {
			t.Errorf("it asks for a response: %+v", r)
		}
		if r := p.Run("approvals", "approve", "nothing"); r.Status != 3 {
			t.Errorf("%+v", r)
		}
		before := fake.Executions("approvals.decide")
		for _, args := range [][]string{
			{"approve", "x", "--reason", "-", "--response", "-"},
			{"approve", "x", "--response", "@nothing"},
			{"reject", "x", "--reason", "@nothing"},
			{"list", "--status", "open"},
			{"list", "--watch", "--status", "all"},
			{"approve"},
			{"approve", "a/b"},
			{"approve", "x", "--response", "-"},
		} {
			if r := p.Run(append([]string{"approvals"}, args...)...); r.Status != 2 || r.Out != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
		if after := fake.Executions("approvals.decide"); after != before {
			t.Errorf("%d decisions", after-before)
		}
		ask(t, fake)
		fake.Fault(connictest.Fault{Op: "approvals.decide", After: true, Drop: true})
		if r := p.Run("approvals", "reject", "approval-00000003", "-o", "jsonl"); r.Status != 0 || !strings.Contains(r.Out, `"status":"rejected"`) {
			t.Errorf("a lost response: %+v", r)
		}
	})
}

func TestApprovalsWatch(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		ctx, interrupt := context.WithCancel(ctx)
		go func() {
			time.Sleep(time.Minute)
			ask(t, fake)
			time.Sleep(2 * time.Minute)
			interrupt()
		}()
		if r := p.RunContext(ctx, "approvals", "list", "--watch", "-o", "jsonl"); r.Status != 130 || strings.Count(r.Out, "\n") != 2 {
			t.Errorf("%+v", r)
		}
	})
}
