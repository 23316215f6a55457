// Connic-exporter exposes a Connic project to Prometheus.
//
//	connic-exporter -listen localhost:9464
//
// The key and the project are found as by connic.NewFromEnv. It ends on SIGINT or
// SIGTERM. The exit status is 0, 1 after an error, or 2 if the flags do not parse.
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
	"sync"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/exporter"
	"github.com/connic-go/connic/internal/mask"
)

func main() {
	addr := flag.String("listen", "localhost:9464", "address to be scraped at")
	var o exporter.Options
	flag.DurationVar(&o.Interval, "interval", exporter.DefaultInterval, "minimum interval between polls of the service")
	flag.DurationVar(&o.Lookback, "lookback", exporter.DefaultLookback, "maximum age of the runs that are counted")
	flag.Float64Var(&o.Share, "share", exporter.DefaultShare, "maximum share of the quota used by polls")
	flag.IntVar(&o.Pages, "pages", exporter.DefaultPages, "maximum number of pages of 100 runs per poll")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "connic-exporter: unknown argument %q\n", flag.Arg(0))
		os.Exit(2) //nolint:forbidigo // a program
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	err := run(ctx, *addr, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "connic-exporter:", mask.Line(err.Error(), 2000))
		os.Exit(1) //nolint:forbidigo // a program
	}
}

func run(ctx context.Context, addr string, o *exporter.Options) error {
	e, err := exporter.New(func(opts ...connic.Option) (*connic.Client, error) {
		return connic.NewFromEnv(append(opts, connic.WithObserver(failures(os.Stderr)))...)
	}, o)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return serve(ctx, e, listener)
}

// failures writes why calls fail, a line each.
func failures(w io.Writer) connic.Observer {
	return func(_ context.Context, e connic.Event) {
		if e.Kind == connic.EventDone && e.Err != nil && !errors.Is(e.Err, context.Canceled) {
			_, _ = fmt.Fprintln(w, "connic-exporter:", mask.Line(e.Err.Error(), 2000))
		}
	}
}

// serve polls and serves until ctx ends.
func serve(ctx context.Context, e *exporter.Exporter, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var polls sync.WaitGroup
	polls.Go(func() { e.Run(ctx) })
	defer polls.Wait()
	defer cancel()
	mux := http.NewServeMux()
	mux.Handle("/metrics", e.Handler())
	srv := &http.Server{
		Handler: withoutBody(mux), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	_, _ = fmt.Fprintf(os.Stderr, "connic-exporter: metrics at http://%s/metrics\n", listener.Addr())
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// withoutBody reads no bodies: without it, the server waits for them before and
// after the response.
func withoutBody(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		}
		h.ServeHTTP(w, r)
	})
}
