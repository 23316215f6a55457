package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
)

// fixture is a fake with an agent, and the last result of the command.
type fixture struct {
	t      *testing.T
	fake   *connictest.Server
	client *connic.Client
	p      *clitest.Program
	clitest.Result
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, h *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New(t)
		h := &fixture{t: t, fake: fake, client: fake.Client(), p: clitest.New(t, fake, Command)}
		h.fake.Agent("support", echo)
		test(t, h)
		_ = h.client.Close()
	})
}

func echo(ctx context.Context, in connictest.Input) (any, error) {
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	in.Cost("0.01", connic.EUR)
	return "You said: " + in.Message, nil
}

// gate runs the command with a file of cases and returns its exit status.
func (h *fixture) gate(ctx context.Context, suite string, args ...string) int {
	h.t.Helper()
	h.p.Files["cases.yaml"] = suite
	h.Result = h.p.RunContext(ctx, append([]string{"gate", "cases.yaml"}, args...)...)
	return h.Status
}

func (h *fixture) expect(status, want int, texts ...string) {
	h.t.Helper()
	if status != want {
		h.t.Errorf("exit status %d, want %d", status, want)
	}
	for _, text := range texts {
		if !strings.Contains(h.Out+h.Err, text) {
			h.t.Errorf("the report lacks %q", text)
		}
	}
	if h.t.Failed() {
		h.t.Logf("%s\n%s", h.Err, h.Out)
	}
}

func (h *fixture) executed(op string, want int) {
	h.t.Helper()
	if got := h.fake.Executions(op); got != want {
		h.t.Errorf("%s was executed %d times, want %d", op, got, want)
	}
}

// parse makes a suite of YAML lines below agent.
func parse(_ *testing.T, yaml string) string { return "agent: support\n" + yaml }

// cases makes a suite of n cases that pass.
func cases(t *testing.T, n int, head string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(head + "\ncases:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: case %d, message: message %d, expect: {equals: 'You said: message %d'}}\n", i, i, i)
	}
	return parse(t, b.String())
}

// interruptedAfter is a context that ends as with Ctrl-C: without a deadline that
// anybody could foresee.
func interruptedAfter(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(d, interrupt)
	return ctx
}

// Refusals, outages and lost answers cost time, and nothing else: each case is
// asked once, and each has its verdict.
func TestHardTimes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Spend(40)
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", Nth: 4, After: true, Drop: true})
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", Nth: 9, After: true, Truncate: 5})
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", Nth: 20, Times: 3, Status: 429, RetryAfter: "7"})
		h.fake.Fault(connictest.Fault{Op: "runs.list", Nth: 2, Times: 5, Status: 503})
		h.fake.Fault(connictest.Fault{Op: "runs.list", Nth: 9, Times: 2, Drop: true})
		code := h.gate(t.Context(), cases(t, 150, ""))
		h.expect(code, cli.ExitDone, "150 of 150 cases passed; cost 1.50 EUR")
		h.executed("agents.trigger", 150)
		if !strings.Contains(h.Err, "but started run") {
			t.Error("no lost run was found")
		}
	})
}

// A run that may be somebody else's is nobody's.
func TestAmbiguousRun(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		other := h.fake.Client()
		h.fake.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
			if in.Message == "message 0" {
				return "from whom?", nil
			}
			return echo(ctx, in)
		})
		if _, err := other.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Message: "message 0"}); err != nil {
			t.Fatal(err)
		}
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: -1})
		code := h.gate(t.Context(), cases(t, 2, ""))
		_ = other.Close()
		h.expect(code, cli.ExitUnknown, "no run is certainly its own", "1 of 2 cases passed, 1 without a result")
		h.executed("agents.trigger", 3)
	})
}

// Cases with the same input can have each other's runs.
func TestLostTwins(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: 2})
		suite := parse(t, "cases:\n- {name: a, message: same}\n- {name: b, message: same}\n- {name: c, payload: {x: 1, y: [2.50]}}\n")
		code := h.gate(t.Context(), suite)
		h.expect(code, cli.ExitDone, "3 of 3 cases passed")
		h.executed("agents.trigger", 3)
	})
}

func TestLostPayload(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: -1})
		code := h.gate(t.Context(), parse(t, "cases:\n- {name: c, payload: {y: [2.50], x: '1'}}\n"))
		h.expect(code, cli.ExitDone, "1 of 1 cases passed")
		h.executed("agents.trigger", 1)
	})
}

// A marker distinguishes a run from another one with the same input.
func TestLostMarked(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		other := h.fake.Client()
		if _, err := other.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Payload: map[string]int{"x": 1}}); err != nil {
			t.Fatal(err)
		}
		_ = other.Close()
		h.fake.Agent("support", func(context.Context, connictest.Input) (any, error) { return "ours", nil })
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: 2})
		suite := parse(t, "marker: ref\ncases: [{name: a, payload: {x: 1}, expect: {equals: ours}}, {name: b, payload: {x: 1}, expect: {equals: ours}}]\n")
		code := h.gate(t.Context(), suite)
		h.expect(code, cli.ExitDone, "2 of 2 cases passed")
		h.executed("agents.trigger", 3)
	})
}

