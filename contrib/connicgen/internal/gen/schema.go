package gen

import (
	"encoding/json"
	"io/fs"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// raw is the type of values that have no better one.
const raw = "json.RawMessage"

// A schemaFile is a file with a schema.
type schemaFile struct {
	path    string
	name    string // the Go name of its root
	root    *jsonschema.Schema
	keys    map[string][]string  // of its objects, in order, by JSON pointer
	scalars map[string]string    // its numbers
	refs    map[string]reference // the types of definitions that are known, by JSON pointer
	open    map[string]bool      // the definitions that are being read
	expr    string               // the type of the root
}

// A reference is the type of a definition, and whether it includes null.
type reference struct {
	expr string
	null bool
}

// A declaration is a type that is declared.
type declaration struct {
	name, where string
	doc         []string
	fields      []*field // of a struct
	values      []string // of an enum
	constants   []string // their names; none if they collide
}

type field struct {
	name, key, expr string
	doc             []string
	required        bool
}

// documented are the keywords that the vendor documents.
var documented = map[string]bool{
	"$schema": true, "type": true, "properties": true, "required": true, "items": true, "description": true, "default": true, "additionalProperties": true,
	"nullable": true, "enum": true, "const": true, "minimum": true, "maximum": true, "exclusiveMinimum": true, "exclusiveMaximum": true, "multipleOf": true,
	"minLength": true, "maxLength": true, "pattern": true, "minItems": true, "maxItems": true,
}

// root returns the type of a schema's root.
func (g *generator) root(file, made string) string {
	if f, ok := g.schemas[file]; ok {
		return f.expr
	}
	f := &schemaFile{path: file, name: g.name(file, made), expr: raw, refs: make(map[string]reference), open: make(map[string]bool)}
	g.schemas[file] = f
	data, err := g.read(file)
	if err != nil {
		g.errorf(file, "it cannot be read: %v", err)
		return raw
	}
	// The keys are told apart by their case, which the library does not do.
	f.keys, f.scalars, err = scan(data)
	if err == nil && f.keys[""] == nil {
		g.errorf(file, "it is no object")
		return raw
	}
	f.root = new(jsonschema.Schema)
	if err == nil {
		err = json.Unmarshal(data, f.root)
	}
	if err != nil {
		g.errorf(file, "it is no schema: %v", err)
		return raw
	}
	if f.root.Type != "object" {
		g.errorf(file+"#/type", `it is not "object", which the service requires at the top`)
		return raw
	}
	f.expr, _ = g.value(f, f.root, "", f.name)
	return f.expr
}

// value returns the Go type of what a schema describes, and whether null is among it.
// A struct or an enum is declared under the name.
func (g *generator) value(f *schemaFile, s *jsonschema.Schema, at, name string) (expr string, null bool) {
	if s == nil {
		return raw, false
	}
	for _, key := range f.keys[at] {
		if !documented[key] {
			g.warnf(f.path+"#"+at+"/"+escape(key), "the keyword is not among those that the service documents")
		}
	}
	null = s.Extra["nullable"] == true
	if s.Ref != "" {
		expr, inner := g.ref(f, s.Ref, at)
		return expr, null || inner
	}
	for keyword, union := range map[string][]*jsonschema.Schema{"anyOf": s.AnyOf, "oneOf": s.OneOf} {
		if i := besideNull(union); i >= 0 && s.Type == "" && s.Types == nil && len(s.AnyOf)+len(s.OneOf)+len(s.AllOf) == 2 && s.Enum == nil && s.Const == nil && at != "" {
			expr, _ = g.value(f, union[i], at+"/"+keyword+"/"+strconv.Itoa(i), name)
			return expr, true
		}
	}
	if s.AnyOf != nil || s.OneOf != nil || s.AllOf != nil {
		return raw, null
	}
	kinds := s.Types
	if s.Type != "" {
		kinds = []string{s.Type}
	}
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool {
		if kind == "null" && len(kinds) > 1 {
			null = true
			return true
		}
		return false
	})
	for _, kind := range kinds {
		switch kind {
		case "object", "array", "string", "number", "integer", "boolean", "null":
		default:
			g.errorf(f.path+"#"+at+"/type", "%q is no type", kind)
		}
	}
	if len(kinds) > 1 {
		return raw, null
	}
	kind := ""
	if len(kinds) == 1 {
		kind = kinds[0]
	}
	if s.Enum != nil || s.Const != nil {
		return g.enum(f, s, at, name, kind), null
	}
	switch kind {
	case "string":
		return "string", null
	case "boolean":
		return "bool", null
	case "number":
		return "float64", null
	case "integer":
		return f.integer(at), null
	case "object":
		return g.object(f, s, at, name), null
	case "array":
		if s.ItemsArray != nil || s.PrefixItems != nil {
			return raw, null
		}
		return "[]" + g.element(f, s.Items, at+"/items", name+"Item"), null
	}
	return raw, null // anything, or nothing but null
}

