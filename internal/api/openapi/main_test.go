package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/api"
)

func document31(t *testing.T) (text []byte, doc object) {
	t.Helper()
	text, err := render("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return text, doc
}

func TestDocumentIsCurrent(t *testing.T) {
	t.Parallel()
	text, _ := document31(t)
	written, err := os.ReadFile(filepath.Join("../../..", document))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, written) {
		t.Errorf("%s is not what go generate writes", document)
	}
}

func TestEveryOperationIsInTheDocumentAndNothingElse(t *testing.T) {
	t.Parallel()
	_, doc := document31(t)
	found := make(map[string]bool)
	for path, item := range doc["paths"].(object) {
		for method, o := range item.(object) {
			o := o.(object)
			name := o["operationId"].(string)
			op, ok := api.Lookup(name)
			if !ok || op.Route != path || !strings.EqualFold(op.Method, method) {
				t.Errorf("%s %s is %s, which the table has otherwise", method, path, name)
				continue
			}
			found[name] = true
			if o["x-status"] != string(op.Mark) || o["x-retry"] != op.Class.String() || o["x-source"] == "" {
				t.Errorf("%s: status %v, retry %v, source %v", name, o["x-status"], o["x-retry"], o["x-source"])
			}
			var query []string
			for _, p := range o["parameters"].([]any) {
				if p := p.(object); p["in"] == "query" {
					query = append(query, p["name"].(string))
				}
			}
			if !slices.Equal(query, op.Query) {
				t.Errorf("%s has the parameters %v, want %v", name, query, op.Query)
			}
			if body, want := keys(doc, o), slices.Sorted(slices.Values(op.Body)); op.Op != api.AgentsTrigger && !slices.Equal(body, want) {
				t.Errorf("%s has the body keys %v, want %v", name, body, want)
			}
		}
	}
	if len(found) != len(api.Table) {
		t.Errorf("%d operations, want %d", len(found), len(api.Table))
	}
}

