package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/connic-go/connic/docs"
	"github.com/connic-go/connic/internal/api"
	"go.yaml.in/yaml/v3"
)

// walk changes every object of a document, the inner ones first.
func walk(v any, change func(object)) {
	switch v := v.(type) {
	case object:
		for _, inner := range v {
			walk(inner, change)
		}
		change(v)
	case []any:
		for _, inner := range v {
			walk(inner, change)
		}
	}
}

// withoutNull splits a list of types with null.
func withoutNull(o object) (rest []any, null bool) {
	types, ok := o["type"].([]any)
	if !ok || !slices.Contains(types, any("null")) {
		return nil, false
	}
	return slices.DeleteFunc(slices.Clone(types), func(t any) bool { return t == "null" }), true
}

// dialects are ways to write the same document.
var dialects = map[string]func(d edited){
	"as it is": func(edited) {},
	"OpenAPI 3.0": func(d edited) {
		d.doc["openapi"] = "3.0.3"
		walk(d.doc, func(o object) {
			if rest, ok := withoutNull(o); ok {
				delete(o, "type")
				if o["nullable"] = true; len(rest) == 1 {
					o["type"] = rest[0]
				} else if len(rest) < 5 {
					var options []any
					for _, of := range rest {
						options = append(options, object{"type": of})
					}
					o["oneOf"] = options
				}
			}
			if options := list(o["anyOf"]); len(options) == 2 && options[1].(object)["type"] == "null" {
				delete(o, "anyOf")
				o["allOf"], o["nullable"] = options[:1], true
			}
		})
	},
	"as frameworks write it": func(d edited) {
		walk(d.doc, func(o object) {
			if rest, ok := withoutNull(o); ok && len(rest) < 5 {
				delete(o, "type")
				options := []any{}
				for _, of := range rest {
					option := object{"type": of}
					for _, word := range []string{"items", "format", "enum", "minimum", "maximum", "pattern", "minItems", "additionalProperties", "properties"} {
						if o[word] != nil && (word != "format" || len(rest) == 1) {
							option[word] = o[word]
							delete(o, word)
						}
					}
					options = append(options, option)
				}
				o["anyOf"], o["title"] = append(options, object{"type": "null"}), "Title"
			}
			if o["2XX"] != nil {
				o["200"] = o["2XX"]
				delete(o, "2XX")
			}
		})
	},
	"other placeholders and slashes, the version in the paths": func(d edited) {
		d.doc["servers"] = []any{object{"url": "https://api.connic.co"}}
		paths := object{}
		for path, item := range d.paths() {
			paths["/v1"+strings.NewReplacer("{project}", "{project_id}", "{run}", "{run_id}", "{agent}", "{agent_name}").Replace(path)+"/"] = item
		}
		d.doc["paths"] = paths
	},
	"without a server": func(d edited) {
		delete(d.doc, "servers")
		paths := object{}
		for path, item := range d.paths() {
			paths["/v1"+path] = item
		}
		d.doc["paths"] = paths
	},
	"components by other names": func(d edited) {
		components := member(d.doc, "components")
		schemas := object{}
		for name, s := range member(components, "schemas") {
			schemas["app__models__"+name+"Response"] = s
		}
		components["schemas"] = schemas
		walk(d.doc, func(o object) {
			if name, ok := strings.CutPrefix(text(o["$ref"]), "#/components/schemas/"); ok {
				o["$ref"] = "#/components/schemas/app__models__" + name + "Response"
			}
		})
	},
	"parameters of the path": func(d edited) {
		for _, item := range d.paths() {
			item := item.(object)
			if len(item) == 1 {
				for _, o := range maps.Clone(item) {
					item["parameters"] = o.(object)["parameters"]
					delete(o.(object), "parameters")
				}
			}
		}
	},
}