// element returns the type of the values of a list or a map.
func (g *generator) element(f *schemaFile, s *jsonschema.Schema, at, made string) string {
	expr, null := g.value(f, s, at, g.name(f.path+"#"+at, made))
	if null && !nilable(expr) {
		expr = "*" + expr
	}
	return expr
}

// besideNull returns the index of the schema of two whose other one is null.
func besideNull(union []*jsonschema.Schema) int {
	if len(union) != 2 {
		return -1
	}
	for i, s := range union {
		if s != nil && s.Type == "null" {
			return 1 - i
		}
	}
	return -1
}

func nilable(expr string) bool {
	return strings.HasPrefix(expr, "[]") || strings.HasPrefix(expr, "map[") || strings.HasPrefix(expr, "*") || expr == raw
}

// integer returns the type of an integer: uint64 if its limits say that it is neither
// negative nor small.
func (f *schemaFile) integer(at string) string {
	number := func(keyword string) *big.Float {
		n, _, err := big.ParseFloat(f.scalars[at+"/"+keyword], 10, 256, big.ToNearestEven)
		if err != nil {
			return nil
		}
		return n
	}
	least, most := number("minimum"), number("maximum")
	if least != nil && least.Sign() >= 0 && most != nil && most.Cmp(new(big.Float).SetUint64(1<<63)) >= 0 {
		return "uint64"
	}
	return "int64"
}

// ref returns the type of a definition.
func (g *generator) ref(f *schemaFile, ref, at string) (expr string, null bool) {
	where := f.path + "#" + at + "/$ref"
	var defs map[string]*jsonschema.Schema
	token, found := strings.CutPrefix(ref, "#/$defs/")
	if defs = f.root.Defs; !found {
		token, found = strings.CutPrefix(ref, "#/definitions/")
		defs = f.root.Definitions
	}
	def := defs[unescape(token)]
	if !found || strings.Contains(token, "/") || def == nil {
		g.errorf(where, "%q is no definition of this file", ref)
		return raw, false
	}
	pointer := ref[1:]
	if known, ok := f.refs[pointer]; ok {
		if f.open[pointer] { // a struct that contains itself
			known.expr = "*" + known.expr
		}
		return known.expr, known.null
	}
	if f.open[pointer] {
		g.errorf(where, "the definition consists of itself")
		return raw, false
	}
	f.open[pointer] = true
	defer delete(f.open, pointer)
	name := g.name(f.path+"#"+pointer, f.name+pascal(unescape(token)))
	if isStruct(def) {
		f.refs[pointer] = reference{name, def.Extra["nullable"] == true || def.Types != nil}
	}
	expr, null = g.value(f, def, pointer, name)
	f.refs[pointer] = reference{expr, null}
	return expr, null
}

// isStruct reports whether a schema becomes a struct.
func isStruct(s *jsonschema.Schema) bool {
	object := s.Type == "object" || len(s.Types) == 2 && slices.Contains(s.Types, "object") && slices.Contains(s.Types, "null")
	return object && len(s.Properties) > 0 && s.Ref == "" && s.Enum == nil && s.Const == nil && s.AnyOf == nil && s.OneOf == nil && s.AllOf == nil
}

// declare adds a declaration.
func (g *generator) declare(f *schemaFile, s *jsonschema.Schema, at, name string) *declaration {
	where := f.path
	if at != "" {
		where += "#" + at
	}
	d := &declaration{name: name, where: where, doc: describe(f, s, at)}
	g.take(name, where)
	g.types = append(g.types, d)
	return d
}

