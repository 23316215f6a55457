package connictest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// In a synctest bubble neither a run of an hour nor a wait for the quota takes
// any real time.
func TestVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t) // inside, so that its clock is the bubble's
		srv.Agent("research", func(context.Context, connictest.Input) (any, error) {
			time.Sleep(time.Hour)
			return "found", nil
		})
		client := srv.Client()
		start := time.Now()
		run, err := client.Agents.TriggerAndWait(t.Context(), "research", connic.TriggerRequest{Message: "look"})
		if err != nil || run.Output != "found" {
			t.Fatalf("%v, %+v", err, run)
		}
		if took := time.Since(start); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("it took %v", took)
		}

		srv.Spend(60)
		start = time.Now()
		if _, err := client.Project.Get(t.Context()); err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited < time.Second || waited > 2*time.Minute {
			t.Errorf("it waited %v for the quota", waited)
		}
	})
}
