package connicotel

import (
	"errors"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// What samplers see is the name and the kind, and what is exported has all.
func TestSamplersSeeNames(t *testing.T) {
	t.Parallel()
	sampler := &seeing{Sampler: sdktrace.AlwaysSample()}
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(spans))
	srv := connictest.New()
	client := srv.Client(Options(WithTracerProvider(tracer), WithMeterProvider(sdkmetric.NewMeterProvider()))...)
	if _, err := client.Runs.Get(t.Context(), "cnc_0123456789abcdef"); !errors.Is(err, connic.ErrNotFound) {
		t.Fatal(err)
	}
	if sampler.name != "GET /projects/{project}/runs/{run}" || sampler.kind != trace.SpanKindClient {
		t.Errorf("the sampler saw %q, %v", sampler.name, sampler.kind)
	}
	got := values(spans.Ended()[0].Attributes())
	if got["connic.operation"] != "runs.get" || got["url.template"] != "/projects/{project}/runs/{run}" || strings.Contains(got["url.full"], "456789") {
		t.Errorf("got %v", got)
	}
}

type seeing struct {
	sdktrace.Sampler
	name string
	kind trace.SpanKind
}

func (s *seeing) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.name, s.kind = p.Name, p.Kind
	return s.Sampler.ShouldSample(p)
}
