package cases

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// runBody is a run of about 1 KB as the service writes it.
func runBody(i int) string {
	return fmt.Sprintf(`{"id":"7b1c4a52-7d0f-4a3e-9d0b-%012d","agent_name":"support","status":"completed",`+
		`"input":"Summarize the latest sales report and name the region that did best in the third quarter.",`+
		`"output":"%s","error":null,"run_context":{"user":"u-17","channel":"backend"},`+
		`"environment_id":"0f9a6f4e-5b3e-4f0e-8a51-5e0a4c1b7a10","deployment_id":"d1f0a2d5-1111-4222-8333-444455556666",`+
		`"created_at":"2026-11-23T10:00:00.123456Z","started_at":"2026-11-23T10:00:00.223456Z","ended_at":"2026-11-23T10:00:04.5Z",`+
		`"duration_ms":4276.544,"token_usage":{"input":120,"output":340,"thinking":0,"cached":0,"total":460},`+
		`"cost":"0.0123","currency":"EUR"}`, i, strings.Repeat("The west region did best. ", 12))
}

func listBody(n int) string {
	runs := make([]string, n)
	for i := range runs {
		runs[i] = runBody(i)
	}
	return `{"items":[` + strings.Join(runs, ",") + fmt.Sprintf(`],"total":%d,"limit":%d,"offset":0,"has_more":false}`, n, n)
}

// largeBody is a run with so many spans that it has about size bytes.
func largeBody(size int) string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(runBody(0), "}"))
	b.WriteString(`,"traces":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"span_id":"s-%08d","parent_span_id":"s-%08d","span_order":%d,"name":"tool call","type":"tool","status":"ok",`+
			`"start_time":"2026-11-23T10:00:00.123456Z","duration_ms":12.5,"metadata_json":"{\"tool_name\":\"search\",\"message\":\"%s\"}"}`,
			i, i/2, i, strings.Repeat("found a document about sales; ", 8))
	}
	b.WriteString(`]}`)
	return b.String()
}

const (
	triggerBody   = `{"run_id":"7b1c4a52-7d0f-4a3e-9d0b-000000000000","status":"queued","agent_name":"support"}`
	ingestionBody = `{"entry_id":"e-17","job_id":"j-17","status":"queued","queued":true}`
	errorBody     = `{"detail":"Run not found"}`
)

// floorRun has exactly the fields of runBody.
type floorRun struct {
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
	TokenUsage    floorUsage      `json:"token_usage"`
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

// floorLargeRun has the spans of largeBody too.
type floorLargeRun struct {
	floorRun
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

type floorPage struct {
	Items   []floorRun `json:"items"`
	Total   int        `json:"total"`
	Limit   int        `json:"limit"`
	Offset  int        `json:"offset"`
	HasMore bool       `json:"has_more"`
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
