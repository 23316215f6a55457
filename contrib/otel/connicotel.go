// Package connicotel instruments clients, connectors and chats of Connic with
// OpenTelemetry, and exports runs of agents as traces.
//
//	client, err := connic.New(projectID, key, connicotel.Options()...)
//
// creates a client span for each call, from its admission to the last byte of
// the response, with attempts, waits and retries as events, and records
// metrics. The context of the span is propagated with the requests. The same
// options instrument connectors and chats, with connector.WithTelemetry and
// chat.WithTelemetry:
//
//	support, err := connector.New(url, secret, connector.WithTelemetry(options...))
//
// [ExportRun] creates the spans of a finished run, with the times of the run.
//
// Neither spans nor metrics contain a key, a secret, a query, a body or a
// header. Ids appear in spans only: the attributes of metrics are operations,
// routes with placeholders, status codes and words from a fixed list.
package connicotel

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"sync/atomic"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/hook"
	"github.com/connic-go/connic/internal/inject"
	"github.com/connic-go/connic/internal/mask"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// maxURL limits the characters of a URL in a span.
const maxURL = 2048

const scope = "github.com/connic-go/connic/contrib/otel"

// An Option configures [Options] and [ExportRun].
type Option func(*config)

type config struct {
	tracers    trace.TracerProvider
	meters     metric.MeterProvider
	propagator propagation.TextMapPropagator
	texts      int
	child      bool
}

func newConfig(opts []Option) config {
	c := config{propagator: propagation.TraceContext{}}
	for _, opt := range opts {
		if opt != nil {
			opt(&c)
		}
	}
	if c.tracers == nil {
		c.tracers = otel.GetTracerProvider()
	}
	if c.meters == nil {
		c.meters = otel.GetMeterProvider()
	}
	return c
}

// WithTracerProvider sets the provider for spans of calls. The default is the
// global provider.
func WithTracerProvider(p trace.TracerProvider) Option { return func(c *config) { c.tracers = p } }

// WithMeterProvider sets the provider for metrics. The default is the global
// provider.
func WithMeterProvider(p metric.MeterProvider) Option { return func(c *config) { c.meters = p } }

// WithPropagator sets the propagator that writes the context of the span to the
// request headers. The default is W3C trace context without baggage. With nil,
// nothing is written.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return func(c *config) { c.propagator = p }
}

// A telemetry observes the calls made with the same options.
type telemetry struct {
	config
	tracer trace.Tracer
	starts cache[method, *start]
	opts   []trace.SpanStartOption // of every span
	global trace.TracerProvider    // if it is the one in use
	idle   atomic.Int32            // calls left that skip creating a span
	metrics
}

// idleCalls is how many calls skip creating a span after one got none because no
// global provider is set. Setting a provider ends that at once; instrumentation
// that attaches to the running process is noticed after that many calls.
const idleCalls = 64

// Options returns the options for instrumented clients, connectors and chats,
// which may share them. It panics if an instrument cannot be created, which no
// provider is known to do.
func Options(opts ...Option) []connic.Option {
	c := newConfig(opts)
	t := &telemetry{
		config:  c,
		opts:    []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)},
		tracer:  c.tracers.Tracer(scope, trace.WithInstrumentationVersion(connic.Version)),
		metrics: newMetrics(c.meters.Meter(scope, metric.WithInstrumentationVersion(connic.Version))),
	}
	if global := otel.GetTracerProvider(); reflect.TypeOf(global).Comparable() && c.tracers == global {
		t.global = global
	}
	return []connic.Option{
		connic.WithCallContext(t.begin),
		connic.WithObserver(t.observe),
	}
}

// A call holds what the steps of a call share. It is the call's context.
type call struct {
	context.Context // with the span in it

	t    *telemetry
	span trace.Span
	host string
	port int

	unnamed bool // the path is that of a connector, which is not shown
}

// A callKey is the key of the call in its context, one for each telemetry.
type callKey struct{ t *telemetry }

// Value implements [context.Context].
func (k *call) Value(key any) any {
	if key == (callKey{k.t}) || key == (inject.Key{}) {
		return k
	}
	return k.Context.Value(key)
}

// start holds what is the same for all spans of an operation. Samplers see the
// name and the kind; the attributes are set only if the span records.
type start struct {
	name  string
	attrs []attribute.KeyValue
}

// begin starts the span of a call.
func (t *telemetry) begin(ctx context.Context, op connic.Operation) context.Context {
	with, span := t.start(ctx, op)
	if !span.IsRecording() && !span.SpanContext().IsValid() && !t.enabled(ctx) {
		return ctx
	}
	return &call{Context: with, t: t, span: span, unnamed: op.Route == hook.Route}
}