func TestACopyIsTheSame(t *testing.T) {
	t.Parallel()
	for name, change := range dialects {
		for _, format := range []string{"JSON", "YAML"} {
			t.Run(name+", "+format, func(t *testing.T) {
				t.Parallel()
				d := copyOf(t)
				change(d)
				text := d.text()
				if format == "YAML" {
					var err error
					if text, err = yaml.Marshal(d.doc); err != nil {
						t.Fatal(err)
					}
				}
				report, err := Drift(text)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range report.Findings {
					t.Errorf("%+v", f)
				}
				for _, o := range report.Operations {
					if o.State != Same {
						t.Errorf("%+v", o)
					}
				}
			})
		}
	}
}

func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"items":`, 5000) + "{}" + strings.Repeat("}", 5000)
	wide := object{"openapi": "3.1.0", "paths": object{"/projects/{p}": object{"get": object{"responses": object{"200": ref("A0")}}}}}
	schemas := object{}
	for i := range 30 {
		next := ref(fmt.Sprintf("A%d", i+1))
		schemas[fmt.Sprintf("A%d", i)] = object{"properties": object{"a": next, "b": next, "c": next}}
	}
	wide["components"] = object{"schemas": schemas}
	exploding, err := json.Marshal(wide)
	if err != nil {
		t.Fatal(err)
	}
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for name, test := range map[string]struct{ text, want string }{
		"empty":           {"", "not OpenAPI 3"},
		"HTML":            {"<!doctype html><title>Sign in</title>", "neither JSON nor YAML"},
		"cut off":         {`{"openapi": "3.1.0", "paths": {`, "not JSON"},
		"Swagger":         {`{"swagger": "2.0", "paths": {}}`, "Swagger 2.0"},
		"no operations":   {`{"openapi": "3.1.0", "paths": {}}`, "no operations"},
		"paths of a kind": {`{"openapi": "3.1.0", "paths": [1]}`, "no operations"},
		"too large":       {"{" + strings.Repeat(" ", MaxDocument), "more than"},
		"exploding":       {string(exploding), "more than"},
		"YAML bomb":       {bomb, "excessive aliasing"},
	} {
		if _, err := Drift([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	for name, schema := range map[string]string{
		"deep":     deep,
		"circular": `{"$ref": "#/paths/~1projects~1{project}~1runs/get/responses/200/content/application~1json/schema"}`,
		"outside":  `{"$ref": "https://example.com/schema.json#/Run"}`,
		"a file":   `{"$ref": "file:///etc/passwd"}`,
		"nothing":  `{"$ref": "#/components/schemas/None"}`,
		"a number": `5`, "a list": `[]`, "null": `null`,
		"odd words": `{"type": {"a": 1}, "properties": [], "items": 7, "enum": {}, "anyOf": "x", "required": 3}`,
	} {
		text := `{"openapi": "3.1.0", "paths": {"/projects/{project}/runs": {"get": {"responses": {"200": {"description": "",
			"content": {"application/json": {"schema": ` + schema + `}}}}}}}}`
		report, err := Drift([]byte(text))
		if err != nil && name != "odd words" {
			t.Errorf("%s: %v", name, err)
		}
		if report != nil && len(report.Operations) != len(mustOwn(t).operations) {
			t.Errorf("%s: %d operations", name, len(report.Operations))
		}
	}
}

func mustOwn(t *testing.T) *document {
	t.Helper()
	doc, err := own()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestReports(t *testing.T) {
	t.Parallel()
	d := copyOf(t)
	d.move("/runs", "/projects/{id}/agent-runs")
	delete(d.fields("Agent"), "timeout")
	report, err := Drift(d.text())
	if err != nil {
		t.Fatal(err)
	}
	var markdown, encoded bytes.Buffer
	if err := report.WriteMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`connic.WithRoute("runs.list", "/projects/{project}/agent-runs")`, fmt.Sprintf("%d operations: %d the same, 2 differ, 1 moved, 0 missing", len(api.Table), len(api.Table)-3),
		"| error | runs.list | It is at /projects/{id}/agent-runs in their document. | assumed | `path-moved` |",
		"| warning | agents.get | Their response has no field timeout", "| runs.get | same |",
	} {
		if !strings.Contains(markdown.String(), want) {
			t.Errorf("the report does not say %s:\n%s", want, markdown.String())
		}
	}
	if err := report.WriteJSON(&encoded); err != nil {
		t.Fatal(err)
	}
	var decoded struct {
		Findings []struct{ Severity, ID, Remedy string }
	}
	if err := json.Unmarshal(encoded.Bytes(), &decoded); err != nil {
		t.Fatal(err)
	}
	if f := decoded.Findings[0]; f.Severity != "error" || f.ID != "path-moved" || !strings.HasPrefix(f.Remedy, "connic.WithRoute") {
		t.Errorf("the first finding is %+v", f)
	}
}

func TestReportsAreSafeToPrint(t *testing.T) {
	t.Parallel()
	d := copyOf(t)
	d.move("/runs", "/projects/{id}/runs\x1b[2J\n| x | cnc_a_key_in_a_path_0001")
	d.fields("Agent")["owner\x1b[31m\u202e"] = object{"type": "string"}
	d.answer("get /judges", properties(object{"rows\x1b\n": array("Judge")}))
	report, err := Drift(d.text())
	if err != nil {
		t.Fatal(err)
	}
	var markdown bytes.Buffer
	if err := report.WriteMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	if s := markdown.String(); strings.ContainsAny(s, "\x1b\u202e") || strings.Contains(s, "cnc_a_key_in_a_path_0001") || strings.Contains(s, "\n| x |") {
		t.Errorf("the report is not safe: %q", s)
	}
}

// TestAnotherService reads a document that is no copy of ours, and was written as
// frameworks write one.
func TestAnotherService(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "service.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Drift(text)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, f := range report.Findings {
		got[strings.Join([]string{f.Severity.String(), f.ID, f.Operation, f.Subject}, " ")] = true
	}
	for _, want := range []string{
		"error path-moved runs.list GET /projects/{project_id}/agent-runs",
		"error path-moved knowledge.upload_text POST /projects/{project_id}/retrieval/text",
		"error operation-missing judges.evaluate ",
		"error paging runs.list page",
		"error request-property-became-required knowledge.upload_text namespace",
		"warning parameter-single runs.list status",
		"warning field-renamed runs.get cost",
		"warning error-shape runs.get 404",
		"warning response-property-enum-value-added agents.list type",
		"info envelope agents.list array",
		"info field-alias agents.trigger run_id",
		"info field-alias runs.get token_usage.input",
		"info operation-more  GET /projects/{project_id}/compliance/overview",
	} {
		if !got[want] {
			t.Errorf("not found: %s", want)
		}
	}
	states := make(map[string]State)
	for _, o := range report.Operations {
		states[o.Operation] = o.State
	}
	for op, want := range map[string]State{"runs.list": Moved, "runs.get": Differs, "agents.get": Missing, "environments.list": Differs} {
		if states[op] != want {
			t.Errorf("%s is %s, want %s", op, states[op], want)
		}
	}
	var markdown bytes.Buffer
	if err := report.WriteMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"They have no parameters limit, offset. They", "no operations agents.get, runs.cancel, "} {
		if !strings.Contains(markdown.String(), want) {
			t.Errorf("the report does not say %s", want)
		}
	}
	for _, f := range report.Findings {
		if strings.Contains(f.Text, "key message") {
			t.Errorf("a trigger takes any key: %+v", f)
		}
	}
}

func TestOurDocumentIsNotChanged(t *testing.T) {
	t.Parallel()
	if _, err := Drift(docs.OpenAPI()); err != nil {
		t.Fatal(err)
	}
	fresh, err := parse(docs.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if !same(fresh, mustOwn(t)) {
		t.Error("a comparison changed our document")
	}
}
