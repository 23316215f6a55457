package cases

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

// A Form is a way in which the service may write the same run. Figures depend
// on the form, so each figure is that of the worst form.
type Form struct {
	Name string
	text string // the output, as JSON
	rest string // members whose spelling depends on the form
}

// Forms are plain text without escapes; JSON inside strings; prose of several
// lines as models write it; and the same with each character outside ASCII
// escaped, as Python's encoder does.
var Forms = []Form{
	{"plain", quoted(strings.Repeat("The west region did best. ", 12), false), plainRest},
	{nested, quoted(strings.Repeat(`{"region": "west", "total": 72300}, `, 9), false), nestedRest},
	{"prose", quoted(prose, false), plainRest},
	{"ascii", quoted(prose, true), plainRest},
}

const (
	nested = "nested"

	plainRest = `"error":null,"run_context":{"user":"u-17","channel":"backend"},` +
		`"token_usage":{"input":120,"output":340,"thinking":0,"cached":0,"total":460}`
	nestedRest = `"error":null,"run_context":{"user":{"id":"u-17","roles":["reader"]},"channel":"backend"},` +
		`"token_usage":{"input_tokens":120,"output_tokens":340,"thinking_tokens":0,"cached_tokens":0,"total_tokens":460}`

	prose = "The west region did best in the third quarter:\n\n" +
		"• West – “72,300 €”, up 14 % 📈\n• Süd – 61.050 €, a little below plan\n• Øresund – 48 500 €\n\n" +
		"It’s worth asking why the others didn’t follow. I’d look at the café and résumé segments first…\n"
)

// quoted returns a string as JSON, in ASCII only if ascii is set.
func quoted(text string, ascii bool) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		panic(err) // a string always encodes
	}
	raw := strings.TrimSuffix(b.String(), "\n")
	if !ascii {
		return raw
	}
	b.Reset()
	for _, r := range raw {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, "\\u%04x\\u%04x", high, low)
		}
	}
	return b.String()
}

// numbered returns the text with a number in it, so that the texts of different
// runs and spans differ.
func (f Form) numbered(i int) string { return fmt.Sprintf(`"%d: `, i) + f.text[1:] }

// run returns a run of about 1 KB. Spans follow its other members.
func (f Form) run(i int, spans string) string {
	return fmt.Sprintf(`{"id":"7b1c4a52-7d0f-4a3e-9d0b-%012d","agent_name":"support","status":"completed",`+
		`"input":"%d: Summarize the latest sales report and name the region that did best in the third quarter.",`+
		`"output":%s,%s,`+
		`"environment_id":"0f9a6f4e-5b3e-4f0e-8a51-5e0a4c1b7a10","deployment_id":"d1f0a2d5-1111-4222-8333-444455556666",`+
		`"created_at":"2026-11-23T10:00:00.123456Z","started_at":"2026-11-23T10:00:00.223456Z","ended_at":"2026-11-23T10:00:04.5Z",`+
		`"duration_ms":4276.544,"cost":"0.0123","currency":"EUR"%s}`, i, i, f.numbered(i), f.rest, spans)
}

func (f Form) list(n int) string {
	runs := make([]string, n)
	for i := range runs {
		runs[i] = f.run(i, "")
	}
	return `{"items":[` + strings.Join(runs, ",") + fmt.Sprintf(`],"total":%d,"limit":%d,"offset":0,"has_more":false}`, n, n)
}

// spans returns n spans whose metadata is JSON inside a string.
func (f Form) spans(n int) string {
	var b strings.Builder
	b.WriteString(`,"traces":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"span_id":"s-%08d","parent_span_id":"s-%08d","span_order":%d,"name":"tool call","type":"tool","status":"ok",`+
			`"start_time":"2026-11-23T10:00:00.123456Z","duration_ms":12.5,"metadata_json":%s}`,
			i, i/2, i, quoted(`{"tool_name": "search", "message": `+f.numbered(i)+`}`, false))
	}
	b.WriteString(`]`)
	return b.String()
}

