package connector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// A service that answers its own callers with what an agent says. The run is waited for
// as long as the caller waits, and 20 s at most. The fake plays the service; a real
// connector has its URL and its secret from the dashboard.
func ExampleConnector_Call() {
	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		return map[string]any{"answer": "We refund within 14 days.", "topic": "refunds"}, nil
	})
	hook := srv.Connector("support")

	support, err := connector.New(hook.URL(), hook.Secret())
	if err != nil {
		fmt.Println(err)
		return
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
		defer cancel()
		result, err := support.Call(ctx, connector.Input{
			Message: r.FormValue("question"),
			Payload: map[string]string{"request_id": r.Header.Get("X-Request-Id")}, // a key to recognize a repetition by
		})
		var failed *connic.RunError
		var reply struct{ Answer, Topic string }
		switch {
		case errors.As(err, &failed): // the agent has worked, and failed
			http.Error(w, "Nobody knows.", http.StatusBadGateway)
		case errors.Is(err, connic.ErrOutcomeUnknown): // the run may go on: do not call again blindly
			http.Error(w, "That takes longer than expected.", http.StatusGatewayTimeout)
		case err != nil:
			http.Error(w, "Please try again.", http.StatusServiceUnavailable)
		case result.DecodeOutput(&reply) != nil:
			http.Error(w, "Nobody understands.", http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, reply.Topic+": "+reply.Answer)
		}
	}

	w := httptest.NewRecorder()
	answer(w, httptest.NewRequest(http.MethodPost, "/ask?question=How+does+a+refund+work", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 200 refunds: We refund within 14 days.
}

// Clients and connectors share what observes them. A call that would have to wait
// for others is refused, so that the caller can be told when to come back.
func ExampleWithTelemetry() {
	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "We refund within 14 days.", nil })
	hook := srv.Connector("support")

	telemetry := []connic.Option{
		// connicotel.Options of contrib/otel, and connic.WithLogger, belong here too.
		connic.WithObserver(func(_ context.Context, e connic.Event) {
			if e.Kind == connic.EventDone {
				fmt.Println(e.Op, e.StatusCode, e.Err)
			}
		}),
	}
	client := srv.Client(telemetry...)
	support, err := connector.New(hook.URL(), hook.Secret(), connector.WithTelemetry(telemetry...))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	result, err := support.Call(ctx, connector.Input{Message: "How does a refund work?", FailFast: true})
	if errors.Is(err, connic.ErrRateLimited) {
		after, _ := connic.RetryAfter(err)
		fmt.Println("busy, come back after", after)
	}
	if err != nil {
		return
	}
	if run, err := client.Runs.Get(ctx, result.RunID); err == nil {
		fmt.Println(run.Output)
	}
	// Output:
	// connectors.call 200 <nil>
	// runs.get 200 <nil>
	// We refund within 14 days.
}

// An inbound connector starts all the agents that are linked to it, and the API knows when
// they have finished.
func ExampleConnector_SendAndWait() {
	srv := connictest.Start()
	defer srv.Close()
	for _, name := range []string{"sentiment", "topics"} {
		srv.Agent(name, func(context.Context, connictest.Input) (any, error) { return name + " of the review", nil })
	}
	hook := srv.Connector("sentiment", "topics").Inbound()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	runs, err := hook.Client().SendAndWait(ctx, srv.Client(), connector.Input{Message: "Great tea, slow shop."},
		connic.WithPoll(time.Millisecond, time.Millisecond)) // a fake has no quota to spare
	for _, run := range runs {
		fmt.Println(run.AgentName, run.Status, run.Output)
	}
	fmt.Println(err)
	// Output:
	// sentiment completed sentiment of the review
	// topics completed topics of the review
	// <nil>
}

// A receiver stores what an outbound connector delivers. Deliveries that are not signed, or
// come twice, do not get to it. The fake delivers one of them twice, and somebody else
// sends one of his own.
func ExampleHandler() {
	var mu sync.Mutex
	stored := make(map[string]string) // a table in your database
	store := func(_ context.Context, d connector.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		if d.RunID == "" {
			return nil // another notice, of an approval, say
		}
		stored[d.RunID] = d.Output
		fmt.Println("stored:", d.Output)
		return nil
	}

	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("report", func(_ context.Context, in connictest.Input) (any, error) { return "report on " + in.Message, nil })
	// The secret is the connector's signing secret. While it is replaced, name both.
	receiver := &connector.Receiver{Handle: store}
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/connic", receiver)
	shop := httptest.NewServer(mux)
	defer shop.Close()
	out := srv.Outbound(shop.URL+"/hooks/connic", nil)
	receiver.Secrets = []connector.Secret{out.Secret()}
	out.Fault(connictest.DeliveryFault{Twice: true})

	if _, err := srv.Connector("report").Client().Call(context.Background(), connector.Input{Message: "tea"}); err != nil {
		fmt.Println(err)
	}
	for len(out.Deliveries()) < 2 {
		time.Sleep(time.Millisecond)
	}
	for _, d := range out.Deliveries() {
		fmt.Println("answered:", d.Status)
	}
	const forged = `{"run_id": "run-1", "status": "completed", "output": "forged"}`
	resp, err := http.Post(shop.URL+"/hooks/connic", "application/json", strings.NewReader(forged))
	if err == nil {
		fmt.Println("forged:", resp.StatusCode)
		_ = resp.Body.Close()
	}
	// Output:
	// stored: report on tea
	// answered: 204
	// answered: 204
	// forged: 401
}
