package assistant

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent(agent, func(_ context.Context, in connictest.Input) (any, error) {
			if in.Message == "Why?" {
				return nil, errors.New("no idea")
			}
			time.Sleep(50 * time.Second)
			return "30 days", nil
		})
		a := New(srv.Client())
		if answer, err := a.Answer(t.Context(), "How long?"); err != nil || answer != "30 days" {
			t.Errorf("%q, %v", answer, err)
		}
		var failed *connic.RunError
		if _, err := a.Answer(t.Context(), "Why?"); !errors.As(err, &failed) || failed.Run.Error != "no idea" {
			t.Error(err)
		}
		srv.Fault(connictest.Fault{Op: "agents.trigger", Status: 429, RetryAfter: "70"})
		_, err := a.Answer(t.Context(), "How long?")
		if after, ok := connic.RetryAfter(err); !ok || after <= 0 || !errors.Is(err, connic.ErrRateLimited) {
			t.Errorf("%v, %v", err, after)
		}
	})
}
