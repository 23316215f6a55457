package connictest_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// endings are what a function of a test may do instead of returning, and a substring
// of the text that is found where its result would be.
var endings = map[string]func(){
	"panicked: boom":      func() { panic("boom") },
	"ended its goroutine": runtime.Goexit,
}

var small = fstest.MapFS{
	"agents/support.yaml": {Data: []byte("name: support\n")},
	"tests/support.yaml":  {Data: []byte("tests:\n  - name: greets\n    payload: hello\n")},
}

// answers checks that the server is not locked.
func answers(t *testing.T, c *connic.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Project.Get(ctx); err != nil {
		t.Errorf("the server does not answer any more: %v", err)
	}
}

func TestAgentsThatDoNotReturn(t *testing.T) {
	t.Parallel()
	for text, end := range endings {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.Agent("a", func(_ context.Context, in connictest.Input) (any, error) {
				return nil, in.Step("inner", "tool", func() error { end(); return nil })
			})
			c := srv.Client()
			run, err := c.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"})
			var failed *connic.RunError
			if !errors.As(err, &failed) || run.Status != connic.RunFailed || !strings.Contains(run.Error, text) {
				t.Fatalf("%v, %+v", err, run)
			}
			if len(run.Traces) != 2 || run.Traces[1].Status != "error" || run.Traces[0].Status != "error" {
				t.Errorf("the spans are %+v", run.Traces)
			}
			answers(t, c)
		})
	}
}

// hostile values call the server, or end the goroutine, where they are encoded.
type hostile struct{ do func() }

func (h hostile) MarshalJSON() ([]byte, error) { h.do(); return []byte(`1`), nil }

func (h hostile) Error() string { h.do(); return "hostile" }

func TestHostileResults(t *testing.T) {
	t.Parallel()
	for text, end := range endings {
		for _, asError := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				calls := 0
				do := func() {
					srv.Requests() // would lock the mutex twice
					if calls++; calls > 1 {
						end()
					}
				}
				srv.Agent("a", func(context.Context, connictest.Input) (any, error) {
					if asError {
						return nil, hostile{do}
					}
					return hostile{do}, nil
				})
				c := srv.Client()
				run, err := c.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"})
				if (err != nil) != asError || asError && run.Error != "hostile" || !asError && run.Output != "1" {
					t.Errorf("%v, %+v", err, run)
				}
				if run, _ = c.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"}); !strings.Contains(run.Error, text) {
					t.Errorf("the run ended with %q, want %q", run.Error, text)
				}
				answers(t, c)
			})
		}
	}
}

func TestCallbacksThatDoNotReturn(t *testing.T) {
	t.Parallel()
	for text, end := range endings {
		synctest.Test(t, func(t *testing.T) {
			l := new(listener)
			srv := connictest.New(l)
			srv.IngestionTime(0)
			srv.FailIngestion(func(connictest.IngestedEntry) error { end(); return nil })
			srv.FailDeployment(func(connictest.UploadedProject) error { end(); return nil })
			c := srv.Client(connic.WithEnvironment("env-production"))
			ctx := t.Context()

			in, err := c.Knowledge.UploadText(ctx, connic.TextUpload{Content: "x"})
			if err != nil || in.Status != connic.JobFailed {
				t.Errorf("%+v, %v", in, err)
			}
			if job, err := c.Knowledge.GetJob(ctx, in.JobID, nil); err != nil || !strings.Contains(job.Error, text) {
				t.Errorf("%+v, %v", job, err)
			}
			d, err := c.Deployments.UploadFS(ctx, small, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d, err = c.Deployments.Wait(ctx, d.ID); err == nil || !strings.Contains(d.Error, text) {
				t.Errorf("%+v, %v", d, err)
			}
			srv.Tests(func(connictest.UploadedProject) []connic.TestCase { end(); return nil })
			run, err := c.TestRuns.Create(ctx, connic.TestRunCreate{Project: small})
			if err != nil {
				t.Fatal(err)
			}
			if run, err = c.TestRuns.Wait(ctx, run.ID); err == nil || run.Status != connic.TestRunErrored || !strings.Contains(run.Error, text) {
				t.Errorf("%+v, %v", run, err)
			}
			answers(t, c)
			told := strings.Join(l.end(), "\n")
			for _, what := range []string{"FailIngestion", "FailDeployment", "of Tests"} {
				if !strings.Contains(told, what+" "+text) {
					t.Errorf("the test is told %s, and not of %s", told, what)
				}
			}
		})
	}
}

func TestCallbacksThatCallTheServerOrBlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		c := srv.Client(connic.WithEnvironment("env-production"))
		srv.IngestionTime(0)
		srv.FailIngestion(func(connictest.IngestedEntry) error {
			answers(t, c)
			srv.FailIngestion(nil)
			return nil
		})
		if in, err := c.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "x"}); err != nil || in.Status != connic.JobCompleted {
			t.Errorf("%+v, %v", in, err)
		}

		block := make(chan struct{})
		srv.FailDeployment(func(connictest.UploadedProject) error { <-block; return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Deployments.UploadFS(ctx, small, nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		answers(t, c)
		if n := srv.Executions("deployments.upload"); n != 0 {
			t.Errorf("%d uploads were executed while the function blocks", n)
		}
		close(block)
	})
}

func TestJudgesThatDoNotReturn(t *testing.T) {
	t.Parallel()
	for text, end := range endings {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.Agent("a", echo)
			srv.Judge("", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
				end()
				return nil, nil
			})
			c := srv.Client()
			run, err := c.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"})
			if err != nil {
				t.Fatal(err)
			}
			judge, err := c.Judges.Create(t.Context(), connic.JudgeCreate{
				Name: "j", AgentName: "a", Model: "p/m", Criteria: []connic.Criterion{{Name: "good", MaxScore: 5}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Judges.Evaluate(t.Context(), judge.ID, run.ID); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := srv.State().Evaluations; len(got) != 1 || got[0].Status != connic.EvaluationFailed || !strings.Contains(got[0].Error, text) {
				t.Errorf("%+v", got)
			}
			answers(t, c)
		})
	}
}

// TestCloseGivesUp on an agent that does not mind its context, and says so.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		srv := connictest.New(l)
		block := make(chan struct{})
		srv.Agent("deaf", func(context.Context, connictest.Input) (any, error) { <-block; return nil, nil })
		if _, err := srv.Client().Agents.Trigger(t.Context(), "deaf", connic.TriggerRequest{Message: "x"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		told := l.end()
		if len(told) != 1 || !strings.Contains(told[0], `running agents: ["deaf"]`) {
			t.Errorf("the test is told %q", told)
		}
		close(block)
		synctest.Wait()
		if run := srv.State().Runs[0]; run.Status != connic.RunCancelled || run.EndedAt.IsZero() {
			t.Errorf("the run is %+v", run)
		}
	})
}

func TestApprovalOfACancelledRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("slow", func(ctx context.Context, in connictest.Input) (any, error) {
			<-ctx.Done()
			return nil, in.AwaitApproval(ctx)
		})
		c := srv.Client()
		r, err := c.Agents.Trigger(t.Context(), "slow", connic.TriggerRequest{Message: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Runs.Cancel(t.Context(), r.RunID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if run := srv.State().Runs[0]; run.Status != connic.RunCancelled {
			t.Errorf("the run is %s", run.Status)
		}
	})
}
