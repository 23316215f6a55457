// Package doctor compares the assumptions of package connic about the Connic
// API with the service: with its OpenAPI document, or with its responses. It
// implements the command connic-doctor; see docs/doctor.md.
package doctor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/mask"
)

// Severity is the effect of a difference on programs that use the client.
type Severity int

const (
	// Info is a difference that the client copes with, or an addition.
	Info Severity = iota
	// Warning means that something that the client reads or offers is missing.
	Warning
	// Error means that calls of the operation fail, or do something else than
	// intended.
	Error
)

func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// MarshalText implements [encoding.TextMarshaler].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Finding is one difference.
type Finding struct {
	Severity Severity `json:"severity"`
	// ID is the kind of difference, such as path-moved.
	ID string `json:"id"`
	// Operation is the operation of the client, such as runs.list, or empty if
	// only the service has it.
	Operation string `json:"operation,omitempty"`
	// Subject is the parameter or field, or the operation of the service.
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	// Remedy is what a program can do about the difference without a new
	// version of the client.
	Remedy string `json:"remedy,omitempty"`
	// Mark says how the client knows what differs: documented, observed or
	// assumed.
	Mark string `json:"mark,omitempty"`
}

// State is the state of an operation in a report.
type State string

// The states of an operation.
const (
	Same    State = "same"    // found without differences
	Differs State = "differs" // found
	Moved   State = "moved"   // found at another path, or with another method
	Missing State = "missing"
	Skipped State = "skipped" // not requested; see the findings
)

// A Result is what was found out about an operation of the client.
type Result struct {
	Operation string `json:"operation"`
	State     State  `json:"state"`
	Ours      string `json:"ours"`             // "GET /projects/{project}/runs"
	Theirs    string `json:"theirs,omitempty"` // if different
	Status    int    `json:"status,omitempty"` // of the response, in a live comparison
	Envelope  string `json:"envelope,omitempty"`
	Paging    string `json:"paging,omitempty"`
}

// A Report is the result of a comparison.
type Report struct {
	Operations []Result  `json:"operations"`
	Findings   []Finding `json:"findings"`
	Requests   int       `json:"requests,omitempty"` // sent by a live comparison
}

// Worst returns the severity of the worst finding. It reports false if there
// are none.
func (r *Report) Worst() (worst Severity, ok bool) {
	for _, f := range r.Findings {
		worst = max(worst, f.Severity)
	}
	return worst, len(r.Findings) > 0
}

// add adds a finding. Text quoted from the service becomes one safe line.
func (r *Report) add(f Finding) {
	for _, s := range []*string{&f.Subject, &f.Text, &f.Remedy} {
		*s = mask.Line(*s, maxText)
	}
	r.Findings = append(r.Findings, f)
}

// maxText is the maximum length of a text in a report, in bytes.
const maxText = 500

// sort sorts the findings by severity, and otherwise keeps the order of the
// operations.
func (r *Report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
}

// WriteJSON writes the report as JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	report := *r
	if report.Findings == nil {
		report.Findings = []Finding{} // rather than null
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

// WriteMarkdown writes the report as Markdown, for an issue.
func (r *Report) WriteMarkdown(w io.Writer) error {
	counts := make(map[State]int)
	for _, o := range r.Operations {
		counts[o.State]++
	}
	severities := make(map[Severity]int)
	for _, f := range r.Findings {
		severities[f.Severity]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Drift of the Connic API\n\n%d operations: %d the same, %d differ, %d moved, %d missing, %d not requested. ",
		len(r.Operations), counts[Same], counts[Differs], counts[Moved], counts[Missing], counts[Skipped])
	fmt.Fprintf(&b, "%d errors, %d warnings, %d notes.\n", severities[Error], severities[Warning], severities[Info])
	if r.Requests > 0 {
		fmt.Fprintf(&b, "\nRequests sent: %d, all of them reads.\n", r.Requests)
	}
	if lines := r.routes(); len(lines) > 0 {
		b.WriteString("\nOptions that correct the paths for now:\n\n```go\n" + strings.Join(lines, "\n") + "\n```\n")
	}
	if len(r.Findings) > 0 {
		b.WriteString("\n| | Operation | What | Known | |\n| --- | --- | --- | --- | --- |\n")
		for _, f := range grouped(r.Findings) {
			what := f.Text
			if f.Remedy != "" && !strings.HasPrefix(f.Remedy, "connic.WithRoute(") {
				what += " " + f.Remedy
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | `%s` |\n", f.Severity, cell(f.Operation), cell(what), f.Mark, f.ID)
		}
	}
	b.WriteString("\n| Operation | State | Here | There | Envelope | Paging |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, o := range r.Operations {
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s | %s | %s |\n", o.Operation, o.State, o.Ours, cell(o.Theirs), cell(o.Envelope), cell(o.Paging))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// groups lists the findings that may occur many times, and the line that
// summarizes them.
var groups = map[string]string{
	"response-optional-property-removed": "Their response has no fields %s, so they keep their defaults.",
	"operation-missing":                  "Their document has no operations %s. They may not be part of the public API; calls of them fail with a 403 or 404.",
	"request-parameter-removed":          "They have no parameters %s. They may be refused, or ignored.",
	"field-never-seen":                   "The fields %s were in none of the responses.",
	"field-unknown":                      "The responses have the fields %s, which the client does not read.",
}

// grouped merges the findings of one kind for one operation.
func grouped(findings []Finding) []Finding {
	type kind struct{ id, op, mark string }
	many := make(map[kind][]string)
	of := func(f Finding) (kind, string) {
		if f.ID == "operation-missing" {
			return kind{f.ID, "", f.Mark}, f.Operation
		}
		return kind{f.ID, f.Operation, f.Mark}, f.Subject
	}
	for _, f := range findings {
		k, subject := of(f)
		many[k] = append(many[k], subject)
	}
	var lines []Finding
	for _, f := range findings {
		k, _ := of(f)
		subjects := many[k]
		if groups[f.ID] != "" && len(subjects) != 1 {
			if len(subjects) == 0 {
				continue // already part of a line
			}
			f.Operation, f.Text, f.Remedy = k.op, fmt.Sprintf(groups[f.ID], strings.Join(subjects, ", ")), ""
			delete(many, k)
		}
		lines = append(lines, f)
	}
	return lines
}

// routes returns the options that correct moved paths.
func (r *Report) routes() []string {
	var lines []string
	for _, f := range r.Findings {
		if strings.HasPrefix(f.Remedy, "connic.WithRoute(") {
			lines = append(lines, f.Remedy)
		}
	}
	return lines
}

// cell escapes a text for a table cell, in which it becomes neither a link nor an
// image, HTML or a mention.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ", "<", "&lt;", "[", "&#91;", "]", "&#93;", "@", "&#64;", "`", "&#96;").Replace(s)
}
