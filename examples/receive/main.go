// Receive receives the completed runs that an outbound connector posts, and stores
// each in a file of the folder inbox. Whatever works on them takes them from there:
// a delivery is acknowledged when it is stored, not when the work is done.
//
//	go run ./examples/receive
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/examples/internal/service"
)

func main() {
	service.DeliverRuns("http://localhost:8080/hooks/connic") // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "receive:", err)
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
	if err := os.MkdirAll("inbox", 0o700); err != nil {
		return err
	}
	inbox, err := os.OpenRoot("inbox") // no name leads out of it
	if err != nil {
		return err
	}
	defer func() { _ = inbox.Close() }()
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/connic", receiver(inbox, secret))
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

// receiver verifies deliveries and stores them.
func receiver(inbox *os.Root, secret connector.Secret) *connector.Receiver {
	return &connector.Receiver{
		Secrets: []connector.Secret{secret}, // two of them while one is replaced by the other
		Handle: func(ctx context.Context, d connector.Delivery) error {
			if d.Kind != connector.KindRun {
				return connector.Permanent(fmt.Errorf("the kind %q is not expected", d.Kind)) // 422
			}
			return store(inbox, d) // an error is a 500
		},
		OnError: func(_ *http.Request, err error) { slog.Warn("refused", "err", err) },
	}
}

// store writes a delivery to a file named after the run, unless it is there: a
// delivery may come again, also to another process.
func store(inbox *os.Root, d connector.Delivery) error {
	name := url.PathEscape(d.RunID) + ".json"
	if _, err := inbox.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := rand.Text() + ".new" // another process may store the same run
	f, err := inbox.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_SYNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(d.Body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = inbox.Rename(partial, name) // never half a file
	}
	if err != nil {
		return errors.Join(err, inbox.Remove(partial))
	}
	slog.Info("received", "run", d.RunID, "agent", d.AgentName, "file", name)
	return nil
}
