package connictest

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// span is a step of a run, or a log line.
type span struct {
	id       string
	parent   *span
	order    int
	name     string
	kind     string
	status   string
	start    time.Time
	duration time.Duration
	metadata object
}

const spanOpen = "running" // the status of a span that has not ended

// Step runs f as a span of the run. It is within the innermost open step of the
// same goroutine, or else within the agent's own span, so that parallel steps
// are not within each other. Steps that are open when the run ends, end with it
// as failed; later ones are not recorded.
func (in Input) Step(name, kind string, f func() error) error {
	thread := goroutine()
	in.server.mu.Lock()
	step := in.run.begin(in.server.now(), name, kind, in.run.innermost(thread))
	outer := in.run.open[thread]
	in.run.enter(thread, step)
	in.server.mu.Unlock()
	problem := "the step " + noReturn
	defer func() {
		in.server.mu.Lock()
		defer in.server.mu.Unlock()
		step.end(in.server.now(), problem)
		in.run.enter(thread, outer)
	}()
	err := f()
	problem = errorText(err)
	return err
}

// Log adds a log line to the run's spans, within the innermost open step of the
// same goroutine.
func (in Input) Log(message string) {
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	line := in.run.begin(in.server.now(), message, "log", in.run.innermost(goroutine()))
	line.metadata = object{"message": message}
	line.end(in.server.now(), "")
}

// goroutine identifies the calling goroutine: "goroutine 7", from the header of
// a stack trace.
func goroutine() string {
	var header [64]byte
	name, _, _ := strings.Cut(string(header[:runtime.Stack(header[:], false)]), " [")
	return name
}

// innermost returns the span that contains the next step of a goroutine.
func (r *run) innermost(thread string) *span {
	if step := r.open[thread]; step != nil {
		return step
	}
	return r.root
}

// enter sets the innermost open step of a goroutine; nil means none.
func (r *run) enter(thread string, step *span) {
	switch {
	case step == nil:
		delete(r.open, thread)
	case r.open == nil:
		r.open = map[string]*span{thread: step}
	default:
		r.open[thread] = step
	}
}

// begin opens a span, which is not recorded if the run has ended.
func (r *run) begin(now time.Time, name, kind string, parent *span) *span {
	s := &span{
		id: fmt.Sprintf("%s-span-%d", r.id, len(r.spans)+1), parent: parent, order: len(r.spans),
		name: name, kind: kind, status: spanOpen, start: now,
	}
	if r.ended.IsZero() {
		r.spans = append(r.spans, s)
	}
	return s
}

// end ends a span, unless it has ended.
func (s *span) end(now time.Time, problem string) {
	if s.status != spanOpen {
		return
	}
	s.duration, s.status = now.Sub(s.start), "ok"
	if problem != "" {
		s.status = "error"
		s.metadata = object{"error": problem}
	}
}

func (s *span) object() object {
	o := object{
		"span_id": s.id, "parent_span_id": nil, "span_order": s.order, "name": s.name, "type": s.kind,
		"status": s.status, "start_time": timestamp(s.start), "duration_ms": float64(s.duration.Microseconds()) / 1000,
	}
	if s.parent != nil {
		o["parent_span_id"] = s.parent.id
	}
	if s.metadata != nil {
		if raw, err := json.Marshal(s.metadata); err == nil {
			o["metadata_json"] = string(raw)
		}
	}
	return o
}
