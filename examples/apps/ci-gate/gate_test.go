package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/examples/apps/internal/progress"
)

// fixture is a fake with an agent, and the reports of a gate.
type fixture struct {
	t      *testing.T
	fake   *connictest.Server
	client *connic.Client
	said   strings.Builder
	table  strings.Builder
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, h *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &fixture{t: t, fake: connictest.New()}
		h.client = h.fake.Client(connic.WithTransport(tellFlight))
		h.fake.Agent("support", echo)
		test(t, h)
		_ = h.client.Close()
		h.fake.Close()
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

// check runs a gate and returns its exit code.
func (h *fixture) check(ctx context.Context, suite *Suite, conf options) int {
	h.t.Helper()
	if conf.timeout == 0 {
		conf.timeout = time.Hour
	}
	h.table.Reset()
	return check(ctx, newSetup(h.client, suite, progress.New(&h.said)), "cases", conf, &h.table)
}

func (h *fixture) expect(code, want int, texts ...string) {
	h.t.Helper()
	out := h.table.String()
	if code != want {
		h.t.Errorf("exit code %d, want %d", code, want)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			h.t.Errorf("the report lacks %q", text)
		}
	}
	if h.t.Failed() {
		h.t.Logf("said:\n%s\nreport:\n%s", h.said.String(), out)
	}
}

func (h *fixture) executed(op string, want int) {
	h.t.Helper()
	if got := h.fake.Executions(op); got != want {
		h.t.Errorf("%s was executed %d times, want %d", op, got, want)
	}
}

// parse makes a suite of YAML lines below agent.
func parse(t *testing.T, yaml string) *Suite {
	t.Helper()
	suite, err := parseSuite([]byte("agent: support\n"+yaml), false, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return suite
}

// cases makes a suite of n cases that pass.
func cases(t *testing.T, n int, head string) *Suite {
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
		code := h.check(t.Context(), cases(t, 150, ""), options{})
		h.expect(code, exitPassed, "150 of 150 cases passed; cost 1.50 EUR")
		h.executed("agents.trigger", 150)
		if !strings.Contains(h.said.String(), "but started run") {
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
		code := h.check(t.Context(), cases(t, 2, ""), options{})
		_ = other.Close()
		h.expect(code, exitIncomplete, "no run is certainly its own", "1 of 2 cases passed, 1 without a result")
		h.executed("agents.trigger", 3)
	})
}

// Cases with the same input can have each other's runs.
func TestLostTwins(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: 2})
		suite := parse(t, "cases:\n- {name: a, message: same}\n- {name: b, message: same}\n- {name: c, payload: {x: 1, y: [2.50]}}\n")
		code := h.check(t.Context(), suite, options{})
		h.expect(code, exitPassed, "3 of 3 cases passed")
		h.executed("agents.trigger", 3)
	})
}

func TestLostPayload(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: -1})
		code := h.check(t.Context(), parse(t, "cases:\n- {name: c, payload: {y: [2.50], x: '1'}}\n"), options{})
		h.expect(code, exitPassed, "1 of 1 cases passed")
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
		code := h.check(t.Context(), suite, options{})
		h.expect(code, exitPassed, "2 of 2 cases passed")
		h.executed("agents.trigger", 3)
	})
}

func TestCostWithEstimate(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		code := h.check(t.Context(), cases(t, 20, "max_cost: 0.05 EUR\ncase_cost: 0.02 EUR"), options{})
		h.expect(code, exitIncomplete, "the bound on the cost is reached", "cost 0.04 EUR", "16 not started")
		h.executed("agents.trigger", 4)
	})
}

// A lost trigger counts as a run, and keeps nobody waiting.
func TestCostOfALostRun(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", Drop: true, Times: 2})
		code := h.check(t.Context(), cases(t, 20, "max_cost: 0.05 EUR\ncase_cost: 0.02 EUR"), options{timeout: 10 * time.Minute})
		h.expect(code, exitIncomplete, "the bound on the cost is reached", "2 without a result")
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
				code := h.check(t.Context(), cases(t, 20, head), options{state: filepath.Join(t.TempDir(), "state")})
				h.expect(code, exitIncomplete, "the bound on the cost is reached", "the run was cancelled")
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
		code := h.check(t.Context(), parse(t, judgedCases), options{})
		h.expect(code, exitIncomplete, "1 of 4 cases passed, 2 failed, 1 without a result",
			"the judge scored 7 of 10, less than 80%; truth: half true", "does not contain \"something else\"", "out of tokens", "8/10")
		h.executed("judges.evaluate", 3) // not for what failed already
	})
}

func TestJudgeIsAskedOnce(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	inBubble(t, func(t *testing.T, h *fixture) {
		h.judge("quality")
		suite := parse(t, "judge: {name: quality, min: 0.8}\ncases: [{name: good, message: good}, {name: also, message: also good}]")
		h.fake.Fault(connictest.Fault{Op: "judges.evaluate", After: true, Drop: true})
		ctx := interruptedAfter(t, 12*time.Second)
		h.expect(h.check(ctx, suite, options{state: state}), exitInterrupted, "the judge has not finished yet")
		h.expect(h.check(t.Context(), suite, options{state: state}), exitPassed, "2 of 2 cases passed")
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
		code := h.check(t.Context(), parse(t, "judge: {name: quality, min: 0.8}\ncases: [{name: good, message: good}]"), options{})
		h.expect(code, exitIncomplete, "there is no evaluation of the run")
	})
}

// What cannot be judged is not asked.
func TestUnknownJudge(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		code := h.check(t.Context(), parse(t, judgedCases), options{})
		h.expect(code, exitUsage)
		h.executed("agents.trigger", 0)
		if !strings.Contains(h.said.String(), `has no judge "quality"`) {
			t.Errorf("it says %q", h.said.String())
		}
	})
}

// A key that is revoked under way ends the gate soon, with what is known.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		key := h.fake.Key()
		h.client = h.fake.ClientWithKey(key, connic.WithTransport(tellFlight))
		go func() {
			<-time.After(6 * time.Second)
			h.fake.RevokeKey(key)
		}()
		begin := time.Now()
		code := h.check(t.Context(), cases(t, 200, ""), options{})
		h.expect(code, exitIncomplete, "401 Unauthorized")
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
		code := h.check(t.Context(), cases(t, 3, ""), options{timeout: time.Minute})
		h.expect(code, exitIncomplete, "-timeout is over", "the run was cancelled")
	})
}

// What the quota leaves no time for is not started.
func TestTimeoutInLine(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		code := h.check(t.Context(), cases(t, 150, ""), options{timeout: 90 * time.Second})
		h.expect(code, exitIncomplete, " not started; cost")
		if got := h.fake.Executions("agents.trigger"); got > 120 || strings.Contains(h.table.String(), "without a result") {
			t.Errorf("%d runs were started, in a report of\n%s", got, h.table.String())
		}
	})
}

func TestUnknownAgent(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := cases(t, 3, "")
		suite.Agent = "nobody"
		h.expect(h.check(t.Context(), suite, options{}), exitIncomplete, "404 Not Found", "3 without a result")
	})
}

func TestExample(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fixture{t: t, fake: connictest.New()}
		furnish(h.fake)
		h.client = h.fake.Client(connic.WithTransport(tellFlight))
		suite, err := parseSuite(example, false, ".")
		if err != nil {
			t.Fatal(err)
		}
		h.expect(h.check(t.Context(), suite, options{}), exitPassed, "5 of 5 cases passed")
		_ = h.client.Close()
		h.fake.Close()
	})
}
