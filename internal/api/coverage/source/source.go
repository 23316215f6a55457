// Package source extracts what the comments of the client's methods say about
// the API. The coverage document is generated from it, and tests use it.
package source

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
)

// Method is an exported method of a service.
type Method struct {
	Service string // the field of Client: "Runs"
	Name    string // "WaitAll"
	// The last three lines of the comment; empty if a line is missing.
	API    string // "GET /projects/{project}/runs"
	Access string // "runs read" or "undocumented"
	Status string // "assumed"
}

// String returns the method as it is called: "Runs.WaitAll".
func (m Method) String() string { return m.Service + "." + m.Name }

// Operation returns the operation that the comment names, or nil if there is
// none.
func (m Method) Operation() *api.Operation {
	for i := range api.Table {
		if op := &api.Table[i]; m.API == op.Method+" "+op.Route {
			return op
		}
	}
	return nil
}

// Access returns the text of an operation's Access line.
func Access(op *api.Operation) string {
	if op.Section == "" {
		return "undocumented"
	}
	return op.Section + " " + op.Access
}

// Methods returns the exported methods of all services in a directory, in the
// order of the files and within them.
func Methods(dir string) ([]Method, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var methods []Method
	files := token.NewFileSet()
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, filepath.Join(dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() {
				continue
			}
			if service := serviceOf(f); service != "" {
				methods = append(methods, describe(Method{Service: service, Name: f.Name.Name}, f.Doc.Text()))
			}
		}
	}
	return methods, nil
}

// serviceOf returns the service whose method f is: "Runs" for *RunsService.
func serviceOf(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) != 1 {
		return ""
	}
	of := f.Recv.List[0].Type
	if pointer, ok := of.(*ast.StarExpr); ok {
		of = pointer.X
	}
	name, ok := of.(*ast.Ident)
	if !ok || !name.IsExported() {
		return ""
	}
	service, ok := strings.CutSuffix(name.Name, "Service")
	if !ok {
		return ""
	}
	return service
}

// describe reads the last three lines of a comment. They must be in this order
// and form a preformatted block.
func describe(m Method, comment string) Method {
	lines := strings.Split(strings.TrimSpace(comment), "\n")
	if len(lines) < 4 || lines[len(lines)-4] != "" {
		return m
	}
	for i, line := range lines[len(lines)-3:] {
		label := []string{"\tAPI:", "\tAccess:", "\tStatus:"}[i]
		if value, ok := strings.CutPrefix(line, label); ok {
			*[]*string{&m.API, &m.Access, &m.Status}[i] = strings.TrimSpace(value)
		}
	}
	return m
}

// Of returns the methods that name an operation, in their order.
func Of(methods []Method, op *api.Operation) []Method {
	return slices.DeleteFunc(slices.Clone(methods), func(m Method) bool { return m.Operation() != op })
}