func (g *generator) object(f *schemaFile, s *jsonschema.Schema, at, name string) string {
	if len(s.Properties) == 0 {
		values := s.AdditionalProperties
		if values == nil || len(f.keys[at+"/additionalProperties"]) == 0 {
			return "map[string]any"
		}
		return "map[string]" + g.element(f, values, at+"/additionalProperties", name+"Value")
	}
	d := g.declare(f, s, at, name)
	named := make(map[string]string) // the keys of the fields
	for _, key := range f.keys[at+"/properties"] {
		pointer := at + "/properties/" + escape(key)
		where := f.path + "#" + pointer
		if !taggable(key) {
			g.errorf(where, "no struct tag of encoding/json can name the property")
			continue
		}
		own := &field{name: g.name(where, pascal(key)), key: key, required: slices.Contains(s.Required, key)}
		if other, ok := named[own.name]; ok {
			g.errorf(where, "its Go name %s is that of the property %q too; choose one with --name %s=GoName", own.name, other, where)
		}
		named[own.name] = key
		property := s.Properties[key]
		expr, null := g.value(f, property, pointer, name+own.name)
		if (null || !own.required) && !nilable(expr) {
			expr = "*" + expr
		}
		own.expr, own.doc = expr, describe(f, property, pointer)
		d.fields = append(d.fields, own)
	}
	for _, key := range s.Required {
		if s.Properties[key] == nil {
			g.warnf(f.path+"#"+at+"/required", "%q is no property of the schema", key)
		}
	}
	return name
}

// enum returns the type of an enum of strings.
func (g *generator) enum(f *schemaFile, s *jsonschema.Schema, at, name, kind string) string {
	values := s.Enum
	if values == nil {
		values = []any{*s.Const}
	}
	var texts []string
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			if kind == "" { // null is one of the values
				return raw
			}
		case string:
			if !slices.Contains(texts, v) {
				texts = append(texts, v)
			}
		default:
			return raw
		}
	}
	if len(texts) == 0 || kind != "" && kind != "string" {
		return raw
	}
	g.declare(f, s, at, name).values = texts
	return name
}

// nameConstants names the constants of the enums. They come last: none takes the name
// of a type.
func (g *generator) nameConstants() {
	for _, d := range g.types {
		own := make(map[string]bool)
		for _, v := range d.values {
			name := d.name + pascal(v)
			if _, taken := g.taken[name]; taken || own[name] {
				g.warnf(d.where, "the values of the enum get no constants: two names would be %s", name)
				own = nil
				break
			}
			own[name] = true
			d.constants = append(d.constants, name)
		}
		if own == nil {
			d.constants = nil
		}
		for name := range own {
			g.taken[name] = d.where
		}
	}
}

// limits are the keywords that a comment repeats.
var limits = []string{
	"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems",
}

// describe returns the comment for what a schema describes.
func describe(f *schemaFile, s *jsonschema.Schema, at string) []string {
	if s == nil {
		return nil
	}
	lines := comment(s.Description)
	var bounds []string
	for _, keyword := range limits {
		if n := f.scalars[at+"/"+keyword]; n != "" {
			bounds = append(bounds, keyword+" "+n)
		}
	}
	if s.Pattern != "" {
		bounds = append(bounds, "pattern "+strings.Join(comment(s.Pattern), " "))
	}
	if len(bounds) > 0 {
		lines = append(lines, "Limits: "+strings.Join(bounds, ", ")+".")
	}
	return lines
}

// leftContracts warns of contracts that are those of no agent.
func (g *generator) leftContracts() {
	files, err := fs.Glob(g.fsys, "contracts/*.json")
	if err != nil {
		return
	}
	known := make(map[string]bool)
	for name := range maps.Keys(g.byName) {
		known["contracts/"+name+".input.json"], known["contracts/"+name+".output.json"] = true, true
	}
	for _, file := range files {
		if !known[file] {
			g.warnf(file, "it is the contract of no agent: its name is not AGENT.input.json or AGENT.output.json")
		}
	}
}
