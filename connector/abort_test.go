package connector_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// TestCancelOnAbortOfAnInputInFlight: runs whose caller goes while the service
// responds to their input are canceled too, all of them. An input that was not sent
// by then never is.
func TestCancelOnAbortOfAnInputInFlight(t *testing.T) {
	t.Parallel()
	cancels := []connic.WaitOption{connic.CancelOnAbort(), connic.WithPoll(time.Second, time.Second)}
	for name, test := range map[string]struct {
		fault connictest.Fault
		opts  []connic.WaitOption
		took  time.Duration // 0 for any up to 12 s
		runs  int           // that were started
		left  int           // that continue
		known bool
	}{
		"answered":     {connictest.Fault{After: true, Latency: 5 * time.Second}, cancels, 5 * time.Second, 2, 0, true},
		"not answered": {connictest.Fault{After: true, Latency: time.Hour}, cancels, 12 * time.Second, 2, 2, false},
		"not asked":    {connictest.Fault{After: true, Latency: 5 * time.Second}, nil, 2 * time.Second, 2, 2, false},
		"refused":      {connictest.Fault{Status: 429, RetryAfter: "5", Times: 1}, cancels, 0, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				for _, name := range []string{"a", "b"} {
					srv.Agent(name, func(ctx context.Context, _ connictest.Input) (any, error) { return nil, sleepFor(ctx, 2*time.Hour) })
				}
				hook, client := srv.Connector("a", "b").Inbound().Client(), srv.Client()
				test.fault.Op = "connectors.inbound"
				srv.Fault(test.fault)
				gone := errors.New("gone home")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(2*time.Second, func() { cancel(gone) })
				start := time.Now()
				runs, err := hook.SendAndWait(ctx, client, connector.Input{Message: "m"}, test.opts...)
				if took := time.Since(start); test.took > 0 && took != test.took || took > 12*time.Second || !errors.Is(err, gone) || len(runs) != 0 || errors.Is(err, connic.ErrOutcomeUnknown) == test.known {
					t.Errorf("%v, %v after %v", runs, err, took)
				}
				if test.runs > 0 && test.left == 0 && !strings.Contains(err.Error(), "2 of 2 runs were canceled") {
					t.Error(err)
				}
				time.Sleep(time.Minute)
				left, all := 0, 0
				for run, err := range client.Runs.All(t.Context(), nil) {
					if err != nil {
						t.Fatal(err)
					}
					if all++; !run.Status.Finished() {
						left++
					}
				}
				if all != test.runs || left != test.left {
					t.Errorf("of %d runs %d continue", all, left)
				}
			})
		})
	}
}

// TestSendAndWaitWithAClientThatCannotWait sends nothing.
func TestSendAndWaitWithAClientThatCannotWait(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	srv.Agent("a", func(context.Context, connictest.Input) (any, error) { return "x", nil })
	hook := srv.Connector("a").Inbound().Client()
	for i, client := range []*connic.Client{nil, new(connic.Client)} {
		if runs, err := hook.SendAndWait(t.Context(), client, connector.Input{Message: "m"}); err == nil || runs != nil {
			t.Errorf("%d: %v, %v", i, runs, err)
		}
	}
	// A run is started once, whatever is made of the context of its wait.
	derived := 0
	hook = srv.Connector("a").Inbound().Client(connector.WithTelemetry(connic.WithCallContext(func(ctx context.Context, _ connic.Operation) context.Context {
		if derived++; derived == 1 {
			for range srv.Client().Runs.WaitAll(ctx, nil) {
				t.Error("a run")
			}
		}
		return ctx
	})))
	if runs, err := hook.SendAndWait(t.Context(), srv.Client(), connector.Input{Message: "m"}); err != nil || len(runs) != 1 || runs[0].Output != "x" {
		t.Errorf("%v, %v", runs, err)
	}
	if n := srv.Executions("connectors.inbound"); n != 1 {
		t.Errorf("%d inputs were sent", n)
	}
}
