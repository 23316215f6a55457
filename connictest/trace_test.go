package connictest_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// parents returns the name of each span's parent, by the span's name.
func parents(t *testing.T, run *connic.Run) map[string]string {
	t.Helper()
	names := map[string]string{"": ""}
	for _, s := range run.Traces {
		names[s.ID] = s.Name
	}
	got := make(map[string]string)
	for _, s := range run.Traces {
		got[s.Name] = names[s.ParentID]
	}
	return got
}

// traced runs an agent called a.
func traced(t *testing.T, srv *connictest.Server, do connictest.AgentFunc) *connic.Run {
	t.Helper()
	srv.Agent("a", do)
	run, err := srv.Client().Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestParallelStepsDoNotNest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		step := func(in connictest.Input, name string, d time.Duration, inner ...string) {
			_ = in.Step(name, "tool", func() error {
				time.Sleep(d)
				for _, name := range inner {
					_ = in.Step(name, "tool", func() error { in.Log("line of " + name); return nil })
				}
				return nil
			})
		}
		run := traced(t, connictest.New(t), func(_ context.Context, in connictest.Input) (any, error) {
			return nil, in.Step("outer", "tool", func() error {
				var group sync.WaitGroup
				group.Go(func() { step(in, "short", time.Second) })
				group.Go(func() {
					time.Sleep(time.Millisecond) // within short
					step(in, "long", 2*time.Second, "inner")
					step(in, "next", time.Second)
				})
				group.Wait()
				step(in, "after", 0)
				return nil
			})
		})
		want := map[string]string{
			"a": "", "outer": "a", "short": "a", "long": "a", "inner": "long", "line of inner": "inner", "next": "a", "after": "outer",
		}
		got := parents(t, run)
		if len(run.Traces) != len(want) {
			t.Errorf("there are %d spans, want %d", len(run.Traces), len(want))
		}
		for name, parent := range want {
			if got[name] != parent {
				t.Errorf("%s is within %q, want %q", name, got[name], parent)
			}
		}
	})
}

// TestStepsOfAnEndedRun leaves a goroutine behind that goes on after its run.
func TestStepsOfAnEndedRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		run := traced(t, srv, func(_ context.Context, in connictest.Input) (any, error) {
			go func() {
				_ = in.Step("open", "tool", func() error { time.Sleep(time.Hour); return nil })
				ran := false
				if err := in.Step("late", "tool", func() error { ran = true; return nil }); err != nil || !ran {
					t.Errorf("a late step: %v, ran %v", err, ran)
				}
				in.Log("late")
				in.Tokens(connic.TokenUsage{Input: 1})
				in.Cost("1", connic.EUR)
			}()
			time.Sleep(time.Second)
			return nil, nil
		})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		c := srv.Client()
		now, err := c.Runs.Get(t.Context(), run.ID)
		if err != nil || len(now.Traces) != 2 || now.TokenUsage.Total != 0 || now.Currency != "" {
			t.Fatalf("the run changed after its end: %+v, %v", now, err)
		}
		if open := now.Traces[1]; open.Name != "open" || open.Status != "error" || open.DurationMS != 1000 {
			t.Errorf("the step that was open at the end is %+v", open)
		}
		if usage, err := c.Budgets.Usage(t.Context(), nil); err != nil || usage.Cost().String() != "0" {
			t.Errorf("the usage is %v, %v", usage.Cost(), err)
		}
	})
}

func TestStepsOfADeletedRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		run := traced(t, srv, func(_ context.Context, in connictest.Input) (any, error) {
			go func() {
				time.Sleep(time.Hour)
				_ = in.Step("late", "tool", func() error { in.Log("late"); return nil })
			}()
			return nil, nil
		})
		if err := srv.Client().Runs.Delete(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		answers(t, srv.Client())
	})
}
