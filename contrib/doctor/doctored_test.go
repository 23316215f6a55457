package doctor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/connic-go/connic/docs"
)

// doctored is a copy of the document with one change.
type doctored struct {
	name string
	edit func(d edited)
	// id, op and subject name the finding; text is a part of what it says.
	id, op, subject, text string
	severity              Severity
}

// edited is a document that is being changed.
type edited struct {
	t   *testing.T
	doc object
}

func copyOf(t *testing.T) edited {
	t.Helper()
	var doc object
	if err := json.Unmarshal(docs.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	return edited{t, doc}
}

func (d edited) text() []byte {
	d.t.Helper()
	text, err := json.Marshal(d.doc)
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

func (d edited) paths() object { return member(d.doc, "paths") }

// op is an operation, such as "get /runs".
func (d edited) op(line string) object {
	d.t.Helper()
	method, path, _ := strings.Cut(line, " ")
	o := member(member(d.paths(), "/projects/{project}"+path), method)
	if o == nil {
		d.t.Fatalf("there is no %s", line)
	}
	return o
}

func (d edited) fields(schema string) object {
	d.t.Helper()
	p := member(member(member(member(d.doc, "components"), "schemas"), schema), "properties")
	if p == nil {
		d.t.Fatalf("there is no schema %s", schema)
	}
	return p
}

// move renames a path.
func (d edited) move(from, to string) {
	d.t.Helper()
	paths := d.paths()
	item := paths["/projects/{project}"+from]
	if item == nil {
		d.t.Fatalf("there is no path %s", from)
	}
	delete(paths, "/projects/{project}"+from)
	paths[to] = item
}

// parameter finds a parameter of an operation.
func (d edited) parameter(line, name string) object {
	d.t.Helper()
	for _, p := range list(d.op(line)["parameters"]) {
		if p := p.(object); p["name"] == name {
			return p
		}
	}
	d.t.Fatalf("%s has no parameter %s", line, name)
	return nil
}

func (d edited) without(line, name string) {
	o := d.op(line)
	var rest []any
	for _, p := range list(o["parameters"]) {
		if p.(object)["name"] != name {
			rest = append(rest, p)
		}
	}
	o["parameters"] = rest
}

func (d edited) with(line string, p object) {
	o := d.op(line)
	o["parameters"] = append(list(o["parameters"]), p)
}

func (d edited) body(line string) object {
	for _, media := range member(member(d.op(line), "requestBody"), "content") {
		s := member(media.(object), "schema")
		if ref := text(s["$ref"]); ref != "" {
			return member(member(member(d.doc, "components"), "schemas"), ref[strings.LastIndex(ref, "/")+1:])
		}
		return s
	}
	d.t.Fatalf("%s has no body", line)
	return nil
}

// answer replaces the schema of an operation's answer.
func (d edited) answer(line string, s object) {
	d.op(line)["responses"] = object{"200": object{"description": "", "content": object{"application/json": object{"schema": s}}}}
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func array(name string) object { return object{"type": "array", "items": ref(name)} }

func properties(p object) object { return object{"type": "object", "properties": p} }

var cases = []doctored{
	{
		name: "path renamed", edit: func(d edited) { d.move("/runs", "/projects/{project_id}/agent-runs") },
		id: "path-moved", op: "runs.list", text: "It is at /projects/{project_id}/agent-runs", severity: Error,
	},
	{
		name: "path renamed, one level down", edit: func(d edited) { d.move("/audit-logs", "/projects/{id}/audit/logs") },
		id: "path-moved", op: "audit_logs.list", text: "/projects/{id}/audit/logs", severity: Error,
	},
	{
		name: "path with a placeholder renamed", edit: func(d edited) { d.move("/knowledge/jobs/{job}", "/projects/{p}/ingestion-jobs/{job_id}") },
		id: "path-moved", op: "knowledge.jobs_get", text: "/projects/{p}/ingestion-jobs/{job_id}", severity: Error,
	},
	{
		name: "action renamed", edit: func(d edited) { d.move("/runs/{run}/rerun", "/projects/{project}/runs/{run}/retry") },
		id: "path-moved", op: "runs.rerun", text: "/runs/{run}/retry", severity: Error,
	},
	{
		name: "method changed", edit: func(d edited) {
			item := member(d.paths(), "/projects/{project}/judges/{judge}")
			item["put"] = item["patch"]
			delete(item, "patch")
		},
		id: "method-changed", op: "judges.update", text: "Their method is PUT, ours PATCH", severity: Error,
	},
	{
		name: "operation missing", edit: func(d edited) { delete(d.paths(), "/projects/{project}/budgets/usage") },
		id: "operation-missing", op: "budgets.usage", text: "no such operation", severity: Error,
	},
	{
		name: "operation more", edit: func(d edited) {
			d.paths()["/projects/{project}/compliance/systems"] = object{"get": object{"responses": object{"200": object{"description": ""}}}}
		},
		id: "operation-more", subject: "GET /projects/{project}/compliance/systems", text: "does not offer", severity: Info,
	},
	{
		name: "base URL", edit: func(d edited) { d.doc["servers"] = []any{object{"url": "https://eu.connic.co/v2/"}} },
		id: "base-url", text: `"https://eu.connic.co/v2"`, severity: Warning,
	},
	{
		name: "new required parameter", edit: func(d edited) {
			d.with("get /runs", object{"name": "region", "in": "query", "required": true, "schema": object{"type": "string"}})
		},
		id: "new-required-request-parameter", op: "runs.list", subject: "region", text: "They need the parameter region", severity: Error,
	},
	{
		name: "new required header", edit: func(d edited) {
			d.with("get /runs", object{"name": "X-Tenant", "in": "header", "required": true, "schema": object{"type": "string"}})
		},
		id: "new-required-request-parameter", op: "runs.list", subject: "X-Tenant", text: "They need the parameter X-Tenant", severity: Error,
	},
	{
		name: "new optional parameter", edit: func(d edited) {
			d.with("get /agents", object{"name": "type", "in": "query", "schema": object{"type": "string"}})
		},
		id: "new-optional-request-parameter", op: "agents.list", subject: "type", text: "have a parameter type", severity: Info,
	},
	{
		name: "parameter gone", edit: func(d edited) { d.without("get /runs", "parent_run_id") },
		id: "request-parameter-removed", op: "runs.list", subject: "parent_run_id", text: "no parameter parent_run_id", severity: Warning,
	},
	{
		name: "parameter required", edit: func(d edited) { d.parameter("get /agents", "environment_id")["required"] = true },
		id: "request-parameter-became-required", op: "agents.list", subject: "environment_id", text: "became required", severity: Error,
	},
	{
		name: "parameter of another type", edit: func(d edited) { d.parameter("get /runs", "created_after")["schema"] = object{"type": "integer"} },
		id: "request-parameter-type-changed", op: "runs.list", subject: "created_after", text: "integer", severity: Error,
	},
	{
		name: "smaller pages", edit: func(d edited) { member(d.parameter("get /runs", "limit"), "schema")["maximum"] = 50 },
		id: "request-parameter-max-decreased", op: "runs.list", subject: "limit", text: "50", severity: Error,
	},
	{
		name: "status that a filter does not take", edit: func(d edited) {
			s := member(member(d.parameter("get /runs", "status"), "schema"), "items")
			s["enum"] = list(s["enum"])[1:]
		},
		id: "request-parameter-property-enum-value-removed", op: "runs.list", text: "scheduled", severity: Error,
	},
	{
		name: "cursor paging", edit: func(d edited) {
			d.without("get /runs", "offset")
			d.with("get /runs", object{"name": "cursor", "in": "query", "schema": object{"type": "string"}})
			d.answer("get /runs", properties(object{"items": array("Run"), "next_cursor": object{"type": []any{"string", "null"}}}))
		},
		id: "paging", op: "runs.list", subject: "cursor", text: "All follows it", severity: Warning,
	},
	{
		name: "cursor paging without a cursor that is known", edit: func(d edited) {
			d.without("get /runs", "offset")
			d.with("get /runs", object{"name": "after", "in": "query", "schema": object{"type": "string"}})
			d.answer("get /runs", properties(object{"items": array("Run"), "last_id": object{"type": "string"}}))
		},
		id: "paging", op: "runs.list", subject: "cursor", text: "does not know how to follow", severity: Error,
	},
	{
		name: "pages with numbers", edit: func(d edited) {
			d.without("get /judges", "offset")
			d.with("get /judges", object{"name": "page", "in": "query", "schema": object{"type": "integer"}})
			d.answer("get /judges", properties(object{"items": array("Judge")}))
		},
		id: "paging", op: "judges.list", subject: "page", text: "page numbers", severity: Error,
	},
	{
		name: "another envelope", edit: func(d edited) { d.answer("get /runs", properties(object{"rows": array("Run")})) },
		id: "envelope", op: "runs.list", subject: "rows", text: "is under rows", severity: Error,
	},
	{
		name: "an envelope that is understood", edit: func(d edited) { d.answer("get /runs", properties(object{"data": array("Run")})) },
		id: "envelope", op: "runs.list", subject: "data", text: "The client understands it", severity: Info,
	},
	{
		name: "list one level down", edit: func(d edited) {
			d.answer("get /agents", properties(object{"data": properties(object{"agents": array("Agent")})}))
		},
		id: "envelope", op: "agents.list", subject: "data.agents", text: "is under data.agents, which the client does not read", severity: Error,
	},
	{
		name: "no list", edit: func(d edited) { d.answer("get /agents", object{"type": "string"}) },
		id: "list-missing", op: "agents.list", text: "no list", severity: Error,
	},
	{
		name: "a list in place of an object", edit: func(d edited) { d.answer("get /runs/{run}", array("Run")) },
		id: "list-unexpected", op: "runs.get", text: "is a list", severity: Error,
	},
	{
		name: "object wrapped", edit: func(d edited) { d.answer("get /runs/{run}", properties(object{"run_info": ref("Run")})) },
		id: "wrapped", op: "runs.get", subject: "run_info", text: "is under run_info", severity: Error,
	},
	{
		name: "no answer", edit: func(d edited) { d.op("get /runs/{run}")["responses"] = object{"204": object{"description": ""}} },
		id: "answer-missing", op: "runs.get", text: "no JSON response", severity: Error,
	},
	{
		name: "field gone", edit: func(d edited) { delete(d.fields("Agent"), "max_concurrent_runs") },
		id: "response-optional-property-removed", op: "agents.get", subject: "max_concurrent_runs", text: "no field max_concurrent_runs", severity: Warning,
	},
	{
		name: "field more", edit: func(d edited) { d.fields("Agent")["owner"] = object{"type": "string"} },
		id: "response-optional-property-added", op: "agents.get", subject: "owner", text: "a field owner", severity: Info,
	},
	{
		name: "field renamed", edit: func(d edited) {
			f := d.fields("Budget")
			f["next_reset_at"] = f["resets_at"]
			delete(f, "resets_at")
		},
		id: "field-renamed", op: "budgets.get", subject: "resets_at", text: "It may be next_reset_at", severity: Warning,
	},
	{
		name: "field one level down", edit: func(d edited) {
			f := d.fields("Run")
			f["billing"] = properties(object{"cost": f["cost"]})
			delete(f, "cost")
		},
		id: "field-moved", op: "runs.get", subject: "cost", text: "is under billing.cost", severity: Warning,
	},
	{
		name: "field of a nested object gone", edit: func(d edited) { delete(d.fields("Span"), "metadata_json") },
		id: "response-optional-property-removed", op: "runs.get", subject: "traces.metadata_json", text: "no field traces.metadata_json", severity: Warning,
	},
	{
		name: "number for text", edit: func(d edited) { d.fields("Agent")["version"] = object{"type": "integer"} },
		id: "response-property-type-changed", op: "agents.get", subject: "version", text: "integer", severity: Warning,
	},
	{
		name: "text for number", edit: func(d edited) { d.fields("Evaluation")["score"] = object{"type": "string"} },
		id: "response-property-type-changed", op: "judges.evaluate", subject: "score", text: "string", severity: Warning,
	},
	{
		name: "object for text", edit: func(d edited) {
			d.fields("Agent")["model"] = properties(object{"provider": object{"type": "string"}})
		},
		id: "response-property-type-changed", op: "agents.get", subject: "model", text: "object", severity: Warning, // comes as its JSON
	},
	{
		name: "object for a number", edit: func(d edited) { d.fields("Agent")["timeout"] = object{"type": "object"} },
		id: "response-property-type-changed", op: "agents.get", subject: "timeout", text: "object", severity: Error,
	},
	{
		name: "a parameter that is taken once", edit: func(d edited) {
			d.parameter("get /runs", "status")["schema"] = object{"type": "string"}
		},
		id: "parameter-single", op: "runs.list", subject: "status", text: "one status", severity: Warning,
	},
	{
		name: "object for a list", edit: func(d edited) { d.fields("TestRun")["cases"] = object{"type": "object"} },
		id: "response-property-type-changed", op: "test_runs.get", subject: "cases", text: "array", severity: Error,
	},
	{
		name: "new enum value", edit: func(d edited) {
			d.fields("Run")["status"] = object{
				"type": "string",
				"enum": []any{"scheduled", "queued", "running", "awaiting_approval", "completed", "failed", "cancelled", "paused"},
			}
		},
		id: "response-property-enum-value-added", op: "runs.get", subject: "status", text: "paused", severity: Warning,
	},
	{
		name: "enum spelled in capital letters", edit: func(d edited) {
			d.fields("Job")["status"] = object{"type": "string", "enum": []any{"COMPLETED"}}
		},
		id: "response-property-enum-value-added", op: "knowledge.jobs_get", subject: "status", text: "COMPLETED", severity: Warning,
	},
	{
		name: "new required key", edit: func(d edited) {
			b := d.body("post /judges")
			member(b, "properties")["owner"] = object{"type": "string"}
			b["required"] = append(list(b["required"]), "owner")
		},
		id: "new-required-request-property", op: "judges.create", subject: "owner", text: "need the key owner", severity: Error,
	},
	{
		name: "key renamed", edit: func(d edited) {
			p := member(d.body("post /knowledge/query"), "properties")
			p["top_k"] = p["max_results"]
			delete(p, "max_results")
		},
		id: "request-property-removed", op: "knowledge.query", subject: "max_results", text: "no key max_results", severity: Warning,
	},
	{
		name: "key required", edit: func(d edited) { d.body("post /knowledge/text")["required"] = []any{"content", "namespace"} },
		id: "request-property-became-required", op: "knowledge.upload_text", subject: "namespace", text: "became required", severity: Error,
	},
	{
		name: "key of another type", edit: func(d edited) {
			member(d.body("post /budgets"), "properties")["amount"] = object{"type": "number"}
		},
		id: "request-property-type-changed", op: "budgets.create", subject: "amount", text: "number", severity: Error,
	},
	{
		name: "value that is not taken", edit: func(d edited) {
			member(member(d.body("post /budgets"), "properties"), "period")["enum"] = []any{"monthly"}
		},
		id: "request-property-enum-value-removed", op: "budgets.create", subject: "period", text: "daily", severity: Error,
	},
	{
		name: "null that is not taken", edit: func(d edited) {
			member(member(d.body("patch /budgets/{budget}"), "properties"), "agent_name")["type"] = "string"
		},
		id: "request-property-became-not-nullable", op: "budgets.update", subject: "agent_name", text: "not nullable", severity: Error,
	},
	{
		name: "smaller bound of a key", edit: func(d edited) {
			member(member(d.body("post /knowledge/query"), "properties"), "max_results")["maximum"] = 10
		},
		id: "request-property-max-decreased", op: "knowledge.query", subject: "max_results", text: "10", severity: Error,
	},
	{
		name: "another media type", edit: func(d edited) {
			content := member(member(d.op("post /knowledge/text"), "requestBody"), "content")
			content["application/x-www-form-urlencoded"] = content["application/json"]
			delete(content, "application/json")
		},
		id: "request-body-media-type-removed", op: "knowledge.upload_text", text: "application/json", severity: Error,
	},
	{
		name: "a body where there was none", edit: func(d edited) {
			d.op("post /runs/{run}/cancel")["requestBody"] = object{
				"required": true, "content": object{"application/json": object{"schema": properties(object{"reason": object{"type": "string"}})}},
			}
		},
		id: "request-body-added-required", op: "runs.cancel", text: "required request body", severity: Error,
	},
	{
		name: "errors without detail", edit: func(d edited) {
			d.op("get /runs")["responses"].(object)["404"] = object{
				"description": "", "content": object{"application/json": object{"schema": properties(object{"message": object{"type": "string"}})}},
			}
		},
		id: "error-shape", op: "runs.list", subject: "404", text: "no detail", severity: Warning,
	},
}

// harmless are changes that the client does not feel.
var harmless = map[string]func(d edited){
	"a time without a format":     func(d edited) { delete(member(d.fields("Run"), "created_at"), "format") },
	"an amount that is a number":  func(d edited) { d.fields("Run")["cost"] = object{"type": "number"} },
	"a whole number":              func(d edited) { d.fields("Run")["duration_ms"] = object{"type": "integer"} },
	"a context that is an object": func(d edited) { d.fields("Run")["run_context"] = object{"type": "object"} },
	"a field that is always there": func(d edited) {
		member(member(member(d.doc, "components"), "schemas"), "Run")["required"] = []any{"id"}
	},
	"an enum that is not one": func(d edited) { d.fields("Run")["status"] = object{"type": "string"} },
	"larger pages":            func(d edited) { member(d.parameter("get /runs", "limit"), "schema")["maximum"] = 500 },
	"no bound":                func(d edited) { delete(member(d.parameter("get /runs", "limit"), "schema"), "maximum") },
	"a description":           func(d edited) { d.op("get /runs")["description"] = "Lists runs." },
	"a body of any keys": func(d edited) {
		s := d.body("post /agents/{agent}/trigger")
		delete(s, "properties")
	},
	"an output that is an object": func(d edited) { d.fields("Run")["output"] = object{"type": "object"} },
	"an optional header": func(d edited) {
		d.with("get /runs", object{"name": "X-Trace", "in": "header", "schema": object{"type": "string"}})
	},
	"the authorization as a parameter": func(d edited) {
		d.with("get /runs", object{"name": "authorization", "in": "header", "required": true, "schema": object{"type": "string"}})
	},
}

func TestHarmlessDifferences(t *testing.T) {
	t.Parallel()
	for name, edit := range harmless {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := copyOf(t)
			edit(d)
			report, err := Drift(d.text())
			if err != nil {
				t.Fatal(err)
			}
			if worst, ok := report.Worst(); ok && worst > Info {
				t.Errorf("%+v", report.Findings)
			}
		})
	}
}

// TestDoctoredDocuments finds and names each difference, and finds nothing worse
// in other operations.
func TestDoctoredDocuments(t *testing.T) {
	t.Parallel()
	if len(cases) < 40 {
		t.Errorf("there are %d cases", len(cases))
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := copyOf(t)
			test.edit(d)
			report, err := Drift(d.text())
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, f := range report.Findings {
				found = found || f.ID == test.id && f.Operation == test.op && strings.Contains(f.Text, test.text) &&
					(test.subject == "" || f.Subject == test.subject) && f.Severity == test.severity
			}
			if !found {
				t.Errorf("not found: %+v", report.Findings)
			}
			if worst, _ := report.Worst(); worst != test.severity {
				t.Errorf("the worst is %s, want %s: %+v", worst, test.severity, report.Findings)
			}
		})
	}
}
