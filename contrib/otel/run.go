package connicotel

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/mask"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// The names are those of the GenAI conventions in semconv 1.41.0. They are
// still in development and are removed from later versions of the Go package,
// so they are repeated here.
const (
	genOperation   = attribute.Key("gen_ai.operation.name")
	genProvider    = attribute.Key("gen_ai.provider.name")
	genAgent       = attribute.Key("gen_ai.agent.name")
	genTool        = attribute.Key("gen_ai.tool.name")
	genModel       = attribute.Key("gen_ai.request.model")
	genInput       = attribute.Key("gen_ai.usage.input_tokens")
	genOutput      = attribute.Key("gen_ai.usage.output_tokens")
	genCached      = attribute.Key("gen_ai.usage.cache_read.input_tokens")
	genThinking    = attribute.Key("gen_ai.usage.reasoning.output_tokens")
	provider       = "connic"
	maxName        = 256
	maxSpanLasting = 366 * 24 * time.Hour
)

// WithTexts makes [ExportRun] include the input, output and error of the run,
// and the metadata of its spans, each truncated to maxBytes. Without it, only
// names are exported, and no text of a run leaves the process.
func WithTexts(maxBytes int) Option { return func(c *config) { c.texts = maxBytes } }

// AsChild makes the spans of a run children of the span in the context. Without
// it they form a separate trace that is linked to that span: a run outlives the
// call that started it, may be exported by another process, and would not be
// exported at all under a parent that was not sampled.
func AsChild() Option { return func(c *config) { c.child = true } }

// ExportRun creates the spans of a finished run, with the run's own times: one
// for the run, named invoke_agent and the name of the agent, and below it one
// per step, as arranged by [connic.Run.SpanTree]. Log lines become events. ctx
// holds the span of the call that started the run, if any: see [AsChild].
//
// A step without a start time begins where the previous one ended. A step that
// ends before it begins has no duration. A run that has not finished is not
// exported. Exporting a run twice creates its spans twice.
//
// ExportRun performs no I/O itself. The batch processor of the SDK drops spans
// beyond its queue, 2048 by default: flush it between large runs.
func ExportRun(ctx context.Context, tracer trace.Tracer, run *connic.Run, opts ...Option) {
	if run == nil || tracer == nil || unfinished(run.Status) {
		return
	}
	e := &export{config: newConfig(opts), tracer: tracer}
	roots := run.SpanTree()
	start, end := bounds(run)
	options := make([]trace.SpanStartOption, 0, 5)
	options = append(options, trace.WithTimestamp(start), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(e.runAttributes(run)...))
	if !e.child {
		options = append(options, trace.WithNewRoot())
		if trace.SpanContextFromContext(ctx).IsValid() {
			options = append(options, trace.WithLinks(trace.LinkFromContext(ctx)))
		}
	}
	ctx, span := tracer.Start(ctx, strings.TrimSpace("invoke_agent "+name(run.AgentName)), options...)
	if span.IsRecording() {
		e.steps(ctx, span, start, roots)
	}
	if run.Status != connic.RunCompleted && (run.Status != "" || run.Error != "") {
		text := ""
		if e.texts > 0 {
			text = e.cut(run.Error)
		}
		span.SetStatus(codes.Error, text)
		span.SetAttributes(attribute.String("error.type", failure(run.Status)))
	}
	span.End(trace.WithTimestamp(end))
}

func unfinished(s connic.RunStatus) bool {
	switch s {
	case connic.RunScheduled, connic.RunQueued, connic.RunRunning, connic.RunAwaitingApproval:
		return true
	default:
		return false
	}
}

// failure returns the kind of a run's failure.
func failure(s connic.RunStatus) string {
	if s.Known() {
		return string(s)
	}
	return "failed"
}

type export struct {
	config
	tracer trace.Tracer
}

func (e *export) runAttributes(run *connic.Run) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 20)
	add := func(key attribute.Key, value string) {
		if value != "" {
			attrs = append(attrs, key.String(name(value)))
		}
	}
	count := func(key attribute.Key, n int64) {
		if n > 0 {
			attrs = append(attrs, key.Int64(n))
		}
	}
	add(genOperation, "invoke_agent")
	add(genProvider, provider)
	add(genAgent, run.AgentName)
	add("connic.run.id", run.ID)
	add("connic.run.status", string(run.Status))
	add("connic.run.parent_id", run.ParentRunID)
	add("connic.environment.id", run.EnvironmentID)
	add("connic.deployment.id", run.DeploymentID)
	add("connic.connector.id", run.ConnectorID)
	count(genInput, run.TokenUsage.Input)
	count(genOutput, run.TokenUsage.Output)
	count(genCached, run.TokenUsage.Cached)
	count(genThinking, run.TokenUsage.Thinking)
	if !run.Cost.IsZero() {
		add("connic.run.cost", run.Cost.String()) // a string, so that it stays exact
		add("connic.run.currency", run.Currency)
	}
	if e.texts > 0 {
		attrs = append(attrs, attribute.String("connic.run.input", e.cut(run.Input)), attribute.String("connic.run.output", e.cut(run.Output)))
	}
	return attrs
}

