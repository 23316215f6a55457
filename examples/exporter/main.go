// Command exporter exposes a Connic project to Prometheus: its runs, tokens,
// cost and budgets, the quota, and the requests of the exporter's own client.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/mask"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	addr := flag.String("listen", "localhost:9464", "address to be scraped at")
	conf := settings{}
	flag.DurationVar(&conf.interval, "interval", time.Minute, "minimum interval between polls of the service")
	flag.DurationVar(&conf.lookback, "lookback", 15*time.Minute, "maximum age of the runs that are counted")
	flag.Float64Var(&conf.share, "share", 0.1, "maximum share of the quota used by polls")
	flag.IntVar(&conf.pages, "pages", 10, "maximum number of pages of 100 runs per poll")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := serve(ctx, *addr, conf)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "exporter:", mask.Line(err.Error(), 2000))
		os.Exit(1)
	}
}

func serve(ctx context.Context, addr string, conf settings) error {
	counts := newCounts()
	client, err := connic.NewFromEnv(connic.WithObserver(counts.observe), connic.WithReadOnly())
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	e := newExporter(client, counts, conf)
	srv := &http.Server{
		Addr: addr, Handler: e.handler(), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	go e.run(ctx)
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (e *exporter) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(e, e.counts.requests, e.counts.duration)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // no body is read: without this, the server waits for it before and after the response
			w.Header().Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		}
		mux.ServeHTTP(w, r)
	})
}
