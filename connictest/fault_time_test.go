package connictest_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// TestAnswersThatComeTooLate: with After, a request is executed before the
// latency, whether or not its caller still waits.
func TestAnswersThatComeTooLate(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]connictest.Fault{
		"after": {After: true}, "truncated": {Truncate: 5}, "altered": {Set: map[string]any{"a": 1}}, "before": {},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.Agent("echo", echo)
			for _, op := range []string{"agents.trigger", "connectors.sync"} {
				fault.Op, fault.Latency = op, time.Hour
				srv.Fault(fault)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := srv.Client().Agents.Trigger(ctx, "echo", connic.TriggerRequest{Message: "x"})
			ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, hookErr := srv.Connector("echo").Client().Call(ctx, connector.Input{Message: "x"})
			want := 1
			if name == "before" {
				want = 0
			}
			for op, err := range map[string]error{"agents.trigger": err, "connectors.sync": hookErr} {
				if n := srv.Executions(op); n != want || !errors.Is(err, connic.ErrOutcomeUnknown) {
					t.Errorf("%s, %s: executed %d times, want %d; %v", name, op, n, want, err)
				}
			}
		})
	}
}

func TestFaultsThatLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.SetTime(time.Now().AddDate(-1, 0, 0)) // is no clock of faults
		key := string(srv.Key())
		srv.Fault(connictest.Fault{Status: 503, For: time.Minute})
		srv.Fault(connictest.Fault{Status: 502, For: time.Hour, Nth: 2, Times: 1})
		for _, step := range []struct {
			sleep time.Duration
			want  int
		}{{0, 503}, {59 * time.Second, 503}, {time.Second, 502}, {0, 200}, {time.Hour, 200}} {
			time.Sleep(step.sleep)
			if status, _, _ := send(t, srv, "GET", "", key, ""); status != step.want {
				t.Errorf("status %d, want %d", status, step.want)
			}
		}
	})
}

func TestOutboundHandler(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handle func(w http.ResponseWriter, r *http.Request)
		status int
		failed string
	}{
		"stores":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 204, ""},
		"panics":  {func(http.ResponseWriter, *http.Request) { panic("boom") }, 0, "panicked: boom"},
		"goes":    {func(http.ResponseWriter, *http.Request) { runtime.Goexit() }, 0, "ended its goroutine"},
		"blocks":  {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "deadline exceeded"},
		"too big": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<20)) }, 200, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New()
			defer srv.Close()
			srv.Agent("echo", echo)
			delivered := 0
			out := srv.OutboundHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				delivered++
				if r.RequestURI == "" || r.RemoteAddr == "" || r.Host == "" {
					t.Errorf("the request is not one of a server: %+v", r)
				}
				test.handle(w, r)
			}), "echo")
			if _, err := srv.Client().Agents.TriggerAndWait(t.Context(), "echo", connic.TriggerRequest{Message: "x"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			all := out.Deliveries()
			if len(all) != 1 || delivered != 1 || all[0].Status != test.status || (test.failed == "") != (all[0].Err == nil) {
				t.Fatalf("%s: %d delivered, %+v", name, delivered, all)
			}
			if test.failed != "" && !strings.Contains(all[0].Err.Error(), test.failed) {
				t.Errorf("%s: %v", name, all[0].Err)
			}
			answers(t, srv.Client())
		})
	}
}

// TestOutboundHandlerVerifies delivers to a receiver, which checks the signature.
func TestOutboundHandlerVerifies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("echo", echo)
		var outputs []string
		receiver := &connector.Receiver{Handle: func(_ context.Context, d connector.Delivery) error {
			outputs = append(outputs, d.Output)
			return nil
		}}
		out := srv.OutboundHandler(receiver)
		receiver.Secrets = []connector.Secret{out.Secret()}
		if _, err := srv.Client().Agents.TriggerAndWait(t.Context(), "echo", connic.TriggerRequest{Message: "hello"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(outputs) != 1 || outputs[0] != "hello" {
			t.Errorf("received %q: %+v", outputs, out.Deliveries())
		}
	})
}

func TestSessionsAreRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("echo", echo)
		c := srv.Client()
		ctx, end := context.WithCancel(t.Context())
		defer end()
		id := srv.Connector("echo").Session(ctx)
		run, err := c.Runs.Get(t.Context(), id)
		if err != nil || run.Status != connic.RunRunning || run.AgentName != "echo" || run.ConnectorID == "" {
			t.Fatalf("%+v, %v", run, err)
		}
		other := srv.Connector("echo").Session(ctx)
		if err := c.Runs.Cancel(t.Context(), other); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		end()
		synctest.Wait()
		if run, err = c.Runs.Get(t.Context(), other); err != nil || run.Status != connic.RunCancelled || run.DurationMS != 0 || run.EndedAt.IsZero() {
			t.Errorf("%+v, %v", run, err)
		}
		if run, err = c.Runs.Get(t.Context(), id); err != nil || run.Status != connic.RunCompleted || run.DurationMS != 60000 {
			t.Errorf("%+v, %v", run, err)
		}
		if err := c.Runs.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}
