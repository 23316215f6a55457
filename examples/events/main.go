// Events receives all that a project posts at one URL, and passes each event to
// the function for its kind: runs, requests for approval, and what the tools of
// agents send.
//
//	go run ./examples/events
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/examples/internal/service"
)

func main() {
	service.DeliverEvents("http://localhost:8080/hooks/connic") // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "events:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	secret := connector.Secret(os.Getenv("CONNIC_SIGNING_SECRET")) // of the connector, from the dashboard
	if secret == "" {
		return errors.New("set CONNIC_SIGNING_SECRET")
	}
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/connic", events(os.Stdout).Handler(secret))
	server := &http.Server{Addr: "localhost:8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	down := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		down <- server.Shutdown(bounded)
	}()
	slog.Info("starting", "address", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-down
}

// events is the table of what is done with each kind of event. A function that
// returns nil acknowledges it; one that cannot do so within seconds stores it
// first, as examples/receive does.
func events(w io.Writer) *connector.Mux {
	mux := connector.NewMux()
	mux.HandleAgent(connector.KindRun, "support", func(_ context.Context, d connector.Delivery) error {
		_, err := fmt.Fprintf(w, "support has answered: %s\n", d.Output)
		return err
	})
	mux.HandlePayload("type", "refund", func(_ context.Context, d connector.Delivery) error {
		var refund struct {
			Order int `json:"order"`
		}
		if err := json.Unmarshal(d.Body, &refund); err != nil {
			return connector.Permanent(err) // it would not fit the next time either
		}
		_, err := fmt.Fprintf(w, "refund order %d\n", refund.Order)
		return err
	})
	mux.Handle(connector.KindApproval, func(_ context.Context, d connector.Delivery) error {
		_, err := fmt.Fprintf(w, "%s wants to call %s: see examples/approvals\n", d.Approval().AgentName, d.Approval().ToolName)
		return err
	})
	mux.Fallback(func(ctx context.Context, d connector.Delivery) error {
		slog.WarnContext(ctx, "unexpected", "kind", d.Kind, "agent", d.AgentName, "bytes", len(d.Body))
		return nil
	})
	return mux
}
