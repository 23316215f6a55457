package connicotel

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

var day = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func at(ms int) connic.Time { return connic.Time{Time: day.Add(time.Duration(ms) * time.Millisecond)} }

func exportTo(ctx context.Context, t *testing.T, run *connic.Run, opts ...Option) map[string]sdktrace.ReadOnlySpan {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
		AttributeValueLengthLimit: -1, AttributeCountLimit: -1, EventCountLimit: -1, LinkCountLimit: -1,
		AttributePerEventCountLimit: -1, AttributePerLinkCountLimit: -1,
	}))
	ExportRun(ctx, tp.Tracer("test"), run, opts...)
	if len(recorder.Started()) != len(recorder.Ended()) {
		t.Fatalf("%d spans were started and %d ended", len(recorder.Started()), len(recorder.Ended()))
	}
	spans := make(map[string]sdktrace.ReadOnlySpan)
	for _, s := range recorder.Ended() {
		id := values(s.Attributes())["connic.span.id"]
		if id == "" {
			id = "run"
		}
		if spans[id] != nil {
			id += " again"
		}
		spans[id] = s
		if s.EndTime().Before(s.StartTime()) {
			t.Errorf("%s ends before it begins", s.Name())
		}
		if s.SpanContext().TraceID() != recorder.Ended()[0].SpanContext().TraceID() {
			t.Error("the run is more than one trace")
		}
	}
	return spans
}

func fullRun() *connic.Run {
	cost, _ := connic.ParseDecimal("0.0123")
	return &connic.Run{
		ID: "r1", AgentName: "support", Status: connic.RunCompleted, Input: "secret question", Output: "secret answer",
		StartedAt: day, EndedAt: day.Add(3 * time.Second), Cost: cost, Currency: "EUR",
		TokenUsage: connic.TokenUsage{Input: 10, Output: 20, Cached: 3, Thinking: 4, Total: 30},
		Traces: []connic.Span{
			{ID: "s1", Type: "agent", Name: "support", Status: "ok", StartTime: at(0), DurationMS: 2900},
			{ID: "s2", ParentID: "s1", Order: 1, Type: "llm", Name: "model", Status: "ok", StartTime: at(10), DurationMS: 500, Metadata: `{"model":"fake/large"}`},
			{ID: "s3", ParentID: "s1", Order: 2, Type: "tool", Name: "t", Status: "error", StartTime: at(600), DurationMS: 100.5, Metadata: `{"tool_name":"search","error":"secret failure"}`},
			{ID: "l1", ParentID: "s3", Type: "log", Name: "a line", StartTime: at(650)},
			{ID: "s4", ParentID: "s1", Order: 3, Type: "step", Name: "tidy up", Status: "ok"},
		},
	}
}

func TestARunBecomesSpans(t *testing.T) {
	t.Parallel()
	spans := exportTo(t.Context(), t, fullRun())
	if len(spans) != 5 {
		t.Fatalf("%d spans", len(spans))
	}
	want := map[string]struct {
		name, parent string
		kind         trace.SpanKind
		start, end   int
		status       codes.Code
	}{
		"run": {"invoke_agent support", "", trace.SpanKindClient, 0, 3000, codes.Unset},
		"s1":  {"invoke_agent support", "run", trace.SpanKindInternal, 0, 2900, codes.Unset},
		"s2":  {"chat fake/large", "s1", trace.SpanKindClient, 10, 510, codes.Unset},
		"s3":  {"execute_tool search", "s1", trace.SpanKindInternal, 600, 700, codes.Error},
		"s4":  {"tidy up", "s1", trace.SpanKindInternal, 700, 700, codes.Unset},
	}
	for id, w := range want {
		s := spans[id]
		if s == nil {
			t.Errorf("no %s", id)
			continue
		}
		start, end := s.StartTime().Sub(day).Milliseconds(), s.EndTime().Sub(day).Milliseconds()
		if s.Name() != w.name || s.SpanKind() != w.kind || start != int64(w.start) || end != int64(w.end) || s.Status().Code != w.status {
			t.Errorf("%s: %s %v from %d to %d, %v", id, s.Name(), s.SpanKind(), start, end, s.Status())
		}
		if w.parent == "" {
			if s.Parent().IsValid() {
				t.Errorf("%s has a parent", id)
			}
		} else if s.Parent().SpanID() != spans[w.parent].SpanContext().SpanID() {
			t.Errorf("%s is not below %s", id, w.parent)
		}
	}
	run := values(spans["run"].Attributes())
	for key, want := range map[string]string{
		"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "connic", "gen_ai.agent.name": "support",
		"gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": "20", "gen_ai.usage.cache_read.input_tokens": "3",
		"gen_ai.usage.reasoning.output_tokens": "4", "connic.run.cost": "0.0123", "connic.run.currency": "EUR",
		"connic.run.id": "r1", "connic.run.status": "completed",
	} {
		if run[key] != want {
			t.Errorf("%s is %q, want %q", key, run[key], want)
		}
	}
	if e := spans["s3"].Events(); len(e) != 1 || e[0].Name != "a line" || !e[0].Time.Equal(at(650).Time) {
		t.Errorf("log lines: %v", e)
	}
	if values(spans["s4"].Attributes())["connic.span.time_estimated"] != "true" {
		t.Error("a step without a time does not say so")
	}
	if values(spans["s2"].Attributes())["gen_ai.request.model"] != "fake/large" || values(spans["s3"].Attributes())["gen_ai.tool.name"] != "search" {
		t.Error("model and tool are not named")
	}
	for id, s := range spans {
		if text := fmt.Sprint(s.Attributes(), s.Events(), s.Status()); strings.Contains(text, "secret") {
			t.Errorf("%s tells a text: %s", id, text)
		}
	}
}

