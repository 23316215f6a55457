package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	connicotel "github.com/connic-go/connic/contrib/otel"
	"github.com/connic-go/connic/examples/internal/service"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/trace"
)

func TestTraces(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"an answer": false, "a failure": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				service.Furnish(srv)
				if fails {
					srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no idea") })
				}
				var out bytes.Buffer
				exporter, err := stdouttrace.New(stdouttrace.WithWriter(&out))
				if err != nil {
					t.Fatal(err)
				}
				provider := trace.NewTracerProvider(trace.WithBatcher(exporter))
				err = ask(t.Context(), srv.Client(connicotel.Options(connicotel.WithTracerProvider(provider))...), provider)
				var failed *connic.RunError
				if errors.As(err, &failed) != fails || !fails && err != nil {
					t.Error(err)
				}
				if err := provider.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				for _, span := range []string{"answer a customer", "POST /projects/{project}/agents/{agent}/trigger", "GET /projects/{project}/runs/{run}", "invoke_agent support"} {
					if !strings.Contains(out.String(), `{"Name":"`+span+`"`) {
						t.Errorf("%s is missing in\n%s", span, &out)
					}
				}
			})
		})
	}
}
