// Surface lists what the packages export: one line or block for each constant,
// variable, function, type and method, without comments. Changes to the public
// API then show up in review.
//
//	go run ./internal/api/surface . testdata/api.golden
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// packages lists the packages that users import, as folders of the module.
var packages = []string{".", "connector", "connictest"}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: surface module-folder file")
		os.Exit(2)
	}
	text, err := Surface(os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "surface:", err)
		os.Exit(1)
	}
}

// Surface returns what the packages of the module in a folder export.
func Surface(module string) ([]byte, error) {
	var out bytes.Buffer
	for _, name := range packages {
		blocks, err := exported(filepath.Join(module, name))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "-- %s --\n%s\n", name, strings.Join(blocks, "\n"))
	}
	return out.Bytes(), nil
}

// exported returns the exported declarations of a package, sorted.
func exported(folder string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	var blocks []string
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.FileExports(file)
		for _, declaration := range file.Decls {
			for _, single := range split(declaration) {
				var b bytes.Buffer
				if err := format.Node(&b, files, single); err != nil {
					return nil, err
				}
				blocks = append(blocks, b.String())
			}
		}
	}
	slices.Sort(blocks)
	return slices.Compact(blocks), nil
}

// split returns a declaration for each specification. It omits imports and
// function bodies.
func split(declaration ast.Decl) []ast.Decl {
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && !receiver(d.Recv.List[0].Type) {
			return nil
		}
		d.Body = nil
		return []ast.Decl{d}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil
		}
		if d.Tok == token.CONST && len(d.Specs) > 1 && implicit(d) {
			return []ast.Decl{d} // iota continues
		}
		var single []ast.Decl
		for _, spec := range d.Specs {
			single = append(single, &ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{spec}})
		}
		return single
	}
	return nil
}

// receiver reports whether methods of a type can be called from outside the
// package.
func receiver(of ast.Expr) bool {
	switch t := of.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.IsExported()
	}
	return true
}

// implicit reports whether a constant of a block repeats the expression of the
// one before.
func implicit(d *ast.GenDecl) bool {
	return slices.ContainsFunc(d.Specs, func(spec ast.Spec) bool {
		value, ok := spec.(*ast.ValueSpec)
		return ok && len(value.Values) == 0
	})
}