// keys are the top-level keys of an operation's body.
func keys(doc, operation object) []string {
	body, ok := operation["requestBody"].(object)
	if !ok {
		return nil
	}
	var names []string
	for _, media := range body["content"].(object) {
		s := media.(object)["schema"].(object)
		if ref, ok := s["$ref"].(string); ok {
			s = doc["components"].(object)["schemas"].(object)[strings.TrimPrefix(ref, "#/components/schemas/")].(object)
		}
		for name := range s["properties"].(object) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Words of OpenAPI 3.0 that validators let pass in 3.1, where they mean nothing.
func TestNoWordsOfOlderVersions(t *testing.T) {
	t.Parallel()
	_, doc := document31(t)
	var look func(path string, v any)
	look = func(path string, v any) {
		switch v := v.(type) {
		case object:
			for name, inner := range v {
				if name == "nullable" || name == "example" {
					t.Errorf("%s/%s", path, name)
				}
				if _, isBool := inner.(bool); isBool && strings.HasPrefix(name, "exclusive") {
					t.Errorf("%s/%s is a boolean", path, name)
				}
				look(path+"/"+name, inner)
			}
		case []any:
			for _, inner := range v {
				look(path, inner)
			}
		}
	}
	look("", doc)
}

const sample = `package p

// Run is a run. It has more.
type Run struct {
	ID    string    ` + "`json:\"id\" api:\"documented,run_id,run.id,run_ids[]\"`" + `
	State State     ` + "`json:\"status,omitzero\" api:\"observed\"`" + ` // of the run
	Spans []Span    ` + "`json:\"traces\" api:\"observed\"`" + `
	Of    *Span     ` + "`json:\"of\" api:\"assumed\"`" + `
	Cost  Decimal   ` + "`json:\"cost\" api:\"assumed\"`" + `
	On    bool      ` + "`json:\"on\" api:\"observed,=true\"`" + `
	Queue bool      ` + "`json:\"-\"`" + `
	hide  int       ` + "`json:\"hide\"`" + `
}

type State string

const (
	Done State = "done"
	Open State = "open"
)

type Span struct {
	Order int ` + "`json:\"order\" api:\"assumed,.\"`" + `
}

type BudgetUpdate struct {
	Name  string          ` + "`json:\"name\" api:\"words\"`" + `
	State Nullable[State] ` + "`json:\"environment_id,omitzero\" api:\"assumed\"`" + `
	More  Nullable[bool]  ` + "`json:\"enabled,omitzero\" api:\"assumed\"`" + `
}
`

func TestSchemas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := newGenerator(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.reference("Run", answer); err != nil {
		t.Fatal(err)
	}
	if _, err := g.reference("BudgetUpdate", request); err != nil {
		t.Fatal(err)
	}
	all, err := g.schemas()
	if err != nil {
		t.Fatal(err)
	}
	delete(all, "Error")
	got, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	const from = `"x-source":"a convention of this client","x-status":"assumed"`
	const seen = `"x-source":"the vendor's command-line client","x-status":"observed"`
	want := `{"BudgetUpdate":{"additionalProperties":false,"properties":{` +
		`"enabled":{"type":"boolean","x-go":"BudgetUpdate.More",` + from + `},` +
		`"environment_id":{"enum":["done","open",null],"type":["string","null"],"x-go":"BudgetUpdate.State",` + from + `},` +
		`"name":{"minLength":1,"type":"string","x-go":"BudgetUpdate.Name","x-source":"the vendor's documentation describes it in words","x-status":"assumed"}},"required":["name"],"type":"object"},` +
		`"Run":{"description":"Run is a run.","properties":{` +
		`"cost":{"format":"decimal","type":["string","number","null"],"x-go":"Run.Cost",` + from + `},` +
		`"id":{"type":["string","null"],"x-go":"Run.ID","x-source":"the vendor's documentation of the REST API","x-status":"documented"},` +
		`"of":{"anyOf":[{"$ref":"#/components/schemas/Span"},{"type":"null"}],"x-go":"Run.Of",` + from + `},` +
		`"on":{"default":true,"type":["boolean","null"],"x-go":"Run.On",` + seen + `},` +
		`"run":{"properties":{"id":{"type":["string","null"],"x-alias-of":"id"}},"type":["object","null"],"x-alias-of":"id"},` +
		`"run_id":{"type":["string","null"],"x-alias-of":"id"},` +
		`"run_ids":{"items":{"type":["string","null"],"x-alias-of":"id"},"type":["array","null"],"x-alias-of":"id"},` +
		`"status":{"description":"of the run","type":["string","null"],"x-go":"Run.State","x-known-values":["done","open"],` + seen + `},` +
		`"traces":{"items":{"$ref":"#/components/schemas/Span"},"type":["array","null"],"x-go":"Run.Spans",` + seen + `}},` +
		`"type":"object"},` +
		`"Span":{"properties":{"order":{"format":"int64","maximum":9223372036854775807,"minimum":-9223372036854775808,` +
		`"type":["integer","null"],"x-go":"Span.Order",` + from + `}},"type":["object","string"]}}`
	if string(got) != want {
		t.Errorf("the schemas are\n%s\nwant\n%s", got, want)
	}
}

func TestAFieldWithoutAMarkIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "package p\n\ntype Run struct {\n\tID string `json:\"id\"`\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := newGenerator(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.reference("Run", answer); err != nil {
		t.Fatal(err)
	}
	if _, err := g.schemas(); err == nil || !strings.Contains(err.Error(), "Run: ID: its tag does not say how it is known") {
		t.Errorf("the error is %v", err)
	}
}

func TestAFieldWithAnotherMarkIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "package p\n\ntype Run struct {\n\tID string `json:\"id\" api:\"guessed\"`\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newGenerator(dir); err == nil || !strings.Contains(err.Error(), `p.go: Run: the field id is "guessed", which is no mark`) {
		t.Errorf("the error is %v", err)
	}
}