// steps creates the spans of a forest. It does not recurse, because a run may
// be a chain of many thousands of steps.
func (e *export) steps(ctx context.Context, parent trace.Span, start time.Time, nodes []*connic.SpanNode) {
	type level struct {
		ctx   context.Context
		span  trace.Span
		nodes []*connic.SpanNode
		at    time.Time // end of the previous step
		end   time.Time // of the span itself
	}
	stack := []level{{ctx: ctx, span: parent, nodes: nodes, at: start}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.nodes) == 0 {
			if len(stack) > 1 && top.span != stack[len(stack)-2].span {
				top.span.End(trace.WithTimestamp(top.end))
			}
			stack = stack[:len(stack)-1]
			continue
		}
		node := top.nodes[0]
		top.nodes = top.nodes[1:]
		begin, end, estimated := when(node.Span, top.at)
		if top.at = begin; end.After(begin) {
			top.at = end
		}
		if strings.EqualFold(node.Type, "log") {
			top.span.AddEvent(firstName(node.Name, "log"), trace.WithTimestamp(begin), trace.WithAttributes(e.stepAttributes(node.Span, estimated)...))
			stack = append(stack, level{ctx: top.ctx, span: top.span, nodes: node.Children, at: begin})
			continue
		}
		title, kind, attrs := e.describe(node.Span, estimated)
		below, span := e.tracer.Start(top.ctx, title, trace.WithTimestamp(begin), trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
		if node.Status != "" && !node.OK() {
			span.SetStatus(codes.Error, "")
			span.SetAttributes(attribute.String("error.type", "failed"))
		}
		stack = append(stack, level{ctx: below, span: span, nodes: node.Children, at: begin, end: end})
	}
}

// describe names a step according to the conventions, if its type is known.
func (e *export) describe(s *connic.Span, estimated bool) (title string, kind trace.SpanKind, attrs []attribute.KeyValue) {
	attrs = e.stepAttributes(s, estimated)
	var meta struct {
		ToolName any `json:"tool_name"`
		Model    any `json:"model"`
	}
	_ = s.DecodeMetadata(&meta) // free-form JSON: missing values are not reported
	tool, _ := meta.ToolName.(string)
	model, _ := meta.Model.(string)
	switch kindOf := strings.ToLower(s.Type); {
	case strings.Contains(kindOf, "tool"):
		tool = firstName(tool, s.Name)
		return strings.TrimSpace("execute_tool " + tool), trace.SpanKindInternal,
			append(attrs, genOperation.String("execute_tool"), genTool.String(tool))
	case strings.Contains(kindOf, "llm"), strings.Contains(kindOf, "model"):
		attrs = append(attrs, genOperation.String("chat"), genProvider.String(provider))
		if model != "" {
			model = name(model)
			attrs = append(attrs, genModel.String(model))
		}
		return strings.TrimSpace("chat " + model), trace.SpanKindClient, attrs
	case strings.Contains(kindOf, "agent"):
		agent := name(s.Name)
		return strings.TrimSpace("invoke_agent " + agent), trace.SpanKindInternal,
			append(attrs, genOperation.String("invoke_agent"), genProvider.String(provider), genAgent.String(agent))
	}
	return firstName(s.Name, s.Type, "step"), trace.SpanKindInternal, attrs
}

func (e *export) stepAttributes(s *connic.Span, estimated bool) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs, attribute.String("connic.span.id", name(s.ID)), attribute.String("connic.span.type", name(s.Type)))
	if s.Status != "" {
		attrs = append(attrs, attribute.String("connic.span.status", name(s.Status)))
	}
	if estimated {
		attrs = append(attrs, attribute.Bool("connic.span.time_estimated", true))
	}
	if e.texts > 0 && s.Metadata != "" && json.Valid([]byte(s.Metadata)) {
		attrs = append(attrs, attribute.String("connic.span.metadata", e.cut(s.Metadata)))
	}
	return attrs
}

// when returns the start and end of a step. Without a start time, a step begins
// at the end of the previous one.
func when(s *connic.Span, before time.Time) (begin, end time.Time, estimated bool) {
	begin = s.StartTime.Time
	if begin.IsZero() {
		begin, estimated = before, true
	}
	return begin, begin.Add(length(s.DurationMS)), estimated
}

// length converts a duration in milliseconds, which may be any number.
func length(ms float64) time.Duration {
	if !(ms > 0) || math.IsInf(ms, 0) { // NaN too
		return 0
	}
	return time.Duration(min(ms*float64(time.Millisecond), float64(maxSpanLasting)))
}

// bounds returns the start and end of a run, taken from its steps if it has
// none of its own.
func bounds(run *connic.Run) (start, end time.Time) {
	start = run.StartedAt
	if start.IsZero() {
		start = run.CreatedAt
	}
	var first, last time.Time
	for i := range run.Traces {
		s := &run.Traces[i]
		if s.StartTime.IsZero() {
			continue
		}
		begin, finish, _ := when(s, time.Time{})
		if first.IsZero() || begin.Before(first) {
			first = begin
		}
		if finish.After(last) {
			last = finish
		}
	}
	if start.IsZero() {
		start = first
	}
	end = run.EndedAt
	if d := length(run.DurationMS); end.IsZero() && d > 0 && !start.IsZero() {
		end = start.Add(d)
	}
	if end.IsZero() {
		end = last
	}
	switch {
	case start.IsZero() && end.IsZero():
		start = time.Now()
		end = start
	case start.IsZero():
		start = end
	}
	if end.Before(start) {
		end = start
	}
	return start, end
}

// name makes a name suitable as a label: one short line without a key.
func name(s string) string { return mask.Line(s, maxName) }

// firstName returns the first of several names that is not empty.
func firstName(names ...string) string {
	for _, s := range names {
		if s = name(s); s != "" {
			return s
		}
	}
	return ""
}

// cut truncates a text for an attribute.
func (e *export) cut(s string) string {
	return cutAt(strings.ToValidUTF8(mask.Text(s), "\ufffd"), e.texts)
}

// cutAt truncates a string between two characters.
func cutAt(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
