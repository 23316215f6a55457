package source

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/connic-go/connic/internal/api"
)

// A Struct is a struct type of the client whose exported fields are sent or
// received as JSON.
type Struct struct {
	Name   string
	Doc    string
	Fields []Field
}

// A Field is an exported field with a JSON name.
type Field struct {
	Name string // the name in Go
	JSON string
	Type string // the type expression: "[]Span"
	// Omitted is set if a zero value is not sent.
	Omitted bool
	// Mark says how the field is known, or is empty if its tag does not say.
	// Words is set if the vendor describes the field in prose and its name is
	// assumed.
	Mark    api.Mark
	Words   bool
	Aliases []string // aliases that are accepted
	Preset  bool     // defaults to true
	InPlace bool     // a string in place of the object sets this field
	Doc     string
}

// Types holds the types of a directory from which the API document is
// generated.
type Types struct {
	Structs map[string]*Struct
	// Enums holds the constants of each named string type, in source order.
	Enums map[string][]string
}

// ParseTypes reads the types of the package in a directory.
func ParseTypes(dir string) (*Types, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := &Types{Structs: make(map[string]*Struct), Enums: make(map[string][]string)}
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
			d, ok := declaration.(*ast.GenDecl)
			if !ok {
				continue
			}
			if err := all.read(d); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return all, nil
}

func (t *Types) read(d *ast.GenDecl) error {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			body, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			doc := spec.Doc
			if doc == nil {
				doc = d.Doc
			}
			s := &Struct{Name: spec.Name.Name, Doc: sentence(doc.Text())}
			for _, f := range body.Fields.List {
				fields, err := fieldsOf(f)
				if err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
				s.Fields = append(s.Fields, fields...)
			}
			t.Structs[s.Name] = s
		case *ast.ValueSpec:
			of, ok := spec.Type.(*ast.Ident)
			if d.Tok != token.CONST || !ok || !of.IsExported() {
				continue
			}
			for _, value := range spec.Values {
				if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					text, err := strconv.Unquote(literal.Value)
					if err != nil {
						return err
					}
					t.Enums[of.Name] = append(t.Enums[of.Name], text)
				}
			}
		}
	}
	return nil
}

// fieldsOf returns the exported fields of a declaration that have a JSON name.
func fieldsOf(f *ast.Field) ([]Field, error) {
	if f.Tag == nil {
		return nil, nil
	}
	text, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return nil, err
	}
	tag := reflect.StructTag(text)
	name, options, _ := strings.Cut(tag.Get("json"), ",")
	if name == "" || name == "-" {
		return nil, nil
	}
	parts := strings.Split(tag.Get("api"), ",")
	field := Field{JSON: name, Type: types.ExprString(f.Type), Omitted: strings.HasPrefix(options, "omit"), Mark: api.Mark(parts[0])}
	switch {
	case parts[0] == "words":
		field.Mark, field.Words = api.Assumed, true
	case !slices.Contains([]api.Mark{"", api.Documented, api.Observed, api.Assumed}, field.Mark):
		return nil, fmt.Errorf("the field %s is %q, which is no mark", name, parts[0])
	}
	for _, part := range parts[1:] {
		switch part {
		case "=true":
			field.Preset = true
		case ".":
			field.InPlace = true
		default:
			field.Aliases = append(field.Aliases, part)
		}
	}
	field.Doc = strings.TrimSpace(flat(f.Doc.Text()) + " " + flat(f.Comment.Text()))
	var fields []Field
	for _, ident := range f.Names {
		if !ident.IsExported() {
			continue
		}
		field.Name = ident.Name
		fields = append(fields, field)
	}
	return fields, nil
}

// sentence returns the first sentence of a comment on one line.
func sentence(comment string) string {
	text := flat(comment)
	if i := strings.Index(text, ". "); i >= 0 {
		return text[:i+1]
	}
	return text
}

func flat(comment string) string { return strings.Join(strings.Fields(comment), " ") }
