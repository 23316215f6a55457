package connicotel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// rig is a client of the fake with telemetry that stays in memory.
type rig struct {
	srv    *connictest.Server
	spans  *tracetest.SpanRecorder
	tracer *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
	meter  *sdkmetric.MeterProvider
	client *connic.Client
}

func newRig(t *testing.T, opts ...connic.Option) *rig {
	t.Helper()
	r := &rig{srv: connictest.New(), spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	r.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	own := Options(WithTracerProvider(r.tracer), WithMeterProvider(r.meter))
	r.client = r.srv.Client(append(own, opts...)...)
	return r
}

// values flattens attributes.
func values(attrs []attribute.KeyValue) map[string]string {
	m := make(map[string]string, len(attrs))
	for _, a := range attrs {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

func (r *rig) only(t *testing.T) sdktrace.ReadOnlySpan {
	t.Helper()
	ended := r.spans.Ended()
	if len(ended) != 1 || len(r.spans.Started()) != 1 {
		t.Fatalf("%d spans ended of %d started, want one", len(ended), len(r.spans.Started()))
	}
	return ended[0]
}

func eventNames(s sdktrace.ReadOnlySpan) (names []string) {
	for _, e := range s.Events() {
		names = append(names, e.Name)
	}
	return names
}

func TestACallIsASpan(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.srv.Fault(connictest.Fault{Op: "runs.get", Nth: 1, Status: http.StatusServiceUnavailable})
	r.srv.Agent("a", func(context.Context, connictest.Input) (any, error) { return "x", nil })
	_, err := r.client.Runs.Get(t.Context(), "none")
	if !errors.Is(err, connic.ErrNotFound) {
		t.Fatal(err)
	}
	s := r.only(t)
	got := values(s.Attributes())
	for key, want := range map[string]string{
		"connic.operation": "runs.get", "http.request.method": "GET", "url.template": "/projects/{project}/runs/{run}",
		"server.address": "localhost", "server.port": "80", "http.response.status_code": "404", "error.type": "404",
		"http.request.resend_count": "1", "connic.attempts": "2", "connic.lane": "call",
		"url.full": "http://localhost/v1/projects/" + connictest.ProjectID + "/runs/none",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if s.Name() != "GET /projects/{project}/runs/{run}" || s.SpanKind() != trace.SpanKindClient ||
		s.Status().Code != codes.Error || s.Status().Description != "" {
		t.Errorf("%s %v %v", s.Name(), s.SpanKind(), s.Status())
	}
	if names := eventNames(s); !slices.Equal(names, []string{"connic.attempt", "connic.retry", "connic.attempt"}) {
		t.Errorf("events %v", names)
	}
}

func TestHowCallsEnd(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault  connictest.Fault
		ctx    func(context.Context) (context.Context, context.CancelFunc)
		opts   []connic.RequestOption
		spend  int
		word   string
		status codes.Code
	}{
		"well":    {status: codes.Unset},
		"refused": {fault: connictest.Fault{Op: "project.get", Nth: 1, Status: http.StatusForbidden}, word: "403", status: codes.Error},
		"dropped": {fault: connictest.Fault{Op: "project.get", Drop: true}, opts: []connic.RequestOption{connic.WithMaxAttempts(1)}, word: "transport", status: codes.Error},
		"no more": {spend: 60, opts: []connic.RequestOption{connic.FailFast()}, word: "rate_limit", status: codes.Error},
		"gave up": {ctx: context.WithCancel, fault: connictest.Fault{Op: "project.get", Latency: time.Hour}, status: codes.Unset},
		"out of time": {ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Millisecond)
		}, fault: connictest.Fault{Op: "project.get", Latency: time.Hour}, word: "timeout", status: codes.Error},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, connic.WithRateLimit(1, time.Hour))
			if test.spend > 0 {
				if _, err := r.client.Project.Get(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if test.fault.Op != "" {
				r.srv.Fault(test.fault)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.ctx != nil {
				var stop context.CancelFunc
				ctx, stop = test.ctx(ctx)
				defer stop()
				if name == "gave up" {
					time.AfterFunc(20*time.Millisecond, stop)
				}
			}
			_, _ = r.client.Project.Get(ctx, test.opts...)
			ended := r.spans.Ended()
			s := ended[len(ended)-1]
			if got := values(s.Attributes())["error.type"]; got != test.word || s.Status().Code != test.status {
				t.Errorf("error.type %q, status %v; want %q, %v", got, s.Status(), test.word, test.status)
			}
			if len(ended) != len(r.spans.Started()) {
				t.Error("a span did not end")
			}
		})
	}
}

func TestTraceContextGoesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, parent := r.tracer.Tracer("app").Start(t.Context(), "request")
	if _, err := r.client.Project.Get(ctx); err != nil {
		t.Fatal(err)
	}
	parent.End()
	s := r.spans.Ended()[0]
	if s.Parent().SpanID() != parent.SpanContext().SpanID() {
		t.Error("the call is not below the span of its context")
	}
	sent := r.srv.Requests()[0].Header
	if want := fmt.Sprintf("00-%s-%s-01", s.SpanContext().TraceID(), s.SpanContext().SpanID()); sent.Get("Traceparent") != want {
		t.Errorf("traceparent %q, want %q", sent.Get("Traceparent"), want)
	}
	if sent.Get("Baggage") != "" {
		t.Error("baggage was sent")
	}
	client := r.srv.Client(Options(WithTracerProvider(r.tracer), WithMeterProvider(r.meter), WithPropagator(nil))...)
	if _, err := client.Project.Get(ctx); err != nil {
		t.Fatal(err)
	}
	if got := r.srv.Requests()[1].Header.Get("Traceparent"); got != "" {
		t.Errorf("traceparent %q although nothing was to be sent", got)
	}
}

