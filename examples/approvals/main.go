// Approvals is a desk for approvals: a web page with what waits for a decision, its
// arguments, and forms to approve, reject and answer. Notices of an outbound
// connector arrive signed at /hooks/connic; what they miss is found by polling once
// a minute. A file remembers what is open.
//
// Without configuration it uses an embedded fake service with an agent that asks
// before it pays:
//
//	go run ./examples/approvals
//
// With CONNIC_API_KEY and CONNIC_PROJECT_ID set it decides the approvals of a
// project. -connector names the outbound connector that delivers notices:
//
//	go run ./examples/approvals -connector approvals
//
// It does not authenticate people: it listens on the loopback address, and belongs
// behind a proxy that does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "approvals:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("approvals", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:8080", "address to listen on")
	state := flags.String("state", "approvals.json", "file that remembers what is open, other than approvals of the fake")
	name := flags.String("connector", "", "outbound connector that delivers notices, by name")
	if err := flags.Parse(args); err != nil {
		return err
	}
	_, noFile := os.Stat(".connic")
	fake := os.Getenv("CONNIC_API_KEY") == "" && os.Getenv("CONNIC_PROJECT_ID") == "" && os.Getenv("CONNIC_TOKEN") == "" && noFile != nil
	if fake {
		*state = "" // each fake begins anew, with the same ids
	}
	store, err := openStore(*state)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	address := "http://" + listener.Addr().String()
	d := &desk{store: store, log: slog.New(slog.NewTextHandler(stderr, nil))}
	var secret connector.Secret
	if fake {
		srv := connictest.New()
		defer srv.Close()
		d.client, secret = demo(ctx, srv, address)
	} else if d.client, err = connic.NewFromEnv(connic.WithApplication("approval-desk", "1.0")); err != nil {
		return err
	}
	defer func() { _ = d.client.Close() }()
	if *name != "" {
		if secret, err = connector.SigningSecret(ctx, d.client, *name); err != nil {
			return err
		}
	}
	server := &http.Server{Handler: d.handler(secret), ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(listener) }()
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		if err := d.follow(ctx); ctx.Err() == nil {
			ended <- err
		}
	}()
	if _, err := fmt.Fprintln(stdout, "approvals at", address); err != nil {
		return err
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = nil
	}
	cancel()
	<-followed
	down, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	return errors.Join(err, server.Shutdown(down))
}

// demo sets up a fake with three runs that ask.
func demo(ctx context.Context, srv *connictest.Server, address string) (*connic.Client, connector.Secret) {
	requests := []connictest.ApprovalRequest{
		{ToolName: "pay_invoice", Arguments: map[string]any{"invoice": 17, "to": "DE02 1203 0000 0000 2020 51", "amount": "49.90 EUR"}},
		{ToolName: "delete_customer", Arguments: map[string]any{"id": "c-1207", "note": "<script>alert(1)</script> \u202eevil"}, Timeout: time.Hour},
		{ToolName: "confirm_transfer", Inputs: []connic.ApprovalInput{{Label: "Purpose"}, {Label: "PIN", Sensitive: true}}},
	}
	next := make(chan connictest.ApprovalRequest, len(requests))
	srv.Agent("accounting", func(ctx context.Context, in connictest.Input) (any, error) {
		return in.RequestApproval(ctx, <-next)
	})
	out := srv.Outbound(address+"/hooks/connic", nil).NotifyApprovals()
	client := srv.Client()
	for _, r := range requests {
		next <- r
		_, _ = client.Agents.Trigger(ctx, "accounting", connic.TriggerRequest{Message: "the books"})
	}
	return client, out.Secret()
}
