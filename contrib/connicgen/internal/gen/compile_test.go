package gen

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// workspace makes a module that finds the client in this repository, with the given
// files in it.
func workspace(t *testing.T, files map[string]string) string {
	t.Helper()
	top, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		if name == "go.mod" { // the requirements of the client are those of the program
			text = strings.Replace(text, "module github.com/connic-go/connic", "module example.com/program", 1) +
				"\nrequire github.com/connic-go/connic v0.0.0\n\nreplace github.com/connic-go/connic => " + top + "\n"
		}
		files[name] = text
	}
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs the go command in a folder.
func run(t *testing.T, dir, input string, args ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -buildvcs=false", "GOWORK=off", "GOPROXY=off")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// random makes random documents along a schema. Most of them fit.
type random struct {
	*rand.Rand
	root  *jsonschema.Schema
	depth int
}

func (r *random) of(s *jsonschema.Schema) any {
	r.depth++
	defer func() { r.depth-- }()
	if s == nil || r.depth > 12 {
		return pick(r, []any{nil, "x", 1.5, true, []any{}, map[string]any{"a": nil}})
	}
	if s.Ref != "" {
		name := unescape(s.Ref[strings.LastIndexByte(s.Ref, '/')+1:])
		if def := r.root.Defs[name]; def != nil {
			return r.of(def)
		}
		return r.of(r.root.Definitions[name])
	}
	if s.Extra["nullable"] == true && r.IntN(4) == 0 {
		return nil
	}
	if union := append(append([]*jsonschema.Schema{}, s.AnyOf...), s.OneOf...); len(union) > 0 && s.Type == "" {
		return r.of(pick(r, union))
	}
	if len(s.AllOf) > 0 {
		return r.of(s.AllOf[0])
	}
	switch {
	case s.Const != nil:
		return *s.Const
	case len(s.Enum) > 0:
		return pick(r, s.Enum)
	}
	kind := s.Type
	if s.Types != nil {
		kind = pick(r, s.Types)
	}
	if kind == "" && s.Properties == nil {
		return pick(r, []any{nil, "x", -7, 1.5, true, []any{1, "a"}, map[string]any{"a": 1}})
	}
	switch kind {
	case "null":
		return nil
	case "string":
		return pick(r, []any{"", "x", "AB12", "2026-11-29T00:00:00Z", "a\u2028\"\\ b", strings.Repeat("long ", 10)})
	case "boolean":
		return r.IntN(2) == 0
	case "number":
		return pick(r, []any{0, -1.5, 0.5, 1e300, 3, json.Number("12345678901234567890.5")})
	case "integer":
		return pick(r, []any{0, 1, -1, json.Number("9223372036854775807"), json.Number("5.0"), json.Number("1e2"), int64(1 << 53)})
	case "array":
		list := []any{}
		for i := range r.IntN(4) {
			item := s.Items
			if i < len(s.PrefixItems) {
				item = s.PrefixItems[i]
			} else if i < len(s.ItemsArray) {
				item = s.ItemsArray[i]
			}
			list = append(list, r.of(item))
		}
		return list
	}
	object := map[string]any{}
	for key, property := range s.Properties {
		if r.IntN(3) > 0 || slices.Contains(s.Required, key) {
			object[key] = r.of(property)
		}
	}
	for _, key := range s.Required {
		if s.Properties[key] == nil {
			object[key] = "x"
		}
	}
	for range r.IntN(3) {
		if key := pick(r, []string{"new", "y", "x1"}); s.Properties[key] == nil {
			object[key] = r.of(s.AdditionalProperties)
		}
	}
	return object
}

func pick[T any](r *random, from []T) T { return from[r.IntN(len(from))] }

// What the schemas accept, the generated types decode; all of it compiles. The
// program gets a line for each document, with the name of its schema before it.
func TestTypesDecodeWhatTheirSchemasAccept(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds a program")
	}
	const each = 1000
	files := make(map[string]string)
	program := "package main\n\nimport (\n\t\"bufio\"\n\t\"fmt\"\n\t\"os\"\n\t\"strings\"\n\n\t\"github.com/connic-go/connic\"\n"
	cases := ""
	var documents bytes.Buffer
	total := 0
	for name, text := range hostile(t) {
		result, err := Generate(one(text), Options{Package: name})
		if err != nil {
			t.Fatal(err)
		}
		files[name+"/agents_gen.go"] = string(result.Code)
		program += fmt.Sprintf("\t%q\n", "example.com/program/"+name)
		cases += fmt.Sprintf("\t\tcase %q:\n\t\t\t_, err = %s.A.Output(run)\n", name, name)

		schema := new(jsonschema.Schema)
		// The library resolves no Python patterns, and no formats matter here.
		if err := json.Unmarshal([]byte(strings.ReplaceAll(text, `"^(?!x)(?P<name>[a-z]+)(?P=name)?$"`, `"^[a-z]*$"`)), schema); err != nil {
			t.Fatal(err)
		}
		resolved, err := schema.Resolve(nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := &random{Rand: rand.New(rand.NewPCG(1, uint64(len(name)))), root: schema}
		accepted := 0
		for range 20 * each {
			data, err := json.Marshal(r.of(schema))
			if err != nil {
				t.Fatal(err)
			}
			var plain any
			if json.Unmarshal(data, &plain) != nil || resolved.Validate(plain) != nil {
				continue
			}
			fmt.Fprintf(&documents, "%s %s\n", name, data)
			if accepted++; accepted == each {
				break
			}
		}
		if accepted < each/10 {
			t.Errorf("%s: only %d documents fit", name, accepted)
		}
		total += accepted
	}
	files["main.go"] = program + `)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		run := &connic.Run{ID: "r", Status: connic.RunCompleted, Output: text}
		var err error
		switch name {
` + cases + `		}
		if err != nil {
			fmt.Println(name, err, text)
		}
	}
}
`
	dir := workspace(t, files)
	if out, err := run(t, dir, "", "vet", "./..."); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := run(t, dir, documents.String(), "run", ".")
	if err != nil || out != "" {
		lines := 0
		for found := bufio.NewScanner(strings.NewReader(out)); found.Scan() && lines < 20; lines++ {
			t.Error(found.Text())
		}
		t.Error(err)
	}
	t.Logf("%d documents", total)
}

// A caller that does not fit the agents does not compile, and neither does one whose
// schema has changed.
func TestCallersThatDoNotCompile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds programs")
	}
	project := os.DirFS("../../testdata/invoices")
	result, err := Generate(project, Options{Package: "agents"})
	if err != nil {
		t.Fatal(err)
	}
	caller := func(body string) string {
		return "package main\n\nimport (\n\t\"context\"\n\n\t\"github.com/connic-go/connic\"\n\t\"example.com/program/agents\"\n)\n\nfunc call(ctx context.Context, c *connic.Client) {\n" + body + "\n}\n\nfunc main() {}\n"
	}
	good := caller("invoice, _, _ := agents.InvoiceExtractor.TriggerAndWait(ctx, c, agents.InvoiceExtractorInput{CustomerID: 7})\nvar vendor string = invoice.Vendor\n_ = vendor")
	files := map[string]string{"good/main.go": good, "agents/agents_gen.go": string(result.Code)}
	wrong := map[string]struct{ code, want string }{
		"input":      {caller(`_, _, _ = agents.InvoiceExtractor.TriggerAndWait(ctx, c, "a text")`), "InvoiceExtractorInput"},
		"result":     {caller("invoice, _, _ := agents.InvoiceExtractor.Wait(ctx, c, \"r\")\nvar n int64 = invoice.Vendor\n_ = n"), "invoice.Vendor"},
		"assignment": {caller("var a connic.AgentOf[string, string] = agents.InvoiceExtractor\n_ = a"), "agents.InvoiceExtractor"},
	}
	for name, w := range wrong {
		files[name+"/main.go"] = w.code
	}
	dir := workspace(t, files)
	if out, err := run(t, dir, "", "vet", "./good", "./agents"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, w := range wrong {
		if out, err := run(t, dir, "", "vet", "./"+name); err == nil || !strings.Contains(out, w.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	renamed := strings.NewReplacer(`json:"vendor"`, `json:"supplier"`, "Vendor ", "Supplier ").Replace(string(result.Code))
	if err := os.WriteFile(filepath.Join(dir, "agents", "agents_gen.go"), []byte(renamed), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, dir, "", "vet", "./good"); err == nil || !strings.Contains(out, "invoice.Vendor undefined") {
		t.Errorf("%v: %s", err, out)
	}
}