// everything collects the metrics as lines "name{attributes}".
func (r *rig) everything(t *testing.T) (lines []string) {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	line := func(name string, set attribute.Set, n uint64) {
		var pairs []string
		for _, a := range set.ToSlice() {
			pairs = append(pairs, string(a.Key)+"="+a.Value.String())
		}
		lines = append(lines, fmt.Sprintf("%s{%s} %d", name, strings.Join(pairs, ","), n))
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					line(m.Name, p.Attributes, p.Count)
				}
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					line(m.Name, p.Attributes, uint64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					line(m.Name, p.Attributes, uint64(p.Value))
				}
			default:
				t.Errorf("%s is a %T", m.Name, d)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // no attempt is queued in a time without delays
		r := newRig(t, connic.WithRateLimit(60, time.Hour))
		registration, err := ObserveQuota(r.client, "main", WithMeterProvider(r.meter))
		if err != nil {
			t.Fatal(err)
		}
		r.srv.Fault(connictest.Fault{Op: "runs.get", Nth: 1, Status: http.StatusServiceUnavailable})
		for _, id := range []string{"one", "two", "three"} { // ids make no series
			_, _ = r.client.Runs.Get(t.Context(), id)
		}
		const http = "http.client.request.duration{"
		const rest = ",http.request.method=GET,http.response.status_code="
		want := []string{
			"connic.client.call.duration{connic.lane=call,connic.operation=runs.get,error.type=404} 3",
			"connic.client.quota.limit{connic.client=main} 60",
			"connic.client.quota.paused{connic.client=main} 0",
			"connic.client.quota.reserved{connic.client=main} 0",
			"connic.client.quota.used{connic.client=main} 4",
			"connic.client.quota.waiting{connic.client=main,connic.lane=call} 0",
			"connic.client.quota.waiting{connic.client=main,connic.lane=poll} 0",
			"connic.client.retries{connic.operation=runs.get,http.response.status_code=503} 1",
			http + "error.type=404" + rest + "404,server.address=localhost,server.port=80,url.template=/projects/{project}/runs/{run}} 3",
			http + "error.type=503" + rest + "503,server.address=localhost,server.port=80,url.template=/projects/{project}/runs/{run}} 1",
		}
		if got := r.everything(t); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if err := registration.Unregister(); err != nil {
			t.Error(err)
		}
		for _, line := range r.everything(t) {
			if strings.Contains(line, "quota") {
				t.Errorf("after Unregister: %s", line)
			}
		}
	})
}

func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, connic.WithRetry(connic.RetryPolicy{MaxRefusals: 1, MaxRetryAfter: time.Millisecond}))
	r.srv.RateLimit(1, time.Hour, connictest.FixedWindow)
	for range 2 {
		_, _ = r.client.Project.Get(t.Context(), connic.FailFast())
	}
	_, _ = r.client.Project.Get(t.Context(), connic.FailFast()) // paused: not sent
	found := 0
	for _, line := range r.everything(t) {
		switch line {
		case "connic.client.refusals{connic.operation=project.get,connic.refused_by=service} 1",
			"connic.client.refusals{connic.operation=project.get,connic.refused_by=client} 1":
			found++
		}
	}
	if found != 2 {
		t.Errorf("got %q", r.everything(t))
	}
}

