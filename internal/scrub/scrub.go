// Package scrub replaces private data in JSON values: it decides which strings,
// numbers and names a value may hold of a person's, and its caller decides what
// becomes of them. The structure stays.
package scrub

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/mask"
)

// Kind says what a string is.
type Kind uint8

// The kinds of strings.
const (
	Text   Kind = iota // of a person
	Word               // of the API, such as a status
	Time               // in a form of ISO 8601
	Number             // in decimal
	ID
)

// Rules say what becomes of the values that are found. A value that a nil
// function would get stays as it is.
type Rules struct {
	// String returns the replacement of a string that is not empty. The path is
	// that of the names that lead to it, such as "items.actor.name".
	String func(kind Kind, path, s string) string
	// Number returns the replacement of a number.
	Number func(path string, n json.Number) any
	// Name returns the replacement of the name of a member, the i-th of its
	// object in alphabetical order from 1. known reports whether it is one of the
	// API's, and not a user's.
	Name func(name string, i int, known bool) string
}

// Object is a JSON object, or a schema.
type Object = map[string]any

// wrappers lists names that services give to the member that holds a list, or
// that says how it is paged.
var wrappers = []string{
	"items", "data", "results", "result", "rows", "records", "list", "entries", "values", "content", "page", "pages", "next", "total",
	"next_cursor", "has_more", "offset",
}

// tokens lists the fields whose values are words of the API.
var tokens = []string{"status", "phase", "type", "currency", "env_type", "resource_type"}

var (
	instant = regexp.MustCompile(`^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?(Z|[+-]\d\d(:?\d\d)?)?$`)
	number  = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	uuid    = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)
	word    = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,31}$`)
	// name matches names that an API may have; others may be a user's.
	name = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)
)

// IsName reports whether s may be the name of a field of the API.
func IsName(s string) bool { return name.MatchString(s) }

// IsNumber reports whether s is a number in decimal.
func IsNumber(s string) bool { return number.MatchString(s) }

// IsWord reports whether s has the form of a word of the API.
func IsWord(s string) bool { return word.MatchString(s) }

// Value returns a value as encoding/json decodes it with UseNumber, with what the
// rules replace. The schema is that of the value, with its references resolved
// and the extensions of docs/openapi.json; nil if it is not known.
func Value(v any, schema Object, r Rules) any {
	w := walk{Rules: r, names: Names(schema)}
	return w.value("", "", v, schema)
}

// Names returns the names that are of the API wherever they occur: those of the
// fields in a schema, and of wrappers. Any other name below a field that the
// client does not know may be a user's, as in {"spend_by_customer": {"acme": 5}}.
func Names(schema Object) map[string]bool {
	names := make(map[string]bool)
	for _, name := range wrappers {
		names[name] = true
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, v := range v {
				walk(v)
			}
		case Object:
			for key, inner := range v {
				if properties, ok := inner.(Object); ok && key == "properties" {
					for name, p := range properties {
						names[name] = true
						walk(p)
					}
					continue
				}
				walk(inner)
			}
		}
	}
	walk(schema)
	for _, name := range list(schema["x-list-names"]) {
		if name, ok := name.(string); ok {
			names[name] = true
		}
	}
	return names
}

type walk struct {
	Rules
	names map[string]bool
}

// value returns what replaces the value of a member.
func (w *walk) value(path, name string, v any, schema Object) any {
	switch v := v.(type) {
	case Object:
		clean := make(Object, len(v))
		// In free-form JSON the keys are the user's too.
		free := schema["x-go"] != nil && !described(schema)
		for i, key := range slices.Sorted(maps.Keys(v)) {
			below := key
			if path != "" {
				below = path + "." + key
			}
			inner := w.value(below, key, v[key], within(schema, key))
			if w.Name != nil {
				key = w.Name(key, i+1, !free && isWord(IsName, key) && (described(schema) || w.names[key]))
			}
			clean[key] = inner
		}
		return clean
	case []any:
		clean := make([]any, len(v))
		items, _ := schema["items"].(Object)
		if items == nil {
			items = schema
		}
		for i := range v {
			clean[i] = w.value(path, name, v[i], items)
		}
		return clean
	case string:
		return w.text(path, name, v, schema)
	case json.Number:
		if w.Number != nil {
			return w.Number(path, v)
		}
	}
	return v
}

func (w *walk) text(path, name, s string, schema Object) string {
	if s == "" {
		return s
	}
	if s[0] == '{' || s[0] == '[' { // JSON in a string
		decoder := json.NewDecoder(strings.NewReader(s))
		decoder.UseNumber()
		var inner any
		if decoder.Decode(&inner) == nil && !decoder.More() {
			if clean, err := json.Marshal(w.value(path, name, inner, Object{"x-go": "text"})); err == nil {
				return string(clean)
			}
		}
	}
	if w.String == nil {
		return s
	}
	return w.String(kind(name, s, schema), path, s)
}

// String returns what replaces the value of a member or parameter.
func String(name, s string, r Rules) string {
	w := walk{Rules: r}
	return w.text(name, name, s, nil)
}

// IsTime reports whether s is a time in a form of ISO 8601.
func IsTime(s string) bool { return instant.MatchString(s) }

func kind(name, s string, schema Object) Kind {
	known := list(schema["enum"])
	switch {
	case slices.ContainsFunc(known, func(k any) bool { w, ok := k.(string); return ok && strings.EqualFold(w, s) }):
		return Word
	case len(known) > 0 && isWord(IsWord, s):
		return Word
	case schema["type"] != nil && slices.Contains(tokens, name) && isWord(IsWord, s): // one of the API's own
		return Word
	case instant.MatchString(s):
		return Time
	case IsNumber(s):
		return Number
	case strings.HasSuffix(strings.ToLower(name), "id") || strings.HasSuffix(strings.ToLower(name), "ids") || uuid.MatchString(s):
		return ID
	}
	return Text
}

// isWord reports whether s has a form of words, and not that of a secret.
func isWord(form func(string) bool, s string) bool { return form(s) && mask.Text(s) == s }

// described reports whether a schema names the members of an object.
func described(schema Object) bool {
	return schema["properties"] != nil || len(list(schema["anyOf"])) > 0
}

// within returns the schema of a member, in any form of a response.
func within(schema Object, key string) Object {
	if p := member(member(schema, "properties"), key); p != nil {
		return p
	}
	for _, option := range list(schema["anyOf"]) {
		o, _ := option.(Object)
		if p := member(member(o, "properties"), key); p != nil {
			return p
		}
		if p := member(member(member(o, "items"), "properties"), key); p != nil {
			return p
		}
	}
	return Object{"x-go": schema["x-go"]}
}

func member(o Object, name string) Object {
	inner, _ := o[name].(Object)
	return inner
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}