func (t *telemetry) start(ctx context.Context, op connic.Operation) (context.Context, trace.Span) {
	parent := trace.SpanContextFromContext(ctx)
	unset := t.global != nil && !parent.IsValid() && otel.GetTracerProvider() == t.global
	if unset && t.idle.Load() > 0 {
		t.idle.Add(-1)
		return ctx, noop.Span{}
	}
	key := method{op.Name, op.Method, op.Route}
	s, ok := t.starts.get(key)
	if !ok {
		s = &start{op.Method + " " + op.Route, []attribute.KeyValue{attribute.String("connic.operation", op.Name)}}
		if op.Route == hook.Route { // common to all
			s.name = op.Name
		}
		if op.Method != "" {
			s.attrs = append(s.attrs, attribute.String("http.request.method", op.Method), attribute.String("url.template", op.Route))
		}
		t.starts.put(key, s)
	}
	with, span := t.tracer.Start(ctx, s.name, t.opts...)
	if span.IsRecording() {
		span.SetAttributes(s.attrs...)
	}
	if unset && !span.IsRecording() && !span.SpanContext().IsValid() {
		t.idle.Store(idleCalls)
	}
	return with, span
}

// method identifies the requests of an operation.
type method struct{ op, verb, route string }

// Inject implements [inject.Injector]. It also sees where requests go.
func (k *call) Inject(r *http.Request) {
	if k.host == "" {
		k.host, k.port = address(r.URL)
		if k.span.IsRecording() {
			full := url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path}
			if k.unnamed {
				full.Path = "/"
			}
			k.span.SetAttributes(
				attribute.String("server.address", k.host), attribute.Int("server.port", k.port),
				attribute.String("url.full", mask.Line(full.String(), maxURL)),
			)
		}
	}
	if k.t.propagator != nil && k.span.SpanContext().IsValid() {
		k.t.propagator.Inject(r.Context(), carrier{propagation.HeaderCarrier(r.Header)})
	}
}

// carrier is a HeaderCarrier that knows how the usual header is spelled.
type carrier struct{ propagation.HeaderCarrier }

// Set implements [propagation.TextMapCarrier].
func (c carrier) Set(key, value string) {
	if key == "traceparent" {
		c.HeaderCarrier["Traceparent"] = []string{value}
		return
	}
	c.HeaderCarrier.Set(key, value)
}

func address(u *url.URL) (host string, port int) {
	port = 443
	if u.Scheme == "http" {
		port = 80
	}
	if given := u.Port(); given != "" {
		if n, err := strconv.Atoi(given); err == nil {
			port = n
		}
	}
	return u.Hostname(), port
}

// observe handles the steps of a call.
func (t *telemetry) observe(ctx context.Context, e connic.Event) {
	k, ok := ctx.Value(callKey{t}).(*call)
	if !ok {
		return
	}
	recording := k.span.IsRecording()
	switch e.Kind {
	case connic.EventQueued:
		if recording {
			k.span.AddEvent("connic.queued", trace.WithAttributes(
				attribute.String("connic.reason", string(e.Reason)), attribute.Float64("connic.wait", e.Wait.Seconds()),
			))
		}
	case connic.EventAttempt:
		t.attempted(ctx, k, e)
		if recording {
			attrs := make([]attribute.KeyValue, 0, 4)
			attrs = append(attrs, attribute.Int("connic.attempt", e.Attempt), attribute.Float64("connic.duration", e.Duration.Seconds()))
			attrs = appendOutcome(attrs, e)
			k.span.AddEvent("connic.attempt", trace.WithAttributes(attrs...))
		}
	case connic.EventRetry:
		t.retried(ctx, e)
		if recording {
			k.span.AddEvent("connic.retry", trace.WithAttributes(
				attribute.String("connic.reason", string(e.Reason)), attribute.Float64("connic.wait", e.Wait.Seconds()),
			))
		}
	case connic.EventDeprecated:
		if recording && e.Deprecation != nil {
			attrs := []attribute.KeyValue{attribute.String("connic.deprecation", e.Deprecation.Text)}
			k.span.AddEvent("connic.deprecated", trace.WithAttributes(attrs...))
		}
	case connic.EventDone:
		t.done(ctx, e)
		if recording {
			k.finish(e)
		}
		k.span.End()
	}
}

// finish describes how the call ended.
func (k *call) finish(e connic.Event) {
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs,
		attribute.Int("connic.attempts", e.Attempt),
		attribute.String("connic.lane", laneName(e.Lane)),
		attribute.Float64("connic.queued", e.Queued.Seconds()),
	)
	if e.Attempt > 1 {
		attrs = append(attrs, attribute.Int("http.request.resend_count", e.Attempt-1))
	}
	if e.RequestID != "" {
		attrs = append(attrs, attribute.String("connic.request_id", e.RequestID))
	}
	attrs = appendOutcome(attrs, e)
	k.span.SetAttributes(attrs...)
	if errorType(e) != "" {
		// No description: the text of an error may quote the service.
		k.span.SetStatus(codes.Error, "")
	}
}

func appendOutcome(attrs []attribute.KeyValue, e connic.Event) []attribute.KeyValue {
	if e.StatusCode != 0 {
		attrs = append(attrs, attribute.Int("http.response.status_code", e.StatusCode))
	}
	if word := errorType(e); word != "" {
		attrs = append(attrs, attribute.String("error.type", word))
	}
	return attrs
}

func laneName(lane connic.Lane) string {
	switch lane {
	case connic.LanePoll:
		return "poll"
	case connic.LaneCancel:
		return "cancel"
	case connic.LaneLow:
		return "low"
	default:
		return "call"
	}
}
