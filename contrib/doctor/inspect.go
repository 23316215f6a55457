package doctor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/scrub"
)

// An inspection collects what was seen in the responses of an operation.
type inspection struct {
	*live
	op   *api.Operation
	told map[string]bool // so that each difference is reported once
}

func (s *inspection) say(severity Severity, id, subject, format string, args ...any) {
	if s.told[id+subject] {
		return
	}
	s.told[id+subject] = true
	s.add(s.op, severity, id, subject, fmt.Sprintf(format, args...), "")
}

// objects compares objects of one kind with their schema.
func (s *inspection) objects(path string, schema object, objects []object) {
	properties := member(schema, "properties")
	if len(properties) == 0 || len(objects) == 0 {
		return
	}
	where := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	seen := make(map[string][]any)
	for _, o := range objects {
		for name, v := range o {
			seen[name] = append(seen[name], v)
		}
	}
	found := make(map[string]bool)
	for name := range seen {
		if p := member(properties, name); p != nil {
			found[stringOr(p["x-alias-of"], name)] = true
		}
	}
	moved := make(map[string]bool)
	for name := range sorted(properties) {
		p := member(properties, name)
		if p["x-alias-of"] != nil || found[name] {
			continue
		}
		under := ""
		for outer, values := range seen {
			if inner, ok := values[0].(object); ok && properties[outer] == nil && inner[name] != nil && scrub.IsName(outer) {
				under = outer
			}
		}
		if under == "" {
			s.say(Info, "field-never-seen", where(name), "The field %s was in none of the responses.", where(name))
			continue
		}
		moved[under] = true
		s.say(Warning, "field-moved", where(name), "The field %s is under %s, which the client does not read.", where(name), where(under+"."+name))
	}
	for _, name := range slices.Sorted(keysOf(seen)) {
		p := member(properties, name)
		if p == nil {
			if !moved[name] && scrub.IsName(name) {
				s.say(Info, "field-unknown", where(name), "The responses have a field %s, which the client does not read.", where(name))
			}
			continue
		}
		var inner []object
		for _, v := range seen[name] {
			s.value(where(name), p, v)
			for _, v := range list(v) {
				if o, ok := v.(object); ok {
					inner = append(inner, o)
				}
			}
		}
		if items := member(p, "items"); items != nil {
			p = items
		}
		s.objects(where(name), p, inner)
	}
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// value compares a value with its schema: its type, and whether it is one of
// the known words.
func (s *inspection) value(where string, schema object, v any) {
	types := list(schema["type"])
	of := typeOf(v)
	if len(types) == 0 || of == "null" || slices.Contains(types, any(of)) || of == "integer" && slices.Contains(types, any("number")) {
		known := list(schema["enum"])
		if word, ok := v.(string); ok && len(known) > 0 && !slices.Contains(known, any(word)) {
			if slices.ContainsFunc(known, func(k any) bool { return strings.EqualFold(text(k), word) }) {
				s.say(Warning, "enum-spelling", where, "The field %s is spelled %s.", where, wordOnly(word))
			} else {
				s.say(Warning, "enum-value", where, "The field %s is %s, which the client does not know.", where, wordOnly(word))
			}
		}
		return
	}
	severity := Error
	switch {
	case of == "string" && scrub.IsNumber(text(v)) && (slices.Contains(types, any("number")) || slices.Contains(types, any("integer"))):
		severity = Warning // is converted
	case slices.Contains(types, any("string")):
		severity = Warning // is decoded as its JSON
	}
	s.say(severity, "field-type", where, "The field %s is of the type %s, and the client expects %s.", where, of, strings.Trim(fmt.Sprint(types), "[]"))
}

// wordOnly returns a value that may be shown: one that looks like a word of the
// API.
func wordOnly(s string) string {
	if scrub.IsWord(s) {
		return s
	}
	return "not a word"
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "number"
		}
		return "integer"
	case []any:
		return "array"
	}
	return "object"
}
