// Web is a web service that answers questions with an agent. Each question has a
// deadline, and each error its status.
//
//	go run ./examples/web
//	curl -d 'How long may I keep the goods?' localhost:8080/ask
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/internal/service"
)

const timeout = 30 * time.Second // for a question, including its turn under the quota

func main() {
	service.Fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := connic.NewFromEnv(connic.WithApplication("web", "1.0"))
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	mux := http.NewServeMux()
	mux.Handle("POST /ask", ask(client))
	server := &http.Server{
		Addr:              "localhost:8080",
		Handler:           http.NewCrossOriginProtection().Handler(mux), // questions cost money: no page of another site may ask
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: timeout + 15*time.Second,
	}
	down := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+15*time.Second)
		defer cancel()
		down <- server.Shutdown(bounded) // open questions are answered
	}()
	slog.Info("starting", "address", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-down
}

// ask answers the question in the body of a request. If the caller goes away, the
// run is canceled.
func ask(client *connic.Client) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		question, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
		if err != nil || strings.TrimSpace(string(question)) == "" {
			http.Error(w, "Ask a question of at most 16 KiB.", http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		run, err := client.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: string(question)}, connic.CancelOnAbort())
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if _, err := io.WriteString(w, run.Output+"\n"); err != nil {
			slog.Info("the caller has gone", "run", run.ID)
		}
	}
}

// fail responds with the status of an error. The order matters: some errors match
// several cases.
func fail(w http.ResponseWriter, err error) {
	status, text := http.StatusBadGateway, "Something went wrong."
	var wait *connic.WaitError
	var failed *connic.RunError
	switch {
	case errors.Is(err, connic.ErrOutcomeUnknown): // the run may have started: do not invite to ask again
		text = "It is not known whether your question was received."
	case errors.Is(err, connic.ErrRateLimited) && !errors.As(err, &wait): // nothing was started
		status, text = http.StatusServiceUnavailable, "Too many questions at once."
		if after, ok := connic.RetryAfter(err); ok {
			w.Header().Set("Retry-After", strconv.Itoa(int(after/time.Second)+1))
		}
	case errors.Is(err, context.Canceled):
		return // the caller has gone, and the run is canceled
	case errors.Is(err, context.DeadlineExceeded):
		status, text = http.StatusGatewayTimeout, "The answer took too long."
	case errors.As(err, &failed):
		text = "The agent failed."
	}
	slog.Error("no answer", "status", status, "err", err) // a refused key is for the operator, not for the caller
	http.Error(w, text, status)
}
