// Ask is a web service that answers questions with an agent.
//
//	curl -d '{"question": "How long may I keep the goods?"}' -H 'Content-Type: application/json' localhost:8080/ask
//
// Without configuration it uses an embedded fake service with one agent. With
// CONNIC_API_KEY and CONNIC_PROJECT_ID set it uses an agent of that project, where
// each question costs money:
//
//	ask -agent support
//
// It does not authenticate its callers: it listens on the loopback address, and
// belongs behind a proxy that does.
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
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/apps/internal/progress"
	"github.com/connic-go/connic/examples/apps/internal/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "ask:", progress.Clean(err.Error()))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	conf := defaults()
	flags := flag.NewFlagSet("ask", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8080", "the address to listen on")
	flags.StringVar(&conf.Agent, "agent", "", "the agent that answers; required for the real service")
	flags.DurationVar(&conf.Timeout, "timeout", conf.Timeout, "time limit per question, including the wait for the quota")
	flags.IntVar(&conf.Callers, "callers", conf.Callers, "maximum number of open questions")
	lame := flags.Duration("lame", 0, "how long to keep accepting questions after SIGTERM, until the load balancer has noticed")
	drain := flags.Duration("drain", time.Minute, "how long open questions may take after that")
	verbose := flags.Bool("v", false, "log each request to Connic")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conf.Log = logger(stderr, *verbose)

	where, err := service.Connect("connic-ask", furnish, connic.WithLogger(conf.Log), connic.WithObserver(tellCaller))
	if err != nil {
		return err
	}
	defer where.Close()
	if conf.Agent == "" {
		if where.Fake == nil {
			return errors.New("name an agent of your project with -agent: a run on the real service costs money, so none is chosen for you")
		}
		conf.Agent = fakeAgent
	}
	conf.Client = where.Client

	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	conf.Log.Info("listening", "address", l.Addr().String(), "agent", conf.Agent, "service", where.String())
	return newServer(conf).serve(ctx, l, *lame, *drain)
}

// logger writes text on a terminal, and JSON elsewhere.
func logger(out io.Writer, verbose bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: cleanAttr}
	if verbose {
		options.Level = slog.LevelDebug
	}
	if progress.Terminal(out) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}

// cleanAttr cleans the texts of a log entry: errors quote the service.
func cleanAttr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(progress.Clean(v))
	case error:
		a.Value = slog.StringValue(progress.Clean(v.Error()))
	}
	return a
}

// abortTime is the time allowed for questions that are aborted: for
// [connic.CancelOnAbort] to cancel the run, and then to respond to the caller.
const abortTime = 15 * time.Second

// serve serves requests until ctx ends, and then drains: it reports that it is
// not ready, continues for the time lame, closes the listener, refuses the questions
// that are queued, waits for the others for the time drain, and then cancels them and
// their runs.
func (s *server) serve(ctx context.Context, l net.Listener, lame, drain time.Duration) error {
	open, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	h := &http.Server{
		Handler:     s.handler(),
		BaseContext: func(net.Listener) context.Context { return open },
		ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		// No ReadTimeout: when it expires, it looks as if the caller had
		// disconnected while the question is being answered. The handler limits
		// the body itself.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.Log.Info("draining", "open", s.open.Load())
	pause(lame)

	bounded, done := context.WithTimeout(open, drain)
	defer done()
	// Questions that are queued for the quota are refused, and cost nothing. Those
	// that were asked are answered.
	drained := make(chan error, 1)
	go func() { drained <- s.Client.Drain(bounded) }()
	err := h.Shutdown(bounded)
	if errors.Is(err, context.DeadlineExceeded) {
		s.Log.Warn("cancelling open questions", "open", s.open.Load())
		cut(errShutdown)
		last, done := context.WithTimeout(context.WithoutCancel(open), abortTime)
		defer done()
		err = h.Shutdown(last)
	}
	if left := <-drained; left != nil {
		var e *connic.DrainError
		if errors.As(left, &e) {
			s.Log.Error("left", "runs", e.Runs(), "error", left)
		}
	}
	s.Log.Info("stopped", "open", s.open.Load())
	return err
}

var errShutdown = errors.New("the service is shutting down")

func pause(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}
