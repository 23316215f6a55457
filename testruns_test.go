package connic_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestTestRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.PhaseTime(5 * time.Second)
		c := srv.Client()
		run := must[*connic.TestRun](t)(c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: project}))
		var seen []string
		run = must[*connic.TestRun](t)(c.TestRuns.Wait(t.Context(), run.ID, phases(&seen), eachSecond))
		if got := strings.Join(seen, ", "); got != "running/validating, running/building, running/starting_container, running/running_tests, passed/done" {
			t.Errorf("the wait saw %s", got)
		}
		if run.Status != connic.TestRunPassed || run.TotalCases != 1 || len(run.Cases) != 1 || run.Cases[0].TestName != "greets" || run.Cases[0].PassRate() != 100 || run.Cases[0].SuccessThreshold != 100 {
			t.Errorf("it ended as %+v", run)
		}

		var tested connictest.UploadedProject
		srv.Tests(func(p connictest.UploadedProject) []connic.TestCase {
			tested = p
			return []connic.TestCase{
				{AgentName: "support", TestName: "greets", Passed: true, Runs: 3, Successes: 3},
				{
					AgentName: "support", TestName: "refunds", Runs: 4, Successes: 1, SuccessThreshold: 75, FailureReason: "no order number",
					AgentRunIDs: []string{"r1", "r2"}, AgentRunPassed: []bool{true, false},
				},
			}
		})
		run = must[*connic.TestRun](t)(c.TestRuns.Create(t.Context(), connic.TestRunCreate{
			Archive: archiveOf(tarball(map[string]string{"tests/refunds.yaml": "x"})), EnvironmentID: "env-test", Filter: "refunds",
		}))
		if tested.EnvironmentID != "env-test" || tested.Filter != "refunds" || tested.Files["tests/refunds.yaml"] != "x" || tested.ID != run.ID {
			t.Errorf("the service got %+v", tested)
		}
		run, err := c.TestRuns.Wait(t.Context(), run.ID)
		var failed *connic.TestRunError
		if !errors.As(err, &failed) || failed.TestRun != run || len(run.Failed()) != 1 {
			t.Fatal(err)
		}
		if want := "ended: failed: 1 of 2 cases failed; support/refunds (1 of 4) no order number"; !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v does not end with %q", err, want)
		}
		if refunds := run.Failed()[0]; refunds.PassRate() != 25 || refunds.SuccessThreshold != 75 || len(refunds.AgentRunIDs) != 2 || !refunds.AgentRunPassed[0] {
			t.Errorf("the case is %+v", refunds)
		}
		if _, err := c.TestRuns.Get(t.Context(), "nowhere"); !errors.Is(err, connic.ErrNotFound) {
			t.Error(err)
		}
	})
}

// TestTestRunsEndByTheirStatusAlone tests what a wait continues through: a run
// that has not reported its result may still pass, whatever its phase.
func TestTestRunsEndByTheirStatusAlone(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"id": "t", "status": "passed"}`:                                            "",
		`{"id": "t", "status": "passed", "phase": "running_tests"}`:                  "",
		`{"id": "t", "status": "error", "error": "no Python"}`:                       "connic: test run t ended: error: no Python",
		`{"id": "t", "status": "cancelled", "phase": "running_tests"}`:               "connic: test run t ended: cancelled",
		`{"test_run": {"test_run_id": "t", "status": "failed", "total_cases": "7"}}`: "connic: test run t ended: failed",
	} {
		synctest.Test(t, func(t *testing.T) {
			before := []string{
				`{"id": "t", "status": "NEW", "phase": "building"}`, `{"id": "t"}`, `{"id": "t", "status": "running", "phase": "done"}`,
				`{"id": "t", "status": "running", "phase": "error"}`, `{"id": "t", "phase": "done"}`, `{"id": "t", "status": "SEALED", "phase": "sealing"}`,
			}
			asked := 0
			c := scripted(t, func() string {
				if asked++; asked <= len(before) {
					return before[asked-1]
				}
				return answer
			})
			var seen []string
			_, err := c.TestRuns.Wait(t.Context(), "t", phases(&seen))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != want || asked != len(before)+1 {
				t.Errorf("%s: %q after %d polls, want %q", answer, got, asked, want)
			}
			if !slices.Contains(seen, "SEALED/sealing") || !slices.Contains(seen, "running/done") {
				t.Errorf("the wait shows %q", seen)
			}
		})
	}
}

// TestATestRunThatNeverEnds is bounded by its context.
func TestATestRunThatNeverEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := scripted(t, func() string { return `{"id": "t", "status": "SEALED", "phase": "done"}` })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		run, err := c.TestRuns.Wait(ctx, "t")
		var wait *connic.WaitError
		if !errors.As(err, &wait) || wait.LastStatus != "SEALED" || run.Status != "SEALED" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v", run, err)
		}
	})
}

func TestPassRateComparesWithTheThreshold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		successes, runs, threshold, rate int
		enough                           bool
	}{{3, 3, 100, 100, true}, {2, 3, 66, 66, true}, {2, 3, 67, 66, false}, {0, 3, 1, 0, false}, {0, 0, 100, 0, false}, {1, 4, 25, 25, true}, {math.MaxInt32, math.MaxInt32, 100, 100, true}} {
		c := connic.TestCase{Successes: test.successes, Runs: test.runs, SuccessThreshold: test.threshold}
		if c.PassRate() != test.rate || c.PassRate() >= c.SuccessThreshold != test.enough {
			t.Errorf("%+v: %d", test, c.PassRate())
		}
	}
}