func TestCostWithEstimate(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		code := h.gate(t.Context(), cases(t, 20, "max_cost: 0.05 EUR\ncase_cost: 0.02 EUR"))
		h.expect(code, cli.ExitFailed, "the bound on the cost is reached", "cost 0.04 EUR", "16 not started")
		h.executed("agents.trigger", 4)
	})
}

// A lost trigger counts as a run, and keeps nobody waiting.
func TestCostOfALostRun(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", Drop: true, Times: 2})
		code := h.gate(t.Context(), cases(t, 20, "max_cost: 0.05 EUR\ncase_cost: 0.02 EUR"), "--timeout", "10m")
		h.expect(code, cli.ExitUnknown, "the bound on the cost is reached", "2 without a result")
		if n := h.fake.Executions("agents.trigger"); n > 1 {
			t.Errorf("%d runs beside two that may have been started are more than the bound", n)
		}
	})
}

func TestCostCrossed(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"too much": "max_cost: 0.03 EUR", "another currency": "max_cost: 9 USD"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, h *fixture) {
				h.fake.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
					if in.Message > "message 4" {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return echo(ctx, in)
				})
				code := h.gate(t.Context(), cases(t, 20, head), "--journal", t.TempDir())
				h.expect(code, cli.ExitFailed, "the bound on the cost is reached", "the run was cancelled")
				if h.fake.Executions("runs.cancel") == 0 {
					t.Error("no run was cancelled")
				}
			})
		})
	}
}

const judgedCases = `
judge: {name: quality, min: 0.8}
cases:
- {name: good, message: good}
- {name: middling, message: middling}
- {name: bad, message: bad, expect: {contains: something else}}
- {name: broken, message: broken}
`

func (h *fixture) judge(name string) {
	h.t.Helper()
	h.fake.Judge(name, func(ctx context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
		select {
		case <-time.After(10 * time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch {
		case strings.Contains(in.Run.Input, "good"):
			return map[string]connictest.Score{"truth": {Points: 8}}, nil
		case strings.Contains(in.Run.Input, "middling"):
			return map[string]connictest.Score{"truth": {Points: 7, Reasoning: "half true"}}, nil
		}
		return nil, errors.New("out of tokens")
	})
	_, err := h.client.Judges.Create(h.t.Context(), connic.JudgeCreate{
		Name: name, AgentName: "support", Model: "fake/model", TriggerMode: connic.JudgeManual, Criteria: []connic.Criterion{{Name: "truth", MaxScore: 10}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestJudged(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.judge("quality")
		h.judge("other")
		h.fake.Fault(connictest.Fault{Op: "judges.evaluate", Nth: 2, After: true, Drop: true})
		h.fake.Fault(connictest.Fault{Op: "judges.evaluations", Times: 3, Status: 502})
		code := h.gate(t.Context(), parse(t, judgedCases))
		h.expect(code, cli.ExitFailed, "1 of 4 cases passed, 2 failed, 1 without a result",
			"the judge scored 7 of 10, less than 80%; truth: half true", "does not contain \"something else\"", "out of tokens", "8/10")
		h.executed("judges.evaluate", 3) // not for what failed already
	})
}

func TestJudgeIsAskedOnce(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.judge("quality")
		suite := parse(t, "judge: {name: quality, min: 0.8}\ncases: [{name: good, message: good}, {name: also, message: also good}]")
		h.fake.Fault(connictest.Fault{Op: "judges.evaluate", After: true, Drop: true})
		ctx := interruptedAfter(t, 12*time.Second)
		h.expect(h.gate(ctx, suite, "--journal", state), cli.ExitInterrupted, "the judge has not finished yet")
		h.expect(h.gate(t.Context(), suite, "--journal", state), cli.ExitDone, "2 of 2 cases passed")
		h.executed("agents.trigger", 2)
		h.executed("judges.evaluate", 2)
	})
}

// An evaluation that was never made is missed, and not asked for again.
func TestJudgeIsNotReached(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.judge("quality")
		h.fake.Fault(connictest.Fault{Op: "judges.evaluate", Drop: true, Times: -1})
		code := h.gate(t.Context(), parse(t, "judge: {name: quality, min: 0.8}\ncases: [{name: good, message: good}]"))
		h.expect(code, cli.ExitUnknown, "there is no evaluation of the run")
	})
}

// What cannot be judged is not asked.
func TestUnknownJudge(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		code := h.gate(t.Context(), parse(t, judgedCases))
		h.expect(code, cli.ExitNotFound)
		h.executed("agents.trigger", 0)
		if !strings.Contains(h.Err, `has no judge "quality"`) {
			t.Errorf("it says %q", h.Err)
		}
	})
}

