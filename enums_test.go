package connic

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/governor"
)

// The comment of a type of strings names all of its values, so that go doc shows
// them beside a field of the type.
func TestCommentsNameTheValues(t *testing.T) {
	t.Parallel()
	docs, values := make(map[string]string), make(map[string][]string)
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range group.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "string" {
						docs[spec.Name.Name] = group.Doc.Text()
					}
				case *ast.ValueSpec:
					of, ok := spec.Type.(*ast.Ident)
					if !ok || len(spec.Values) != 1 {
						continue
					}
					if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
						values[of.Name] = append(values[of.Name], literal.Value)
					}
				}
			}
		}
	}
	for name, all := range values {
		for _, value := range all {
			text, err := strconv.Unquote(value)
			if err != nil || strings.Contains(text, " ") { // a sentence
				continue
			}
			if doc, ok := docs[name]; ok && ast.IsExported(name) && !strings.Contains(doc, value) {
				t.Errorf("the comment of %s does not name %s: %s", name, value, doc)
			}
		}
	}
	if len(values["RunStatus"]) < 7 || docs["RunStatus"] == "" {
		t.Error("the values of RunStatus are not found")
	}
}

// The reasons of the public API are those of the governor.
func TestReasons(t *testing.T) {
	t.Parallel()
	for public, own := range map[Reason]governor.Reason{
		ReasonPaused: governor.Paused, ReasonWindow: governor.Window, ReasonReserved: governor.Reserved, ReasonShare: governor.Share,
		ReasonOutage: governor.Outage, ReasonInFlight: governor.Flight, ReasonInLine: governor.Line, ReasonTooLate: governor.Late,
	} {
		if public != Reason(own) {
			t.Errorf("%q is %q", public, own)
		}
	}
}
