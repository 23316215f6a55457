package connictest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
)

// TestARunThatIsCancelledBeforeItBegins stays cancelled, however late it begins.
func TestARunThatIsCancelledBeforeItBegins(t *testing.T) {
	t.Parallel()
	s := New()
	s.Agent("late", func(ctx context.Context, _ Input) (any, error) { return nil, ctx.Err() })
	s.mu.Lock() // the run cannot begin before the mutex is free
	r := s.start(s.findAgent("late"), []byte(`{"message": "hi"}`), "")
	r.status = connic.RunCancelled
	s.mu.Unlock()
	s.work.Wait()
	if r.status != connic.RunCancelled || r.ended.IsZero() {
		t.Errorf("the run is %s, ended %v", r.status, r.ended)
	}
	s.Close()
}

// An agent that is replaced works on what it has begun.
func TestReplaceAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := New()
		client := srv.Client()
		const n = 20
		ids := make([]string, n)
		for i := range n {
			want := fmt.Sprint("agent ", i)
			srv.Agent("support", func(context.Context, Input) (any, error) { return want, nil })
			started, err := client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Message: want})
			if err != nil {
				t.Fatal(err)
			}
			ids[i] = started.RunID
		}
		srv.Agent("support", func(context.Context, Input) (any, error) { return "too late", nil })
		for run, err := range client.Runs.WaitAll(t.Context(), ids) {
			if err != nil || run.Output != run.Input {
				t.Errorf("got %+v, %v", run, err)
			}
		}
		_ = client.Close()
		srv.Close()
	})
}
