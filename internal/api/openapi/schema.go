package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/api/coverage/source"
)

// sources explains the marks.
var sources = map[api.Mark]string{
	api.Documented: "the vendor's documentation of the REST API",
	api.Observed:   "the vendor's command-line client",
	api.Assumed:    "a convention of this client",
}

const inWords = "the vendor's documentation describes it in words"

// A direction distinguishes requests from responses, in which null is
// equivalent to absent.
type direction bool

const (
	answer  direction = false
	request direction = true
)

// A generator creates schemas of Go types.
type generator struct {
	types   *source.Types
	methods []source.Method
	// used maps the name of a component to what it is created from.
	used map[string]component
}

type component struct {
	of *source.Struct
	direction
}

func newGenerator(root string) (*generator, error) {
	types, err := source.ParseTypes(root)
	if err != nil {
		return nil, err
	}
	methods, err := source.Methods(root)
	if err != nil {
		return nil, err
	}
	return &generator{types: types, methods: methods, used: make(map[string]component)}, nil
}

// reference makes a type a component and returns a reference to it. A type that
// occurs in both requests and responses becomes two components, because only
// requests have required members.
func (g *generator) reference(name string, d direction) (object, error) {
	of := g.types.Structs[name]
	if of == nil {
		return nil, fmt.Errorf("there is no struct %s", name)
	}
	title := strings.ToUpper(name[:1]) + name[1:]
	if other, ok := g.used[title]; d == request && !strings.HasSuffix(name, "Create") && !strings.HasSuffix(name, "Update") && (!ok || other.direction == answer) {
		title += "Input"
	}
	g.used[title] = component{of, d}
	return object{"$ref": "#/components/schemas/" + title}, nil
}

