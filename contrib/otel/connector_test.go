package connicotel

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/hook"
	"github.com/connic-go/connic/internal/leaktest"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A connector is instrumented with the options of a client. Its URL shows
// nowhere.
func TestCallsOfConnectors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.srv.Agent("a", func(_ context.Context, in connictest.Input) (any, error) {
		if in.Message == "fail" {
			return nil, errors.New("no")
		}
		return "x", nil
	})
	fake := r.srv.Connector("a")
	var parents []string
	transport := roundTrip(func(req *http.Request) (*http.Response, error) {
		parents = append(parents, req.Header.Get("Traceparent"))
		return r.srv.Transport().RoundTrip(req)
	})
	c, err := connector.New(fake.URL()+"?tenant=t-91827364", fake.Secret(), connector.WithHTTPClient(&http.Client{Transport: transport}),
		connector.WithTelemetry(Options(WithTracerProvider(r.tracer), WithMeterProvider(r.meter))...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, parent := r.tracer.Tracer("test").Start(t.Context(), "parent")
	_, err = c.Call(ctx, connector.Input{Message: "m"})
	_, failed := c.Call(ctx, connector.Input{Message: "fail"})
	_, sent := c.Send(ctx, connector.Input{Message: "m"})
	fake.Inbound()
	_, crossed := c.Call(ctx, connector.Input{Message: "m"})
	r.srv.Fault(connictest.Fault{Op: "connectors.inbound", HTML: true})
	_, garbage := c.Send(ctx, connector.Input{Message: "m"})
	parent.End()
	if err != nil || failed == nil || sent != nil || crossed == nil || garbage == nil {
		t.Errorf("%v, %v, %v, %v, %v", err, failed, sent, crossed, garbage)
	}
	var told leaktest.Record
	told.Print(r.everything(t))
	want := []string{"connectors.call ", "connectors.call run", "connectors.send ", "connectors.call mode", "connectors.send decode", "parent "}
	var got []string
	for i, s := range r.spans.Ended() {
		attrs := values(s.Attributes())
		told.Print(s.Name(), attrs, s.Events())
		got = append(got, s.Name()+" "+attrs["error.type"])
		if s.Name() == "parent" {
			continue
		}
		if attrs["connic.operation"] != s.Name() || attrs["http.request.method"] != "POST" || attrs["url.template"] != hook.Route ||
			!strings.HasSuffix(attrs["url.full"], "/") || (s.Status().Code == codes.Error) != (attrs["error.type"] != "") {
			t.Errorf("%v", attrs)
		}
		if s.Parent().SpanID() != parent.SpanContext().SpanID() || !strings.Contains(parents[i], s.SpanContext().SpanID().String()) {
			t.Errorf("%v is propagated as %s", s.SpanContext(), parents[i])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if where := leaktest.For(string(fake.Secret()), fake.Path(), "t-91827364").In(told.String()); where != "" {
		t.Errorf("%.400s", where)
	}
}

// A message of a chat is no request, and how a reply ends is the type of its
// error.
func TestCallsWithoutARequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	telemetry, err := connic.NewTelemetry(Options(WithTracerProvider(r.tracer), WithMeterProvider(r.meter))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []connic.EventKind{connic.EventAttempt, connic.EventDone} {
		ctx := telemetry.Begin(t.Context(), connic.Operation{Name: "chat.send", Route: hook.Route, Class: "unsafe"})
		telemetry.Observe(ctx, connic.Event{Kind: kind, Op: "chat.send", Route: hook.Route, Attempt: 1, Duration: time.Second, Err: &connic.RunError{Run: new(connic.Run)}})
	}
	ctx := telemetry.Begin(t.Context(), connic.Operation{Name: "chat.send", Route: hook.Route})
	telemetry.Observe(ctx, connic.Event{Kind: connic.EventDone, Op: "chat.send", Err: errors.New("busy")})
	if word := values(r.spans.Ended()[1].Attributes())["error.type"]; word != "not_sent" {
		t.Error(word)
	}
	attrs := values(r.spans.Ended()[0].Attributes())
	if _, method := attrs["http.request.method"]; method || r.spans.Ended()[0].Name() != "chat.send" || attrs["error.type"] != "run" {
		t.Errorf("%v", attrs)
	}
	lines := strings.Join(r.everything(t), "\n")
	if strings.Contains(lines, "http.client.request.duration") || !strings.Contains(lines, "connic.client.call.duration") || !strings.Contains(lines, "chat.send") {
		t.Error(lines)
	}
}

// Options given twice are two sets of spans, each of which ends.
func TestOptionsGivenTwice(t *testing.T) {
	t.Parallel()
	inner := newRig(t)
	r := newRig(t, Options(WithTracerProvider(inner.tracer), WithMeterProvider(inner.meter))...)
	if _, err := r.client.Project.Get(t.Context()); err != nil {
		t.Error(err)
	}
	for _, span := range []sdktrace.ReadOnlySpan{r.only(t), inner.only(t)} {
		if names := eventNames(span); !slices.Equal(names, []string{"connic.attempt"}) {
			t.Errorf("%q", names)
		}
	}
}
