package gate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/connictest"
)

const twoJudged = "cases: [{name: good, message: good}, {name: also, message: also good}]\n"

// Runs whose evaluation has failed are not paid for again.
func TestNotJudged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op           string
		status, want int
	}{
		{"judges.evaluations", 401, cli.ExitRefused},
		{"judges.evaluations", 503, cli.ExitLater},
		{"judges.evaluate", 403, cli.ExitRefused},
		{"judges.evaluate", 503, cli.ExitUnknown},
	} {
		t.Run(fmt.Sprint(c.op, c.status), func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			inBubble(t, func(t *testing.T, h *fixture) {
				h.judge("quality")
				h.fake.Fault(connictest.Fault{Op: c.op, Status: c.status, Times: -1})
				suite := parse(t, "judge: {name: quality, min: 0.8}\n"+twoJudged)
				args := []string{"--journal", folder, "--timeout", "30m"}
				h.expect(h.gate(t.Context(), suite, args...), c.want, "2 without a result", "the same command line resumes")
				h.fake.ClearFaults()
				if c.want == cli.ExitUnknown {
					h.expect(h.gate(t.Context(), suite, args...), c.want, "with --resend-unknown")
					h.executed("judges.evaluate", 0)
					args = append(args, "--resend-unknown")
				}
				h.expect(h.gate(t.Context(), suite, args...), cli.ExitDone, "2 of 2 cases passed")
				h.executed("agents.trigger", 2)
				h.executed("judges.evaluate", 2)
			})
		})
	}
}

// The evaluations of one judge are not those of another.
func TestOtherJudge(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.judge("quality")
		h.judge("strict")
		for _, judge := range []string{"quality", "strict", "quality"} {
			suite := parse(t, "judge: {name: "+judge+", min: 0.8}\n"+twoJudged)
			h.expect(h.gate(t.Context(), suite, "--journal", folder, "--keep"), cli.ExitDone, "2 of 2 cases passed")
		}
		h.executed("agents.trigger", 2)
		h.executed("judges.evaluate", 4)
	})
}

// A kept journal does not stop a file whose agent is another one.
func TestOtherAgent(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Agent("sales", echo)
		for _, agent := range []string{"support", "sales", "support"} {
			h.expect(h.gate(t.Context(), "agent: "+agent+"\n"+twoJudged, "--journal", folder, "--keep"), cli.ExitDone, "2 of 2 cases passed")
		}
		h.executed("agents.trigger", 4)
	})
}

// What is not known comes before what did not pass, whichever file it is in.
func TestStatusOfSeveralFiles(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, h *fixture) {
		h.fake.Agent("lost", echo)
		h.p.Files["a.yaml"] = "agent: support\ncases: [{name: bad, message: hello, expect: {contains: bye}}]"
		h.p.Files["b.yaml"] = "agent: nobody\ncases: [{name: none, message: hello}]"
		h.Result = h.p.Run("gate", "a.yaml", "b.yaml")
		h.expect(h.Status, cli.ExitNotFound, "2 of 2 failed")
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", Nth: 3, Drop: true, Times: -1})
		h.p.Files["c.yaml"] = "agent: lost\ncases: [{name: lost, message: hello}]"
		h.Result = h.p.Run("gate", "a.yaml", "b.yaml", "c.yaml")
		h.expect(h.Status, cli.ExitUnknown, "3 of 3 failed")
	})
}

// A run belongs to one case, also if another file has a case with the same input.
func TestRunOfAnotherFile(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, h *fixture) {
		h.p.Files["a.yaml"] = "agent: support\ncases: [{name: a, message: ping}]"
		h.p.Files["b.yaml"] = "agent: support\ncases: [{name: b, message: ping}]"
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", Nth: 2, Drop: true})
		h.Result = h.p.Run("gate", "a.yaml", "b.yaml")
		h.expect(h.Status, cli.ExitUnknown, "b.yaml: 0 of 1 cases passed, 1 without a result")
	})
}

// An onWrite runs a function when something is written to it.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// An interrupted gate keeps its journal, also if it had all results: its exit status
// says that it is to be repeated.
func TestInterruptedAtTheEnd(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		ctx, interrupt := context.WithCancel(t.Context())
		h.p.Stdout = onWrite(interrupt)
		suite := parse(t, "cases: [{name: a, message: hello}]")
		h.expect(h.gate(ctx, suite, "--journal", folder), cli.ExitInterrupted, "the same command line resumes")
		h.p.Stdout = nil
		h.expect(h.gate(t.Context(), suite, "--journal", folder), cli.ExitDone, "1 of 1 cases passed")
		h.executed("agents.trigger", 1)
	})
}

