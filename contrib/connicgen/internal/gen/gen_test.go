package gen

import (
	"bytes"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// agentFile is the file of an agent, with more lines.
func agentFile(name, more string) string {
	return "version: \"1.0\"\nname: " + name + "\ndescription: Does it.\n" + more
}

// folder is a project in memory.
func folder(files map[string]string) fstest.MapFS {
	project := make(fstest.MapFS)
	for name, text := range files {
		project[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return project
}

// one is a project of one agent with a schema.
func one(schema string) fstest.MapFS {
	return folder(map[string]string{"agents/a.yaml": agentFile("a", "output_schema: out\n"), "schemas/out.json": schema})
}

// golden compares with a file, or writes it if CONNICGEN_WRITE is 1.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if os.Getenv("CONNICGEN_WRITE") == "1" {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs (%v); CONNICGEN_WRITE=1 writes it:\n%s", file, err, got)
	}
}

// hostile are the schemas of testdata/hostile, by their names.
func hostile(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/hostile/*.json")
	if err != nil || len(files) != 12 {
		t.Fatal(err, files)
	}
	schemas := make(map[string]string)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		schemas[strings.TrimSuffix(filepath.Base(file), ".json")] = string(data)
	}
	return schemas
}

func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	for name, schema := range hostile(t) {
		result, err := Generate(one(schema), Options{Package: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkSource(t, result.Code)
		golden(t, "testdata/hostile/"+name+".golden", append(result.Code, []byte("\n// warnings:\n// "+strings.Join(result.Warnings, "\n// ")+"\n")...))
	}
}

func TestProject(t *testing.T) {
	t.Parallel()
	result, err := Generate(os.DirFS("../../testdata/invoices"), Options{Package: "agents"})
	if err != nil || len(result.Warnings) > 0 {
		t.Fatal(err, result.Warnings)
	}
	golden(t, "../../testdata/invoices/agents_gen.golden", result.Code)
}

// What is wrong with a project is an error that names the place.
func TestRefusals(t *testing.T) {
	t.Parallel()
	object := func(properties string) fs.FS { return one(`{"type": "object", "properties": {` + properties + `}}`) }
	project := func(files ...string) fs.FS {
		all := make(map[string]string)
		for i := 0; i < len(files); i += 2 {
			all[files[i]] = files[i+1]
		}
		return folder(all)
	}
	for want, fsys := range map[string]fs.FS{
		"agents: the folder cannot be read":                                                                             project("schemas/x.json", "{}"),
		"agents: there is no agent":                                                                                     project("agents/_defaults.yaml", "model: x\n", "agents/.hidden/a.yaml", "x", "agents/a.yml", "x"),
		"schemas/out.json: it cannot be read":                                                                           project("agents/a.yaml", agentFile("a", "output_schema: out\n")),
		"schemas/out.json: it is no schema":                                                                             one(`{"type": "object"`),
		"schemas/out.json: it is no object":                                                                             one(`true`),
		`schemas/out.json#/type: it is not "object"`:                                                                    one(`{"properties": {}}`),
		`schemas/out.json#/type: it is not "object", which`:                                                             one(`{"type": "array"}`),
		`schemas/out.json#/properties/a/type: "bogus" is no type`:                                                       object(`"a": {"type": "bogus"}`),
		`schemas/out.json#/properties/a/$ref: "#/properties/b" is no definition`:                                        object(`"a": {"$ref": "#/properties/b"}`),
		`schemas/out.json#/properties/a/$ref: "other.json" is no definition`:                                            object(`"a": {"$ref": "other.json"}`),
		`#/$defs/x/$ref: the definition consists of itself`:                                                             one(`{"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/x"}}}`),
		`#/$defs/x/items/$ref: the definition consists of itself`:                                                       one(`{"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}}}`),
		`schemas/out.json#/properties/a,b: no struct tag`:                                                               object(`"a,b": {}`),
		`schemas/out.json#/properties/: no struct tag`:                                                                  object(`"": {}`),
		"schemas/out.json#/properties/a`b: no struct tag":                                                               object("\"a`b\": {}"),
		`schemas/out.json#/properties/a_b: its Go name AB is that of the property "a-b"`:                                object(`"a-b": {}, "a_b": {}`),
		`schemas/out.json#/properties/aB: its Go name OutAB is that of schemas/out.json#/properties/a/properties/b too`: object(`"a": {"type": "object", "properties": {"b": {"type": "object", "properties": {"x": {}}}}}, "aB": {"type": "string", "enum": ["x"]}`),
		`agents/a.yaml: output_schema "../out" is no name`:                                                              project("agents/a.yaml", agentFile("a", "output_schema: ../out\n")),
		`agents/a.yaml: the value of output_schema is no text`:                                                          project("agents/a.yaml", agentFile("a", "output_schema: [x]\n")),
		`agents/a.yaml: it has no key description`:                                                                      project("agents/a.yaml", "version: \"1\"\nname: a\n"),
		`agents/b.yaml: the name a is that of agents/a.yaml too`:                                                        project("agents/a.yaml", agentFile("a", ""), "agents/b.yaml", agentFile("a", "")),
		`agents/a.yaml: "A b" is no name of an agent`:                                                                   project("agents/a.yaml", agentFile("A b", "")),
		`agents/a.yaml: the type "other" is none of`:                                                                    project("agents/a.yaml", agentFile("a", "type: other\n")),
		`agents/a.yaml: it has more than one document`:                                                                  project("agents/a.yaml", agentFile("a", "---\nx: 1\n")),
		`agents/a.yaml: it is no mapping`:                                                                               project("agents/a.yaml", "- a\n"),
		`agents/a.yaml: yaml:`:                                                                                          project("agents/a.yaml", agentFile("a", "name: b\n")),
		`agents/x/_defaults.yaml: name belongs to the file of an agent`:                                                 project("agents/x/_defaults.yaml", "name: x\n", "agents/x/a.yaml", agentFile("a", "")),
		`agents/a.yaml: there is no agent "b"`:                                                                          project("agents/a.yaml", agentFile("a", "type: sequential\nagents: [b]\n")),
		`agents/a.yaml: the sequence contains itself: a -> b -> a`:                                                      project("agents/a.yaml", agentFile("a", "type: sequential\nagents: [b]\n"), "agents/b.yaml", agentFile("b", "type: sequential\nagents: [a]\n")),
		`agents/a.yaml: the name x-test-b is one of a variant`:                                                          project("agents/a.yaml", agentFile("x-test-b", "")),
		`agents/b.yaml: its Go name AB is that of agents/a.yaml too`:                                                    project("agents/a.yaml", agentFile("a-b", ""), "agents/b.yaml", agentFile("a--b", "")),
	} {
		result, err := Generate(fsys, Options{Package: "p"})
		if err == nil || result.Code != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// All errors at once.
	_, err := Generate(object(`"a": {"type": "x"}, "b": {"type": "y"}, "": {}`), Options{Package: "a-b", Names: map[string]string{"schemas/out.json": "lower"}})
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("%v", err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	schema := `{"type": "object", "title": "T", "properties": {"a": {"type": "string", "format": "date"}}, "required": ["b"]}`
	result, err := Generate(folder(map[string]string{
		"agents/a.yaml": agentFile("a", "output_schema: out\n"), "agents/a-test-b.yaml": agentFile("a-test-b", ""), "agents/t.yaml": agentFile("t", "type: tool\noutput_schema: out\n"),
		"schemas/out.json": schema, "contracts/nobody.input.json": "{}", "contracts/a.output.json": "{}",
	}), Options{Package: "p"})
	want := []string{
		"contracts/a.output.json: it is ignored: it types the output of agents of type tool, and a is one of type llm",
		"schemas/out.json#/title: the keyword is not among those that the service documents",
		"schemas/out.json#/properties/a/format: the keyword is not among those that the service documents",
		`schemas/out.json#/required: "b" is no property of the schema`,
		"agents/t.yaml: output_schema is ignored for agents of type tool",
		"agents/a-test-b.yaml: its output is string, and that of its base a is Out",
		"contracts/nobody.input.json: it is the contract of no agent: its name is not AGENT.input.json or AGENT.output.json",
	}
	if err != nil || strings.Join(result.Warnings, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v, %s", err, strings.Join(result.Warnings, "\n"))
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"customer_id": "CustomerID", "customerId": "CustomerID", "invoice-data": "InvoiceData", "HTTPStatus": "HTTPStatus", "url": "URL", "2nd": "X2nd",
		"": "X", "$": "X", "日本": "X日本", "größe": "Größe", "a.b c": "ABC", "éa": "Éa", "ǆ": "Ǆ", "a\u0301b": "AB",
	} {
		if got := pascal(name); got != want || !token.IsIdentifier(got) || !token.IsExported(got) {
			t.Errorf("%q becomes %s, want %s", name, got, want)
		}
	}
	names := map[string]string{
		"agents/a.yaml": "Agent", "schemas/out.json": "Answer", "schemas/out.json#/properties/a-b": "First", "schemas/out.json#/properties/l/items": "Line", "schemas/out.json#/$defs/d": "Def",
	}
	project := one(`{"type": "object", "properties": {"a-b": {"type": "string", "enum": ["x"]}, "a_b": {}, "l": {"type": "array", "items": {"type": "object", "properties": {"x": {}}}}, "r": {"$ref": "#/$defs/d"}},
		"$defs": {"d": {"type": "object", "properties": {"y": {}}}}}`)
	result, err := Generate(project, Options{Package: "p", Names: names})
	if err != nil {
		t.Fatal(err)
	}
	code := strings.Join(strings.Fields(string(result.Code)), " ")
	for _, want := range []string{"Agent connic.AgentOf[connic.TriggerRequest, Answer]", "type Answer struct", "First *AnswerFirst `", "AB json.RawMessage", "L []Line", "type Line struct", "R *Def ", "type Def struct"} {
		if !strings.Contains(code, want) {
			t.Errorf("%q is missing in\n%s", want, result.Code)
		}
	}
	names["schemas/out.json#/properties/nothing"] = "Nothing"
	if _, err := Generate(project, Options{Package: "p", Names: names}); err == nil || !strings.Contains(err.Error(), "--name schemas/out.json#/properties/nothing: there is no such name") {
		t.Error(err)
	}
	// A schema with the name of an agent.
	result, err = Generate(folder(map[string]string{"agents/a.yaml": agentFile("out", "output_schema: out\n"), "schemas/out.json": `{"type": "object", "properties": {"x": {}}}`}), Options{Package: "p"})
	if err != nil || !strings.Contains(string(result.Code), "Out connic.AgentOf[connic.TriggerRequest, OutOutput]") {
		t.Errorf("%v, %s", err, result.Code)
	}
}

// YAML is read as the vendor's client reads it.
func TestYAML(t *testing.T) {
	t.Parallel()
	outputs := func(files map[string]string) (found string, err error) {
		files["schemas/x.json"] = `{"type": "object", "properties": {"a": {}}}`
		files["schemas/y.json"] = `{"type": "object"}`
		g := &generator{fsys: folder(files), used: make(map[string]bool), taken: make(map[string]string), schemas: make(map[string]*schemaFile)}
		g.readAgents()
		for _, a := range g.agents {
			found += fmt.Sprintf("%s %s %s %v; ", a.name, a.kind, a.schema, a.steps)
		}
		return found, errors.Join(g.errs...)
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"byte order mark": {map[string]string{"agents/a.yaml": "\ufeff" + agentFile("a", "output_schema: x\n")}, "a llm x []; "},
		"CRLF":            {map[string]string{"agents/a.yaml": strings.ReplaceAll(agentFile("a", "output_schema: x\n"), "\n", "\r\n")}, "a llm x []; "},
		"quotes":          {map[string]string{"agents/a.yaml": agentFile("\"a\"", "output_schema: 'x'\n")}, "a llm x []; "},
		"null":            {map[string]string{"agents/a.yaml": agentFile("a", "output_schema: ~\ntype: llm\n")}, "a llm  []; "},
		"anchors":         {map[string]string{"agents/a.yaml": agentFile("&n a", "output_schema: *n\n")}, "a llm a []; "},
		"block":           {map[string]string{"agents/a.yaml": agentFile("a", "system_prompt: |\n  output_schema: y\noutput_schema: >-\n  x\n")}, "a llm x []; "},
		"marker":          {map[string]string{"agents/a.yaml": "---\n" + agentFile("a", "output_schema: x\n...\n")}, "a llm x []; "},
		"cascade": {map[string]string{
			"agents/_defaults.yaml": "output_schema: y\n", "agents/d/_defaults.yaml": "output_schema: x\ntype: llm\n", "agents/d/e/_defaults.yaml": "# nothing\n",
			"agents/a.yaml": agentFile("a", ""), "agents/d/e/b.yaml": agentFile("b", ""), "agents/d/c.yaml": agentFile("c", "output_schema: z\n"),
		}, "a llm y []; c llm z []; b llm x []; "},
		"joined steps": {map[string]string{
			"agents/_defaults.yaml": "type: sequential\nagents: [one, two]\n", "agents/s.yaml": agentFile("s", "agents: [two, three]\n"),
		}, "s sequential  [one two three]; "},
		"hidden": {map[string]string{"agents/a.yaml": agentFile("a", ""), "agents/.b.yaml": "x", "agents/.d/c.yaml": "x", "agents/README.md": "x", "agents/d.yml": "x"}, "a llm  []; "},
	} {
		if got, err := outputs(test.files); got != test.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}

// large is a project of n agents, each with a schema and an input of its own.
func large(n int) fstest.MapFS {
	project := make(fstest.MapFS)
	add := func(name, text string) { project[name] = &fstest.MapFile{Data: []byte(text)} }
	for i := range n {
		name := fmt.Sprintf("agent-%d", i)
		add(fmt.Sprintf("agents/team-%d/%s.yaml", i%10, name), agentFile(name, "output_schema: data-"+name+"\n"))
		var properties []string
		for j := range 10 {
			properties = append(properties, fmt.Sprintf(`"field_%d": {"type": ["string", "null"], "description": "The field %d.", "maxLength": 200}, "list_%d": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0}, "kind": {"type": "string", "enum": ["a", "b"]}}, "required": ["x"]}}`, j, j, j))
		}
		schema := `{"type": "object", "properties": {` + strings.Join(properties, ", ") + `}, "required": ["field_0", "list_0"]}`
		add("schemas/data-"+name+".json", schema)
		add("contracts/"+name+".input.json", `{"type": "object", "properties": {"id": {"type": "integer"}}}`)
	}
	return project
}

func BenchmarkGenerate300Agents(b *testing.B) {
	project := large(300)
	for b.Loop() {
		if _, err := Generate(project, Options{Package: "p"}); err != nil {
			b.Fatal(err)
		}
	}
}

// A project of 300 agents. Its time is reported only.
func TestLargeProject(t *testing.T) {
	t.Parallel()
	start := time.Now()
	result, err := Generate(large(300), Options{Package: "p"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("300 agents, %d KB of source: %v", len(result.Code)>>10, time.Since(start))
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", result.Code, 0)
	if err != nil || len(file.Decls) < 300*12 {
		t.Error(err)
	}
	again, err := Generate(large(300), Options{Package: "p"})
	if err != nil || !bytes.Equal(again.Code, result.Code) {
		t.Error("the output differs from run to run")
	}
}

// FuzzSchema generates from any schema: it does not panic, and what it writes is Go.
func FuzzSchema(f *testing.F) {
	for _, schema := range hostile(f) {
		f.Add([]byte(schema))
	}
	f.Add([]byte(`{"type": "object", "description": " +build x\n//go:build y\n\t+build z", "properties": {"a": {"pattern": "+build a", "type": "string"}}}`))
	f.Add([]byte(`{"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": ["object", "null"], "properties": {"a": {"$ref": "#/$defs/a"}}}}}`))
	f.Fuzz(func(t *testing.T, schema []byte) {
		result, err := Generate(one(string(schema)), Options{Package: "p"})
		if err != nil {
			if strings.Contains(err.Error(), "defect") {
				t.Error(err)
			}
			return
		}
		checkSource(t, result.Code)
	})
}

// FuzzAgent reads any file of an agent.
func FuzzAgent(f *testing.F) {
	f.Add([]byte(agentFile("a", "output_schema: out\n")), []byte("agents: [a]\n"))
	f.Add([]byte(agentFile("a", "type: sequential\nagents: [a, *x]\nguardrails: {input: [1]}\n")), []byte("- x\n"))
	f.Fuzz(func(t *testing.T, agent, defaults []byte) {
		project := one(`{"type": "object"}`)
		project["agents/a.yaml"].Data = agent
		project["agents/_defaults.yaml"] = &fstest.MapFile{Data: defaults}
		result, err := Generate(project, Options{Package: "p"})
		if err != nil {
			return
		}
		checkSource(t, result.Code)
	})
}

// A pipe or a device may have no end, and is not read.
func TestFilesThatAreNotRegular(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"schemas/out.json", "agents/_defaults.yaml"} {
		project := fstest.MapFS{
			"agents/a.yaml":    {Data: []byte("version: 1\nname: a\ndescription: d\noutput_schema: out\n")},
			"schemas/out.json": {Data: []byte(`{"type": "object"}`)},
		}
		project[name] = &fstest.MapFile{Mode: fs.ModeNamedPipe | 0o600}
		_, err := Generate(project, Options{Package: "p"})
		if err == nil || !strings.HasPrefix(err.Error(), name+": ") || !strings.Contains(err.Error(), "it is no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
