package gen

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// imported are the declarations of other packages that generated source uses.
var imported = map[string]string{
	"encoding/json":               "package json\ntype RawMessage []byte",
	"github.com/connic-go/connic": "package connic\ntype TriggerRequest struct{}\ntype AgentOf[In, Out any] string",
}

type importer struct{}

func (importer) Import(path string) (*types.Package, error) { return check(path, imported[path]) }

func check(path, source string) (*types.Package, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return (&types.Config{Importer: importer{}}).Check(path, files, []*ast.File{file}, nil)
}

// checkSource checks that a text is Go that compiles, and that no text of a project
// became part of its head: a build constraint there leaves the file out.
func checkSource(t *testing.T, code []byte) {
	t.Helper()
	if _, err := check("p", string(code)); err != nil {
		t.Error(err)
	}
	if !bytes.HasPrefix(code, []byte(Header+"\n\npackage ")) {
		t.Errorf("the file begins with\n%.200s", code)
	}
}

// Names of the project stand in comments only, whatever lines they have.
func TestNamesStayInComments(t *testing.T) {
	t.Parallel()
	name := `a\nfunc init() { panic(1) }`
	result, err := Generate(one(`{"type": "object", "properties": {"x": {"$ref": "#/$defs/`+name+`"}},
		"$defs": {"`+name+`": {"type": "object", "properties": {"y": {"type": "string"}}}}}`), Options{Package: "p"})
	if err != nil {
		t.Fatal(err)
	}
	checkSource(t, result.Code)
	file := "agents/a\nfunc init() { panic(1) }\n.yaml"
	other, err := Generate(folder(map[string]string{file: agentFile("a", "")}), Options{Package: "p"})
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range [][]byte{result.Code, other.Code} {
		for line := range strings.SplitSeq(string(code), "\n") {
			if strings.HasPrefix(line, "func init") {
				t.Errorf("%s", code)
			}
		}
	}
}

// A definition that is used twice is declared once, whatever its type.
func TestDefinitionsAreDeclaredOnce(t *testing.T) {
	t.Parallel()
	var defs []string
	for i := range 20 {
		next := `{"type": "string"}`
		if i < 19 {
			next = fmt.Sprintf(`{"$ref": "#/$defs/d%d"}`, i+1)
		}
		defs = append(defs, fmt.Sprintf(`"d%d": {"type": "array", "items": {"type": "object", "properties": {"a": %[2]s, "b": %[2]s}}}`, i, next))
	}
	result, err := Generate(one(`{"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}, "y": {"$ref": "#/$defs/d0"}},
		"$defs": {`+strings.Join(defs, ",")+`}}`), Options{Package: "p"})
	if err != nil {
		t.Fatal(err)
	}
	checkSource(t, result.Code)
	if n := strings.Count(string(result.Code), "type OutD0Item struct"); n != 1 {
		t.Errorf("declared %d times", n)
	}
}

func TestPackageNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"_", "func", "a.b", ""} {
		if _, err := Generate(one(`{"type": "object"}`), Options{Package: name}); err == nil || !strings.Contains(err.Error(), "is no name of a package") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Sequences whose steps are sequences are looked at once each.
func TestNestedSequences(t *testing.T) {
	t.Parallel()
	files := map[string]string{"agents/z.yaml": agentFile("z", "")}
	for i := range 40 {
		next := fmt.Sprint("s", i+1)
		if i == 39 {
			next = "z"
		}
		files[fmt.Sprintf("agents/s%d.yaml", i)] = agentFile(fmt.Sprint("s", i), "type: sequential\nagents: ["+next+", "+next+"]\n")
	}
	result, err := Generate(folder(files), Options{Package: "p"})
	if err != nil || !strings.Contains(string(result.Code), "S0 connic.AgentOf[connic.TriggerRequest, string]") {
		t.Error(err)
	}
}
