package connector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/leaktest"
)

type ticket struct {
	Number int64      `json:"number" connic:"required"`
	Topic  string     `json:"topic" connic:"required"`
	At     *time.Time `json:"at,omitzero"` // whose errors quote the text
}

const (
	triage connic.AgentOf[string, ticket] = "triage"
	second connic.AgentOf[string, string] = "second"
)

// ticketOutputs are outputs of the agent triage, and the problems with them.
var ticketOutputs = map[string]connic.OutputProblem{
	`{"number": 9007199254740993, "topic": "x", "new": 1}`: "",
	`{"number": 5.0, "topic": ""}`:                         "",
	`{"number": "SECRET", "topic": ""}`:                    connic.OutputMismatch,
	`{"number": 1, "topic": "", "at": "SECRET"}`:           connic.OutputMismatch,
	`{"number": 1, "SECRET": 1}`:                           connic.OutputMissing,
	`{"number": 1, "topic": null}`:                         connic.OutputMissing,
	`a guardrail blocked SECRET`:                           connic.OutputNotJSON,
	``:                                                     connic.OutputEmpty,
}

// checkTicket checks what a call returns for one of these outputs.
func checkTicket(t *testing.T, output string, out ticket, err error) {
	t.Helper()
	want := ticketOutputs[output]
	var bad *connic.OutputError
	switch {
	case want == "" && (err != nil || out.Number == 0):
		t.Errorf("%s: %+v, %v", output, out, err)
	case want != "" && (!errors.As(err, &bad) || bad.Problem != want || bad.Run == nil || !reflect.ValueOf(out).IsZero() || strings.Contains(err.Error(), "SECRET")):
		t.Errorf("%s: %+v, %v, want %s", output, out, err, want)
	}
}

// The same output by all ways, over a sync and an inbound connector and as a
// delivery.
func TestTypedOutputsOfConnectors(t *testing.T) {
	t.Parallel()
	for output := range ticketOutputs {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.Agent("triage", func(context.Context, connictest.Input) (any, error) { return output, nil })
			var delivered []connector.Delivery
			outbound := new(connector.Receiver)
			to := srv.OutboundHandler(outbound)
			outbound.Secrets = []connector.Secret{to.Secret()}
			outbound.Handle = func(_ context.Context, d connector.Delivery) error {
				delivered = append(delivered, d)
				return nil
			}
			out, result, err := connector.CallAs(t.Context(), srv.Connector("triage").Client(), triage, "m")
			checkTicket(t, output, out, err)
			if result == nil || result.Run().ID != result.RunID || result.Run().AgentName != "triage" {
				t.Errorf("%+v", result)
			}
			out, run, err := connector.SendAndWaitAs(t.Context(), srv.Connector("triage").Inbound().Client(), srv.Client(), triage, "m")
			checkTicket(t, output, out, err)
			if run == nil || run.AgentName != "triage" {
				t.Errorf("%+v", run)
			}
			synctest.Wait()
			for _, d := range delivered {
				out, err := triage.Output(d.Run())
				checkTicket(t, output, out, err)
				if run := d.Run(); run.ID != d.RunID || run.EndedAt != d.EndedAt || run.EndedAt.IsZero() {
					t.Errorf("%+v", run)
				}
			}
			if len(delivered) != 2 {
				t.Errorf("%d deliveries", len(delivered))
			}
		})
	}
	if _, err := triage.Output((&connector.Delivery{Kind: connector.KindPayload}).Run()); err == nil {
		t.Error("a payload passes for a run")
	}
}

func TestInputOf(t *testing.T) {
	t.Parallel()
	input := connector.Input{Message: "m", Files: []connector.File{{Name: "f"}}}
	files := []connic.File{{Name: "f", MIMEType: "text/plain", Data: []byte("x")}}
	streamed := connector.InputOf(connic.AgentOf[connic.TriggerRequest, string]("a"), connic.TriggerRequest{
		Files: []connic.File{connic.TriggerFile(connic.LocalFile("typed_test.go"))},
	})
	if r, err := streamed.Files[0].Open(); err != nil {
		t.Error(err)
	} else if text, err := io.ReadAll(r); err != nil || !strings.HasPrefix(string(text), "package") {
		t.Errorf("%.10s, %v", text, err)
	}
	for _, test := range []struct{ got, want connector.Input }{
		{connector.InputOf(triage, "hello"), connector.Input{Message: "hello"}},
		{connector.InputOf(connic.AgentOf[connector.Input, string]("a"), input), input},
		{connector.InputOf(connic.AgentOf[*connector.Input, string]("a"), &input), input},
		{connector.InputOf(connic.AgentOf[*connector.Input, string]("a"), nil), connector.Input{}},
		{connector.InputOf(connic.AgentOf[ticket, string]("a"), ticket{Number: 7}), connector.Input{Payload: ticket{Number: 7}}},
		{
			connector.InputOf(connic.AgentOf[connic.TriggerRequest, string]("a"), connic.TriggerRequest{Message: "m", Payload: 7, Files: files}),
			connector.Input{Message: "m", Payload: 7, Files: []connector.File{{Name: "f", MIMEType: "text/plain", Data: []byte("x")}}},
		},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%+v, want %+v", test.got, test.want)
		}
	}
}

