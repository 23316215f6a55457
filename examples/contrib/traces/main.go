// Traces exports a call and the run that it started as OpenTelemetry spans, here
// to standard output, a line of JSON each.
//
//	go run ./traces
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/connic-go/connic"
	connicotel "github.com/connic-go/connic/contrib/otel"
	"github.com/connic-go/connic/examples/internal/service"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	service.Fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "traces:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer) (err error) {
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(w)) // in production otlptracehttp.New
	if err != nil {
		return err
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter))
	defer func() { // spans are in memory until then
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, provider.Shutdown(bounded))
	}()
	client, err := connic.NewFromEnv(connicotel.Options(connicotel.WithTracerProvider(provider))...)
	if err != nil {
		return err
	}
	return errors.Join(ask(ctx, client, provider), client.Close())
}

// ask asks a question. Its calls become spans by themselves; the steps of the
// agent become spans when the run has ended.
func ask(ctx context.Context, client *connic.Client, provider *trace.TracerProvider) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tracer := provider.Tracer("traces")
	ctx, span := tracer.Start(ctx, "answer a customer")
	defer span.End()
	run, err := client.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "How long may I keep the goods?"})
	var failed *connic.RunError
	if err == nil || errors.As(err, &failed) { // a run that failed is worth a look, too
		connicotel.ExportRun(ctx, tracer, run, connicotel.AsChild())
	}
	return err
}