// large returns a run with as many spans as make about size bytes.
func (f Form) large(size int) string {
	const some = 100
	return f.run(0, f.spans(size*some/len(f.spans(some))))
}

// worst is the form for cases that are measured in a single one.
var worst = Forms[1]

const (
	triggerBody   = `{"run_id":"7b1c4a52-7d0f-4a3e-9d0b-000000000000","status":"queued","agent_name":"support"}`
	ingestionBody = `{"entry_id":"e-17","job_id":"j-17","status":"queued","queued":true}`
	errorBody     = `{"detail":"Run not found"}`
)

// floorRun has exactly the fields of a run. The form determines how the usage
// is spelled.
type floorRun[U any] struct {
	ID            string          `json:"id"`
	AgentName     string          `json:"agent_name"`
	Status        string          `json:"status"`
	Input         string          `json:"input"`
	Output        string          `json:"output"`
	Error         string          `json:"error"`
	RunContext    json.RawMessage `json:"run_context"`
	EnvironmentID string          `json:"environment_id"`
	DeploymentID  string          `json:"deployment_id"`
	CreatedAt     time.Time       `json:"created_at"`
	StartedAt     time.Time       `json:"started_at"`
	EndedAt       time.Time       `json:"ended_at"`
	DurationMS    float64         `json:"duration_ms"`
	TokenUsage    U               `json:"token_usage"`
	Cost          string          `json:"cost"`
	Currency      string          `json:"currency"`
}

type floorUsage struct {
	Input    int64 `json:"input"`
	Output   int64 `json:"output"`
	Thinking int64 `json:"thinking"`
	Cached   int64 `json:"cached"`
	Total    int64 `json:"total"`
}

// floorTokens is the usage in the nested form.
type floorTokens struct {
	Input    int64 `json:"input_tokens"`
	Output   int64 `json:"output_tokens"`
	Thinking int64 `json:"thinking_tokens"`
	Cached   int64 `json:"cached_tokens"`
	Total    int64 `json:"total_tokens"`
}

// floorSpannedRun also has spans.
type floorSpannedRun[U any] struct {
	floorRun[U]
	Traces []floorSpan `json:"traces"`
}

type floorSpan struct {
	SpanID       string    `json:"span_id"`
	ParentSpanID string    `json:"parent_span_id"`
	SpanOrder    int       `json:"span_order"`
	Name         string    `json:"name"`
	Type         string    `json:"type"`
	Status       string    `json:"status"`
	StartTime    time.Time `json:"start_time"`
	DurationMS   float64   `json:"duration_ms"`
	MetadataJSON string    `json:"metadata_json"`
}

type floorPage[U any] struct {
	Items   []floorRun[U] `json:"items"`
	Total   int           `json:"total"`
	Limit   int           `json:"limit"`
	Offset  int           `json:"offset"`
	HasMore bool          `json:"has_more"`
}

// The checks verify that a run is the one that was sent.
func (r *floorRun[U]) ok() bool        { return r.AgentName == "support" && !r.EndedAt.IsZero() }
func (r *floorSpannedRun[U]) ok() bool { return r.floorRun.ok() && len(r.Traces) > 0 }
func (p *floorPage[U]) ok() bool       { return len(p.Items) == 100 }

type checked interface{ ok() bool }

// The targets of a form are what the floor decodes into.
func (f Form) target() checked {
	if f.Name == nested {
		return new(floorRun[floorTokens])
	}
	return new(floorRun[floorUsage])
}

func (f Form) spannedTarget() checked {
	if f.Name == nested {
		return new(floorSpannedRun[floorTokens])
	}
	return new(floorSpannedRun[floorUsage])
}

func (f Form) pageTarget() checked {
	if f.Name == nested {
		return new(floorPage[floorTokens])
	}
	return new(floorPage[floorUsage])
}

type floorTrigger struct {
	RunID     string `json:"run_id"`
	Status    string `json:"status"`
	AgentName string `json:"agent_name"`
}

type floorIngestion struct {
	EntryID string `json:"entry_id"`
	JobID   string `json:"job_id"`
	Status  string `json:"status"`
	Queued  bool   `json:"queued"`
}
