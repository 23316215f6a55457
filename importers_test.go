package connic_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// A package that uses a type of another one compiles the methods of all generic
// types that the methods and fields of that type name, whether it calls them or not.
// With those of lists and waits, each package that imports this one took two seconds
// longer to compile. So methods and fields of exported types name no generic types
// but exported ones; what needs others is a function.
func TestImportersCompileNoInternals(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("connector/*.go")
	if err != nil {
		t.Fatal(err)
	}
	methods := 0
	for _, name := range append(files, sources...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			var in ast.Node
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || !typeName(d.Recv.List[0].Type).IsExported() {
					continue
				}
				in = d.Type
				methods++
			case *ast.GenDecl:
				in = &ast.GenDecl{Tok: d.Tok}
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() {
						in.(*ast.GenDecl).Specs = append(in.(*ast.GenDecl).Specs, s)
					}
				}
			}
			ast.Inspect(in, func(n ast.Node) bool {
				var of ast.Expr
				switch n := n.(type) {
				case *ast.IndexExpr:
					of = n.X
				case *ast.IndexListExpr:
					of = n.X
				}
				switch of := of.(type) {
				case *ast.Ident:
					if !of.IsExported() {
						t.Errorf("%s: %s is generic", set.Position(of.Pos()), of.Name)
					}
				case *ast.SelectorExpr:
					if x, ok := of.X.(*ast.Ident); ok && (x.Name == "watch" || x.Name == "typed") {
						t.Errorf("%s: %s.%s is generic", set.Position(of.Pos()), x.Name, of.Sel.Name)
					}
				}
				return true
			})
		}
	}
	if methods < 200 {
		t.Errorf("%d methods", methods)
	}
}

func typeName(of ast.Expr) *ast.Ident {
	switch of := of.(type) {
	case *ast.StarExpr:
		return typeName(of.X)
	case *ast.IndexExpr:
		return typeName(of.X)
	case *ast.IndexListExpr:
		return typeName(of.X)
	case *ast.Ident:
		return of
	}
	return new(ast.Ident)
}