// What would be paid for in vain is refused before anything is sent.
func TestRefusedBefore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := parse(t, "cases: [{name: a, message: hello}]")
		h.expect(h.gate(t.Context(), suite, "./cases.yaml"), cli.ExitUsage, "no such file")
		h.p.Files["./cases.yaml"] = suite
		h.expect(h.gate(t.Context(), suite, "./cases.yaml"), cli.ExitUsage, "is named twice")
		for _, flag := range []string{"--junit", "--summary", "--outputs"} {
			h.expect(h.gate(t.Context(), suite, flag, filepath.Join(folder, "none", "file")), cli.ExitUsage, "no such file")
			h.expect(h.gate(t.Context(), suite, flag, folder), cli.ExitUsage, "is a directory")
		}
		h.expect(h.gate(t.Context(), "agent: a/b\n"+twoJudged), cli.ExitUsage, "agent name contains a slash")
		h.executed("agents.trigger", 0)
	})
}

// A gate that dies leaves no JUnit file of an earlier one, which had passed.
func TestJUnitOfADeadGate(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		file := filepath.Join(t.TempDir(), "junit.xml")
		suite := parse(t, "cases: [{name: a, message: hello}]")
		h.expect(h.gate(t.Context(), suite, "--junit", file), cli.ExitDone)
		var during []byte
		h.fake.Agent("support", func(context.Context, connictest.Input) (_ any, err error) {
			during, err = os.ReadFile(file)
			return "hello", err
		})
		h.expect(h.gate(t.Context(), suite, "--junit", file), cli.ExitDone)
		if !strings.Contains(string(during), `tests="1" errors="1"`) || !strings.Contains(string(during), "the gate has not ended") {
			t.Errorf("it is %s", during)
		}
		if raw, err := os.ReadFile(file); err != nil || strings.Contains(string(raw), "<error") {
			t.Errorf("%v: %s", err, raw)
		}
	})
}

// A gate that cannot begin has its reports too, in which nothing has passed.
func TestReportsOfNoGate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		want int
		args []string
	}{
		{"judge", cli.ExitNotFound, nil},
		{"environment", cli.ExitNotFound, []string{"--env", "nowhere"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			inBubble(t, func(t *testing.T, h *fixture) {
				junit, outputs := filepath.Join(folder, "junit.xml"), filepath.Join(folder, "outputs")
				args := append([]string{"--journal", folder, "--junit", junit, "--outputs", outputs}, c.args...)
				h.expect(h.gate(t.Context(), parse(t, "judge: {name: none, min: 0.8}\n"+twoJudged), args...), c.want, "2 not started", "ended early")
				if raw, err := os.ReadFile(outputs); err != nil || string(raw) != "passed=0\nfailed=2\ncost=0\njunit="+junit+"\n" {
					t.Errorf("%v: %s", err, raw)
				}
				if _, err := os.Stat(junit); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A gate that finds its journal in use is for later.
func TestJournalInUse(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := parse(t, "cases: [{name: a, message: hello}]")
		file := h.journal(suite, folder)
		j, err := openJournal(file)
		if err != nil {
			t.Fatal(err)
		}
		h.expect(h.gate(t.Context(), suite, "--journal", folder), cli.ExitLater, "in use")
		if err := j.finish(false); err != nil {
			t.Fatal(err)
		}
		h.expect(h.gate(t.Context(), suite, "--journal", folder), cli.ExitDone)
		h.executed("agents.trigger", 1)
	})
}

// A key that is refused for the last triggers does not make the first ones be paid
// for again.
func TestRefusedForSome(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 402, 403} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			inBubble(t, func(t *testing.T, h *fixture) {
				h.fake.Fault(connictest.Fault{Op: "agents.trigger", Nth: 3, Status: status, Times: -1})
				suite := cases(t, 4, "")
				h.gate(t.Context(), suite, "--journal", folder)
				h.expect(h.Status, h.Status, "2 of 4 cases passed", "the same command line resumes")
				h.fake.ClearFaults()
				h.expect(h.gate(t.Context(), suite, "--journal", folder), cli.ExitDone, "4 of 4 cases passed")
				h.executed("agents.trigger", 4)
			})
		})
	}
}