// schemas returns the components, including those that they refer to.
func (g *generator) schemas() (object, error) {
	all := object{"Error": errorSchema}
	for {
		var todo []string
		for name := range g.used {
			if all[name] == nil {
				todo = append(todo, name)
			}
		}
		if len(todo) == 0 {
			return all, nil
		}
		for _, name := range todo {
			s, err := g.object(g.used[name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all[name] = s
		}
	}
}

// object is the schema of a struct.
func (g *generator) object(c component) (object, error) {
	properties := object{}
	var required []string
	inPlace := false
	for _, f := range c.of.Fields {
		expression := f.Type
		if inner, ok := strings.CutPrefix(expression, "Nullable["); ok && !slices.Contains(clearable[c.of.Name], f.JSON) {
			expression = strings.TrimSuffix(inner, "]")
		}
		if f.JSON == "output" && f.Type == "string" && c.direction == answer { // a structured output may be a string or any JSON value
			expression = "any"
		}
		s, err := g.schema(expression, c.direction)
		if c.of.Name+"."+f.Name == "Deployment.Agents" && err == nil { // names, or objects with a name
			s["items"] = object{"type": []string{"string", "object"}, "properties": object{"name": object{"type": "string"}}}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if f.Mark == "" {
			return nil, fmt.Errorf("%s: its tag does not say how it is known", f.Name)
		}
		if c.direction == request {
			maps.Copy(s, bounds[f.JSON])
		}
		if f.Preset {
			s["default"] = true
		}
		if s["format"] == "date-time" && f.JSON == "date" {
			s["format"] = "date"
		}
		describe(s, f.Mark, f.Doc)
		if f.Words {
			s["x-source"] = inWords
		}
		if ast.IsExported(c.of.Name) {
			s["x-go"] = c.of.Name + "." + f.Name
		}
		properties[f.JSON] = s
		if c.direction == request && !f.Omitted {
			required = append(required, f.JSON)
		}
		inPlace = inPlace || f.InPlace
		if c.direction == request {
			continue
		}
		for _, name := range slices.Concat(f.Aliases, places[c.of.Name+"."+f.Name]) {
			if err := g.alias(properties, name, f); err != nil {
				return nil, err
			}
		}
	}
	s := object{"type": "object", "properties": properties}
	if inPlace { // a string by itself sets one of the fields
		s["type"] = []string{"object", "string"}
	}
	if c.of.Doc != "" {
		s["description"] = c.of.Doc
	}
	if c.direction == request {
		s["additionalProperties"] = false
	}
	if len(required) > 0 {
		s["required"] = required
	}
	return s, nil
}

// clearable lists the keys of updates that null clears. The client refuses null
// for the others.
var clearable = map[string][]string{
	"BudgetUpdate": {"environment_id", "agent_name"},
	"JudgeCreate":  {"include_agent_system_prompt"},
	"JudgeUpdate": {
		"system_prompt", "include_agent_system_prompt", "sample_rate", "filters", "filter_expression", "score_alert",
	},
}

// Limits of what the client sends.
var bounds = map[string]object{
	"name":        {"minLength": 1},
	"agent_name":  {"minLength": 1},
	"criteria":    {"minItems": 1},
	"max_score":   {"exclusiveMinimum": 0},
	"sample_rate": {"minimum": 1, "maximum": 100},
	"currency":    {"enum": []string{"EUR", "USD"}},
	"amount":      {"pattern": `^[0-9]+(\.[0-9]+)?$`},
	"mime_type":   {"minLength": 1},
	"target":      {"minLength": 1},
	"type":        {"minLength": 1}, // of a connector
	"port":        {"minimum": 1, "maximum": 65535},
}

// places lists where else a response may have a field, in addition to the
// aliases in its tag. The decoders of the responses look there.
var places = map[string][]string{
	"TriggerResult.RunID": {"run.id", "run.run_id", "run_ids[]"},
	"Ingestion.EntryID":   {"entry.entry_id", "entry.id"},
	"Ingestion.JobID":     {"job.id", "job.job_id", "id"},
}

// alias adds an alias of a field: "run_id", "run.id" for a nested member,
// "run_ids[]" for the only element of an array.
func (g *generator) alias(properties object, name string, f source.Field) error {
	s, err := g.schema(f.Type, answer)
	if err != nil {
		return err
	}
	s["x-alias-of"] = f.JSON
	outer, inner, nested := strings.Cut(name, ".")
	if list, ok := strings.CutSuffix(name, "[]"); ok && !nested {
		properties[list] = object{"type": []string{"array", "null"}, "items": s, "x-alias-of": f.JSON}
		return nil
	}
	if !nested {
		if properties[name] == nil { // an existing field takes precedence
			properties[name] = s
		}
		return nil
	}
	member, _ := properties[outer].(object)
	if member == nil {
		member = object{"type": []string{"object", "null"}, "properties": object{}, "x-alias-of": f.JSON}
		properties[outer] = member
	}
	if within, ok := member["properties"].(object); ok {
		within[inner] = s
	}
	return nil
}

// describe adds what is known about a field.
func describe(s object, mark api.Mark, doc string) {
	if mark != "" {
		s["x-status"], s["x-source"] = string(mark), sources[mark]
	}
	if doc != "" {
		s["description"] = doc
	}
}

// maxInt64 limits an int on 64-bit machines. It is typed: an int has 32 bits
// where the generator may run.
const maxInt64 int64 = 1<<63 - 1

// schema returns the schema of a type expression.
func (g *generator) schema(expression string, d direction) (object, error) {
	null := func(s object) object {
		if of, ok := s["type"].(string); ok && d == answer {
			s["type"] = []string{of, "null"}
		}
		return s
	}
	switch expression {
	case "string":
		return null(object{"type": "string"}), nil
	case "bool":
		return null(object{"type": "boolean"}), nil
	case "int", "int64":
		return null(object{"type": "integer", "format": "int64", "minimum": -maxInt64 - 1, "maximum": maxInt64}), nil
	case "float64":
		return null(object{"type": "number", "format": "double"}), nil
	case "time.Time", "Time":
		return null(object{"type": "string", "format": "date-time"}), nil
	case "Decimal":
		if d == request {
			return object{"type": "string", "format": "decimal", "pattern": `^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`}, nil
		}
		return object{"type": []string{"string", "number", "null"}, "format": "decimal"}, nil
	case "json.RawMessage", "any":
		return object{"type": []string{"object", "array", "string", "number", "boolean", "null"}}, nil // any value
	case "map[string]any", "ConnectorConfig":
		return null(object{"type": "object", "additionalProperties": true}), nil
	case "[]byte":
		s := object{"type": "string", "contentEncoding": "base64"}
		if d == request {
			s["pattern"] = `^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`
		}
		return null(s), nil
	}
	if inner, ok := strings.CutPrefix(expression, "Nullable["); ok {
		s, err := g.schema(strings.TrimSuffix(inner, "]"), d)
		if err != nil {
			return nil, err
		}
		return nullable(s), nil
	}
	if element, ok := strings.CutPrefix(expression, "[]"); ok {
		var s object
		var err error
		if g.types.Structs[element] != nil {
			s, err = g.reference(element, d)
		} else {
			s, err = g.schema(element, request) // null in an array is not equivalent to absent
		}
		if err != nil {
			return nil, err
		}
		return null(object{"type": "array", "items": s}), nil
	}
	if values := g.types.Enums[expression]; len(values) > 0 {
		s := object{"type": "string", "x-known-values": values}
		if d == request {
			delete(s, "x-known-values")
			s["enum"] = values
		}
		return null(s), nil
	}
	if name := strings.TrimPrefix(expression, "*"); g.types.Structs[name] != nil {
		s, err := g.reference(name, d)
		if err != nil || d == request {
			return s, err
		}
		return nullable(s), nil
	}
	if strings.HasPrefix(expression, "*") {
		return g.schema(expression[1:], d)
	}
	return nil, fmt.Errorf("no schema is known for the type %s", expression)
}

// nullable allows null too.
func nullable(s object) object {
	switch of := s["type"].(type) {
	case string:
		s["type"] = []string{of, "null"}
		if values, ok := s["enum"].([]string); ok {
			all := make([]any, len(values), len(values)+1)
			for i := range values {
				all[i] = values[i]
			}
			s["enum"] = append(all, nil)
		}
		return s
	case nil:
		return object{"anyOf": []object{s, {"type": "null"}}}
	}
	return s
}

// list returns the schema of a list in every accepted envelope. name is the
// section's own name for the array.
func list(item object, name string) object {
	array := object{"type": []string{"array", "null"}, "items": item}
	properties := object{
		"total":       object{"type": []string{"integer", "null"}, "description": "The total number of items."},
		"limit":       object{"type": []string{"integer", "null"}},
		"offset":      object{"type": []string{"integer", "null"}},
		"page":        object{"type": []string{"integer", "null"}, "description": "The number of this page. There are more while it is less than pages."},
		"pages":       object{"type": []string{"integer", "null"}},
		"has_more":    object{"type": []string{"boolean", "null"}},
		"next_cursor": object{"type": []string{"string", "null"}, "description": "Is sent as the parameter cursor for the next page."},
		"next":        object{"type": []string{"string", "null"}, "description": "A cursor, or a URL, which is not followed."},
	}
	for _, s := range properties {
		describe(s.(object), api.Assumed, "")
	}
	names := []string{"items", "data", "results"}
	if !slices.Contains(names, name) {
		names = append(names, name)
	}
	var one []object
	for _, name := range names {
		properties[name] = array
		one = append(one, object{"required": []string{name}})
	}
	return object{
		"x-list":       name,
		"x-list-names": slices.SortedFunc(slices.Values(names), cmp.Compare[string]),
		"anyOf": []object{
			{"type": "array", "items": item},
			{"type": "object", "properties": properties, "anyOf": one},
		},
	}
}

var errorSchema = object{
	"type":        "object",
	"description": "An error.",
	"properties": object{"detail": object{
		"x-status": string(api.Documented), "x-source": sources[api.Documented],
		"description": "A string, or the list of a validation error. The client shows any other value unmodified.",
		"x-go":        "Error.Detail",
		"anyOf": []object{
			{"type": "string"},
			{"type": "array", "items": object{
				"type": "object", "x-status": string(api.Assumed), "x-source": sources[api.Assumed],
				"properties": object{
					"loc":  object{"type": "array", "items": object{"type": []string{"string", "integer"}}},
					"msg":  object{"type": "string"},
					"type": object{"type": "string"},
				},
			}},
			{"type": "object"},
		},
	}, "message": object{"type": "string", "x-alias-of": "detail"}, "error": object{"type": []string{"string", "object"}, "x-alias-of": "detail"}},
}
