// Connic-fake serves the fake of package connictest over HTTP, for programs that
// are not written in Go, and to try things by hand.
//
//	connic-fake -addr 127.0.0.1:8080
//
// It has three agents: echo answers with its message, slow does so after 5 s, and
// fail fails. It has two connectors of the agent echo: one is sync, one inbound. It
// prints the variables that lead a client to it. At
// /openapi.json it serves the document of the API.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/docs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprintln(os.Stderr, "connic-fake:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

var models = map[string]connictest.Window{
	"fixed": connictest.FixedWindow, "sliding": connictest.SlidingWindow, "bucket": connictest.TokenBucket,
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("connic-fake", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:8080", "address to listen on; port 0 takes any")
	rate := flags.Int("rate", 60, "requests per minute")
	window := flags.String("window", "fixed", "how they are counted: fixed, sliding or bucket")
	if err := flags.Parse(args); err != nil {
		return err
	}
	model, ok := models[*window]
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	case !ok:
		return fmt.Errorf("-window is none of fixed, sliding and bucket: %q", *window)
	case *rate < 1:
		return errors.New("-rate is less than 1")
	}

	srv := connictest.New()
	defer srv.Close()
	srv.RateLimit(*rate, time.Minute, model)
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	srv.Agent("slow", func(ctx context.Context, in connictest.Input) (any, error) {
		select {
		case <-time.After(5 * time.Second):
			return in.Message, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	srv.Agent("fail", func(context.Context, connictest.Input) (any, error) {
		return nil, errors.New("this agent always fails")
	})

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: withDocument(srv), ReadHeaderTimeout: time.Minute}
	_, _ = fmt.Fprintf(stdout, "export CONNIC_API_URL=http://%s/v1\nexport CONNIC_PROJECT_ID=%s\nexport CONNIC_API_KEY=%s\n",
		listener.Addr(), connictest.ProjectID, string(srv.Key()))
	for _, c := range []struct {
		mode string
		*connictest.Connector
	}{{"SYNC", srv.Connector("echo")}, {"INBOUND", srv.Connector("echo").Inbound()}} {
		_, _ = fmt.Fprintf(stdout, "export %s_URL=http://%s%s\nexport %s_SECRET=%s\n", c.mode, listener.Addr(), c.Path(), c.mode, string(c.Secret()))
	}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// withDocument serves the API's document beside the API.
func withDocument(fake http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/openapi.json" {
			fake.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(docs.OpenAPI())
	})
}
