package connector_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// One URL for runs, the payloads of an agent's tool, and approvals. The fake plays
// the service.
func ExampleMux() {
	mux := connector.NewMux()
	mux.HandleAgent(connector.KindRun, "invoices", func(_ context.Context, d connector.Delivery) error {
		fmt.Println("invoice:", d.Output)
		return nil
	})
	mux.HandlePayload("type", "refund", func(_ context.Context, d connector.Delivery) error {
		fmt.Printf("refund: %s\n", d.Body)
		return nil
	})
	mux.Handle(connector.KindApproval, func(_ context.Context, d connector.Delivery) error {
		fmt.Println("somebody must approve", d.Approval().ToolName)
		return nil
	})
	mux.Fallback(func(_ context.Context, d connector.Delivery) error {
		return connector.Permanent(fmt.Errorf("nobody handles the kind %q", d.Kind))
	})

	srv := connictest.Start()
	defer srv.Close()
	const secret = "whsec-0123456789" // of the connector, from the dashboard
	serve := http.NewServeMux()
	serve.Handle("POST /hooks/connic", mux.Handler(secret))
	shop := httptest.NewServer(serve)
	defer shop.Close()
	out := srv.Outbound(shop.URL+"/hooks/connic", nil).WithSecret(secret)

	out.Send(map[string]any{"type": "refund", "order": 7})
	out.Notify(&connic.Approval{ID: "approval-1", ToolName: "pay", RequestedAt: noon})
	fmt.Println(out.Send(map[string]any{"type": "greeting"}).Status)
	// Output:
	// refund: {"order":7,"type":"refund"}
	// somebody must approve pay
	// 422
}

// A log drain posts up to 500 lines at once. They go to a database in one statement,
// and those that are no log lines to the fallback.
func ExampleMux_HandleItems() {
	mux := connector.NewMux()
	mux.HandleItems(connector.KindLog, func(_ context.Context, items []connector.Delivery) error {
		for _, item := range items {
			line := item.LogLine()
			fmt.Println(line.Level, line.AgentName, line.Message)
		}
		return nil // the whole batch is acknowledged if all of it was handled
	})
	mux.Fallback(func(_ context.Context, d connector.Delivery) error {
		fmt.Printf("%s: %s\n", d.Kind, d.Body)
		return nil
	})

	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("clerk", func(_ context.Context, in connictest.Input) (any, error) {
		in.Log("reading " + in.Message)
		in.Log("done")
		return "ok", nil
	})
	// A drain may have no secret. Then anybody who knows the URL can post to it.
	out := srv.OutboundHandler(&connector.Receiver{Handle: mux.Deliver, Unsigned: true}).WithSecret("").WithoutRuns()
	if _, err := srv.Connector("clerk").Client().Call(context.Background(), connector.Input{Message: "invoice 7"}); err != nil {
		fmt.Println(err)
	}
	out.DrainLogs()
	out.Send([]any{map[string]any{"environment_id": "live", "healthy": true}})
	// Output:
	// info clerk reading invoice 7
	// info clerk done
	// payload: {"environment_id":"live","healthy":true}
}