// No name leaves as it came, whatever step has it in whatever place.
func TestNamesAreMasked(t *testing.T) {
	t.Parallel()
	const key = "cnc_0123456789abcdef"
	bad := key + "\n\x1b[2J" + strings.Repeat("x", 2000)
	run := &connic.Run{
		ID: bad, AgentName: bad, Status: connic.RunStatus(bad), ParentRunID: bad, EnvironmentID: bad, DeploymentID: bad, ConnectorID: bad,
		Currency: bad, Cost: connic.MustDecimal("1"), Error: bad, Output: bad,
	}
	meta := fmt.Sprintf(`{"tool_name": %q, "model": %[1]q}`, strings.Repeat("x", 1000)+key)
	for i, kind := range []string{"tool", "llm", "agent", "step", "log", bad} {
		for j, metadata := range []string{"", meta, `{"tool_name": ""}`} {
			for k, name := range []string{bad, ""} {
				run.Traces = append(run.Traces, connic.Span{ID: fmt.Sprint(i, j, k, bad), Name: name, Type: kind, Status: bad, Metadata: metadata})
			}
		}
	}
	for _, s := range exportTo(t.Context(), t, run) {
		texts := []string{s.Name(), s.Status().Description}
		for _, v := range values(s.Attributes()) {
			texts = append(texts, v)
		}
		for _, e := range s.Events() {
			texts = append(texts, e.Name)
			for _, v := range values(e.Attributes) {
				texts = append(texts, v)
			}
		}
		for _, text := range texts {
			if strings.Contains(text, "456789") || strings.ContainsAny(text, "\n\x1b") || utf8.RuneCountInString(text) > maxName+len("execute_tool ") {
				t.Errorf("%.80q leaves with %d bytes", text, len(text))
			}
		}
	}
}

func TestTextsAreOptional(t *testing.T) {
	t.Parallel()
	run := fullRun()
	run.Status, run.Error = connic.RunFailed, "secret reason cnc_0123456789abcdef"
	run.Output = "ää\xffä"
	spans := exportTo(t.Context(), t, run, WithTexts(5))
	got := values(spans["run"].Attributes())
	if got["connic.run.input"] != "secre" || got["connic.run.output"] != "ää" || got["error.type"] != "failed" {
		t.Errorf("%v", got)
	}
	if s := spans["run"].Status(); s.Code != codes.Error || s.Description != "secre" {
		t.Errorf("%v", s)
	}
	if got := values(spans["s3"].Attributes())["connic.span.metadata"]; got != `{"too` {
		t.Errorf("metadata %q", got)
	}
	if s := exportTo(t.Context(), t, run, WithTexts(1000))["run"].Status(); strings.Contains(s.Description, "456789") || !strings.Contains(s.Description, "reason") {
		t.Errorf("%v", s)
	}
}

func TestARunIsLinkedToItsCall(t *testing.T) {
	t.Parallel()
	tp := sdktrace.NewTracerProvider()
	ctx, call := tp.Tracer("app").Start(t.Context(), "trigger")
	run := exportTo(ctx, t, fullRun())["run"]
	if links := run.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != call.SpanContext().SpanID() || run.Parent().IsValid() {
		t.Errorf("links %v, parent %v", links, run.Parent())
	}
	run = exportTo(ctx, t, fullRun(), AsChild())["run"]
	if run.Parent().SpanID() != call.SpanContext().SpanID() || len(run.Links()) != 0 {
		t.Errorf("as a child: links %v, parent %v", run.Links(), run.Parent())
	}
}