// A key that is revoked under way ends the gate soon, with what is known.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		key := h.fake.Key()
		h.p.Env["CONNIC_API_KEY"] = string(key)
		go func() {
			<-time.After(6 * time.Second)
			h.fake.RevokeKey(key)
		}()
		begin := time.Now()
		code := h.gate(t.Context(), cases(t, 200, ""))
		h.expect(code, cli.ExitRefused, "401 Unauthorized")
		if strings.Contains(h.Err, "connic: ") {
			t.Errorf("errors have the name of the package:\n%s", h.Err)
		}
		if took := time.Since(begin); took > 5*time.Minute {
			t.Errorf("it went on for %v", took)
		}
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Agent("support", func(ctx context.Context, _ connictest.Input) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		code := h.gate(t.Context(), cases(t, 3, ""), "--timeout", "1m")
		h.expect(code, cli.ExitLater, "--timeout is over", "the run was cancelled")
	})
}

// What the quota leaves no time for is not started.
func TestTimeoutInLine(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		code := h.gate(t.Context(), cases(t, 150, ""), "--timeout", "90s")
		h.expect(code, cli.ExitLater, " not started; cost")
		if got := h.fake.Executions("agents.trigger"); got > 120 || strings.Contains(h.Out, "without a result") {
			t.Errorf("%d runs were started, in a report of\n%s", got, h.Out)
		}
	})
}

func TestUnknownAgent(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := strings.Replace(cases(t, 3, ""), "support", "nobody", 1)
		h.expect(h.gate(t.Context(), suite), cli.ExitNotFound, "404 Not Found", "3 without a result")
	})
}

// support is the agent of testdata/support.yaml.
func support(_ context.Context, in connictest.Input) (any, error) {
	in.Cost("0.0016", connic.EUR)
	var order struct {
		Order int `json:"order"`
	}
	if err := in.DecodePayload(&order); err == nil && order.Order > 0 {
		if order.Order != 1207 {
			return nil, errors.New("there is no such order")
		}
		return map[string]any{"order": 1207, "total": 49.9, "items": []map[string]any{{"name": "cup"}, {"name": "kettle"}}}, nil
	}
	switch {
	case strings.Contains(in.Message, "return"):
		return "You can return goods within 30 days.", nil
	case strings.Contains(in.Message, "arrive"):
		return "We usually deliver within three working days, but I can't promise tomorrow.", nil
	}
	return "I am sorry that you had to ask again. I am looking for your parcel now.", nil
}

// Several files have one report, in each of its forms.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Agent("support", support)
		h.judge("politeness")
		h.fake.Judge("politeness", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
			return map[string]connictest.Score{"truth": {Points: 9}}, nil
		})
		h.p.Files["more.yaml"] = "agent: support\ncases: [{name: more, message: return, expect: {contains: 14 days}}]"
		h.p.Env["GITHUB_STEP_SUMMARY"] = filepath.Join(folder, "summary.md")
		h.Result = h.p.Run("gate", "testdata/support.yaml", "more.yaml", "-o", "jsonl", "--junit", filepath.Join(folder, "junit.xml"), "--outputs", filepath.Join(folder, "outputs"))
		h.expect(h.Status, cli.ExitFailed, "testdata/support.yaml: 5 of 5 cases passed; cost 0.0080 EUR", "more.yaml: 0 of 1 cases passed, 1 failed", `does not contain "14 days"`)
		var results []Result
		for line := range strings.Lines(h.Out) {
			var r Result
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			results = append(results, r)
		}
		if len(results) != 6 || results[0].Verdict != Passed || results[0].Run.Output == "" || results[5].Suite != "more.yaml" || results[5].Verdict != Failed {
			t.Errorf("%+v", results)
		}
		for file, want := range map[string]string{
			"summary.md": "### ❌ more.yaml", "junit.xml": `name="more.yaml" tests="1" failures="1"`,
			"outputs": "passed=5\nfailed=1\ncost=0.0096 EUR\njunit=" + filepath.Join(folder, "junit.xml") + "\n",
		} {
			if raw, err := os.ReadFile(filepath.Join(folder, file)); err != nil || !strings.Contains(string(raw), want) {
				t.Errorf("%v: no %q in %s", err, want, raw)
			}
		}
	})
}

// full is standard output on a disk that is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

// Runs that are paid for are named if the table cannot be written.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, h *fixture) {
		h.p.Stdout = full{}
		code := h.gate(h.t.Context(), "agent: support\ncases: [{name: a, message: hello}]")
		page, err := h.client.Runs.List(h.t.Context(), nil)
		if err != nil || len(page.Items) != 1 {
			h.t.Fatal(page, err)
		}
		h.expect(code, cli.ExitOther, "case a: run "+page.Items[0].ID, "the output cannot be written: no space")
	})
}