func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	const key, query, body = "cnc_0123456789abcdefcanary", "q-canary", "b-canary"
	r := newRig(t)
	own := Options(WithTracerProvider(r.tracer), WithMeterProvider(r.meter))
	for _, answer := range []func(*http.Request) (*http.Response, error){
		func(*http.Request) (*http.Response, error) { return nil, errors.New("broken with " + key) },
		func(req *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusUnprocessableEntity, Request: req, Header: http.Header{"X-Request-Id": {key}, "Content-Type": {"application/json"}},
				Body: io.NopCloser(strings.NewReader(`{"detail":"` + key + " " + body + `"}`)),
			}, nil
		},
	} {
		client, err := connic.New("p", key, append(own, connic.WithBaseURL("http://127.0.0.1/v1"), connic.WithHTTPClient(&http.Client{Transport: roundTrip(answer)}))...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: body}, connic.WithQuery("x", query), connic.WithMaxAttempts(1)); err == nil {
			t.Fatal("no error")
		}
	}
	if len(r.spans.Ended()) != 2 {
		t.Fatalf("%d spans", len(r.spans.Ended()))
	}
	all := fmt.Sprintf("%v", r.everything(t))
	for _, s := range r.spans.Ended() {
		all += fmt.Sprintf("%s %+v %+v %+v", s.Name(), s.Attributes(), s.Events(), s.Status())
	}
	for _, secret := range []string{key, query, body} {
		if strings.Contains(all, secret) {
			t.Errorf("%s was exported: %s", secret, all)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheCallersRequestIsNotChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.srv.Fault(connictest.Fault{Op: "project.get", Nth: 1, Status: http.StatusServiceUnavailable})
	mine := "mine"
	attempts := 0
	client := r.srv.Client(append(Options(WithTracerProvider(r.tracer), WithMeterProvider(r.meter)),
		connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(req *http.Request) (*http.Response, error) {
				attempts++
				before := req.Header.Clone()
				if before.Get("Traceparent") == "" || before.Get("X-Mine") != mine || before.Get("X-Other") != "" {
					t.Errorf("attempt %d came with %v", attempts, before)
				}
				resp, err := next.RoundTrip(req)
				if !reflect.DeepEqual(before, req.Header) {
					t.Errorf("the request of an outer transport was changed: %v", req.Header)
				}
				// Nothing of this reaches the next attempt.
				req.Header.Set("X-Other", "x")
				req.Header["Traceparent"][0] = ""
				return resp, err
			})
		}))...)
	if _, err := client.Project.Get(t.Context(), connic.WithHeader("X-Mine", mine)); err != nil {
		t.Fatal(err)
	}
	if attempts != 2 {
		t.Errorf("%d attempts", attempts)
	}
}

// panicking is a propagator that panics.
type panicking struct{ propagation.TraceContext }

func (panicking) Inject(context.Context, propagation.TextMapCarrier) { panic("mine") }

func TestAPropagatorThatPanics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.srv.Client(append(Options(WithTracerProvider(r.tracer), WithPropagator(panicking{})), connic.WithRateLimit(1, time.Hour))...)
	for range 2 { // the slot is free again
		func() {
			defer func() {
				if recover() != "mine" {
					t.Error("the panic is lost")
				}
			}()
			_, _ = client.Project.Get(t.Context(), connic.FailFast())
		}()
	}
	if s := client.RateLimit(); s.InFlight != 0 || s.Used != 0 || len(r.srv.Requests()) != 0 {
		t.Errorf("%+v, %d requests", s, len(r.srv.Requests()))
	}
}

// TestWithoutAProvider runs a second time as a process of its own, for which it
// sets the global provider.
func TestWithoutAProvider(t *testing.T) {
	t.Parallel()
	const env = "CONNICOTEL_TEST_OWN_PROCESS"
	if os.Getenv(env) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWithoutAProvider$")
		cmd.Env = append(os.Environ(), env+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	srv := connictest.New()
	client := srv.Client(Options()...)
	get := func(ctx context.Context) string {
		t.Helper()
		if _, err := client.Project.Get(ctx); err != nil {
			t.Fatal(err)
		}
		requests := srv.Requests()
		return requests[len(requests)-1].Header.Get("Traceparent")
	}
	const parent = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01"
	below := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": parent})
	for range 3 {
		if got := get(t.Context()); got != "" {
			t.Errorf("traceparent %q of nothing", got)
		}
		if got := get(below); got != parent {
			t.Errorf("traceparent %q, want that of the parent", got)
		}
	}
	spans := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	if got := get(t.Context()); got == "" || len(spans.Ended()) != 1 {
		t.Errorf("with a provider: traceparent %q, %d spans", got, len(spans.Ended()))
	}
}