func TestRunsThatAreNotWell(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		run   *connic.Run
		spans int
	}{
		"nothing":     {nil, 0},
		"unfinished":  {&connic.Run{Status: connic.RunRunning}, 0},
		"empty":       {&connic.Run{}, 1},
		"no status":   {&connic.Run{Error: "x"}, 1},
		"strange":     {&connic.Run{Status: "exploded", AgentName: "a\nb\x00"}, 1},
		"backwards":   {&connic.Run{Status: connic.RunCompleted, StartedAt: day, EndedAt: day.Add(-time.Hour)}, 1},
		"no parents":  {&connic.Run{Traces: []connic.Span{{ID: "a", ParentID: "gone"}, {ID: "b", ParentID: "lost"}}}, 3},
		"a circle":    {&connic.Run{Traces: []connic.Span{{ID: "a", ParentID: "b"}, {ID: "b", ParentID: "a"}, {ID: "c", ParentID: "c"}}}, 4},
		"twins":       {&connic.Run{Traces: []connic.Span{{ID: "a"}, {ID: "a"}}}, 3},
		"only lines":  {&connic.Run{Traces: []connic.Span{{ID: "a", Type: "log"}, {ID: "b", Type: "LOG", ParentID: "a"}, {ID: "c", ParentID: "b"}}}, 2},
		"no number":   {&connic.Run{DurationMS: math.NaN(), Traces: []connic.Span{{ID: "a", DurationMS: math.NaN()}, {ID: "b", DurationMS: math.Inf(1)}, {ID: "c", DurationMS: -5}, {ID: "d", DurationMS: 1e300}}}, 5},
		"bad letters": {&connic.Run{AgentName: "\xff\xfe", ID: "\xff", Traces: []connic.Span{{ID: "\xff", Name: "\xff", Type: "tool", Metadata: "{"}}}, 2},
		"child first": {&connic.Run{Traces: []connic.Span{{ID: "a", StartTime: at(1000), DurationMS: 1}, {ID: "b", ParentID: "a", StartTime: at(0), DurationMS: 5000}}}, 3},
	}
	for name, test := range tests {
		if got := len(exportTo(t.Context(), t, test.run)); got != test.spans {
			t.Errorf("%s: %d spans, want %d", name, got, test.spans)
		}
	}
	// A child longer than its parent keeps its own times.
	spans := exportTo(t.Context(), t, tests["child first"].run)
	if s := spans["b"]; !s.StartTime().Equal(at(0).Time) || !s.EndTime().Equal(at(5000).Time) {
		t.Errorf("from %v to %v", s.StartTime(), s.EndTime())
	}
}

func TestTenThousandSteps(t *testing.T) {
	t.Parallel()
	chain, wide := &connic.Run{ID: "c"}, &connic.Run{ID: "w"}
	for i := range 10_000 {
		chain.Traces = append(chain.Traces, connic.Span{ID: fmt.Sprint(i), ParentID: fmt.Sprint(i + 1)})
		wide.Traces = append(wide.Traces, connic.Span{ID: fmt.Sprint(i), Order: -i})
	}
	for _, run := range []*connic.Run{chain, wide} {
		if got := len(exportTo(t.Context(), t, run)); got != 10_001 {
			t.Errorf("%s: %d spans", run.ID, got)
		}
	}
}

func TestOTLPOverHTTP(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	names := make(map[string]int)
	var failure error
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil || r.URL.Path != "/v1/traces" {
			failure = fmt.Errorf("%s: %w", r.URL.Path, err)
		}
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					names[s.GetName()]++
					if s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
						failure = fmt.Errorf("%s ends before it begins", s.GetName())
					}
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer receiver.Close()
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(receiver.URL+"/v1/traces"))
	if err != nil {
		t.Fatal(err)
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	run := fullRun()
	run.Traces = append(run.Traces, connic.Span{ID: "\xff\xfe", Name: "bad \xff letters", Metadata: "{\"x\":\"\xff\"}"})
	ExportRun(t.Context(), tp.Tracer("test"), run, WithTexts(100))
	if err := tp.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if failure != nil {
		t.Error(failure)
	}
	if names["invoke_agent support"] != 2 || names["execute_tool search"] != 1 || len(names) != 5 {
		t.Errorf("received %v", names)
	}
}