// A connector of several agents: the run of the one that is asked for counts,
// whatever happens to the others.
func TestSendAndWaitAsOfSeveralAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("second", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("second fails") })
		srv.Agent("triage", func(context.Context, connictest.Input) (any, error) { return ticket{Number: 7, Topic: "x"}, nil })
		srv.Agent("third", func(context.Context, connictest.Input) (any, error) { return "a text", nil })
		srv.Agent("never", func(ctx context.Context, _ connictest.Input) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
		hook := srv.Connector("second", "triage", "third").Inbound().Client()
		out, run, err := connector.SendAndWaitAs(t.Context(), hook, srv.Client(), triage, "m")
		if err != nil || out.Number != 7 || run.AgentName != "triage" {
			t.Errorf("%+v, %+v, %v", out, run, err)
		}
		var failed *connic.RunError
		_, run, err = connector.SendAndWaitAs(t.Context(), hook, srv.Client(), second, "m")
		if !errors.As(err, &failed) || failed.Run.AgentName != "second" || run == nil || run.ID != failed.Run.ID || strings.Contains(err.Error(), ";") {
			t.Errorf("%+v, %v", run, err)
		}
		var bad *connic.OutputError
		none := connic.AgentOf[string, ticket]("none")
		_, run, err = connector.SendAndWaitAs(t.Context(), hook, srv.Client(), none, "m")
		if !errors.As(err, &bad) || bad.Problem != connic.OutputOfOtherAgent || run == nil || bad.Run != run || !strings.Contains(err.Error(), "no run is one of none, but of second, third, triage") {
			t.Errorf("%+v, %v", run, err)
		}
		_, result, err := connector.CallAs(t.Context(), srv.Connector("third").Client(), triage, "m")
		if !errors.As(err, &bad) || bad.Problem != connic.OutputOfOtherAgent || result == nil || result.AgentName != "third" {
			t.Errorf("%+v, %v", result, err)
		}
		// While a run is missing, it may be the one of the agent.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wait *connic.WaitError
		_, run, err = connector.SendAndWaitAs(ctx, srv.Connector("third", "never").Inbound().Client(), srv.Client(), triage, "m")
		if !errors.As(err, &wait) || run != nil {
			t.Errorf("%+v, %v", run, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, run, err = connector.SendAndWaitAs(ctx, srv.Connector("triage", "never").Inbound().Client(), srv.Client(), triage, "m")
		if err != nil || out.Number != 7 || run == nil {
			t.Errorf("%+v, %+v, %v", out, run, err)
		}
	})
}

// Of several runs that name no agent, none is known to be that of the agent.
func TestSendAndWaitAsOfRunsWithoutNames(t *testing.T) {
	t.Parallel()
	for ids, ok := range map[string]bool{`["a"]`: true, `["a", "b"]`: false} {
		c := answering(t, `{"status": "ok", "run_ids": `+ids+`}`)
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			run := func(id string) string { return `{"id": "` + id + `", "status": "completed", "output": "text"}` }
			body := run(path.Base(r.URL.Path))
			if strings.HasSuffix(r.URL.Path, "/runs") {
				body = `{"items": [` + run("b") + `, ` + run("a") + `]}`
			}
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(api.Close)
		client, err := connic.New("p", "cnc_0123456789", connic.WithBaseURL(api.URL))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		out, run, err := connector.SendAndWaitAs(t.Context(), c, client, second, "m", connic.WithPoll(time.Millisecond, time.Millisecond))
		var bad *connic.OutputError
		if run == nil || ok != (err == nil && out == "text") || !ok && !errors.As(err, &bad) {
			t.Errorf("%s: %q, %v", ids, out, err)
		}
	}
}

func TestTypedCallsOfConnectorsThatFail(t *testing.T) {
	t.Parallel()
	var argument *connic.ArgumentError
	if _, _, err := connector.CallAs(t.Context(), nil, triage, "m"); !errors.As(err, &argument) {
		t.Error(err)
	}
	if _, _, err := connector.SendAndWaitAs(t.Context(), nil, nil, triage, "m"); !errors.As(err, &argument) {
		t.Error(err)
	}
	c := answering(t, `{"result": {"run_id": "r", "agent_name": "triage", "status": "failed", "error": "no idea"}}`)
	var failed *connic.RunError
	if out, result, err := connector.CallAs(t.Context(), c, triage, "m"); !errors.As(err, &failed) || result == nil || !reflect.ValueOf(out).IsZero() {
		t.Errorf("%+v, %v", result, err)
	}
}

// What a service repeats of the secret is in none of the errors.
func TestTypedErrorsShowNoSecret(t *testing.T) {
	t.Parallel()
	search := leaktest.For(string(canary))
	for _, output := range []string{`{"number": 1, "topic": "%s"}`, `{"number": "%s"}`, `{"number": 1, "topic": "", "at": "%s"}`, `"%s`, `{"%s": 1}`} {
		text := strings.ReplaceAll(output, "%s", string(canary))
		body := fmt.Sprintf(`{"result": {"run_id": "r", "agent_name": "triage", "status": "completed", "output": %q}}`, text)
		_, _, err := connector.CallAs(t.Context(), answering(t, body), triage, "m")
		for ; err != nil; err = errors.Unwrap(err) {
			if where := search.In(err.Error()); where != "" {
				t.Errorf("%s: %s in %v", output, where, err)
			}
		}
	}
}

// A sync connector of one agent, with a typed output.
func ExampleCallAs() {
	srv := connictest.Start()
	defer srv.Close()
	type Answer struct {
		Text string `json:"text" connic:"required"`
	}
	const support connic.AgentOf[string, Answer] = "support"
	connictest.Handle(srv, support, func(context.Context, string) (Answer, error) {
		return Answer{"We refund within 14 days."}, nil
	})
	hook := srv.Connector("support") // a real one has its URL and its secret from the dashboard
	c, err := connector.New(hook.URL(), hook.Secret(), connector.WithHTTPClient(&http.Client{Timeout: time.Minute}))
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, _, err := connector.CallAs(context.Background(), c, support, "When do I get my money back?")
	fmt.Println(answer.Text, err)
	// Output: We refund within 14 days. <nil>
}
