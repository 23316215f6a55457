package connictest

import (
	"context"
	"testing"

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
