package doctor

import (
	"maps"
	"slices"
	"strings"
)

// Schemas are converted to a canonical form before they are compared, so that
// only differences that matter to the client remain. OpenAPI 3.0 and 3.1
// express null differently, some generators write anyOf instead of a list of
// types, and null in a response is equivalent to absent.

// canonical returns the canonical form of a schema. It omits null where null is
// equivalent to absent: in responses and parameters.
func canonical(v any, keepNull bool) object {
	s, ok := v.(object)
	if !ok {
		return object{}
	}
	s = maps.Clone(s)
	s = merged(s)
	null := s["nullable"] == true
	delete(s, "nullable")
	for _, of := range []string{"anyOf", "oneOf"} {
		options, ok := s[of].([]any)
		if !ok {
			continue
		}
		delete(s, of)
		var rest []object
		for _, option := range options {
			if raw, _ := option.(object); raw["type"] == "null" || same(raw["type"], []any{"null"}) {
				null = true
				continue
			}
			o := canonical(option, keepNull)
			if o["x-null"] == true {
				null = true
				delete(o, "x-null")
			}
			if !slices.ContainsFunc(rest, func(other object) bool { return same(other, o) }) {
				rest = append(rest, o)
			}
		}
		switch {
		case len(rest) == 1:
			for key, value := range rest[0] {
				if _, own := s[key]; !own || key == "type" {
					s[key] = value
				}
			}
		case len(rest) > 1 && scalars(rest):
			var types []any
			for _, o := range rest {
				types = append(types, list(o["type"])...)
			}
			s["type"] = unique(types)
		case len(rest) > 1:
			all := make([]any, len(rest))
			for i := range rest {
				all[i] = rest[i]
			}
			s["anyOf"] = all
		}
	}
	types := slices.DeleteFunc(list(s["type"]), func(t any) bool { null = null || t == "null"; return t == "null" })
	switch {
	case len(types) == 1:
		s["type"] = types[0]
	case len(types) > 1 && len(types) < 5:
		s["type"] = unique(types)
	default: // any value, or only null
		delete(s, "type")
	}
	if values, ok := s["enum"].([]any); ok {
		s["enum"] = slices.DeleteFunc(slices.Clone(values), func(v any) bool { null = null || v == nil; return v == nil })
	}
	if value, ok := s["const"]; ok && s["enum"] == nil {
		s["enum"] = []any{value}
		delete(s, "const")
	}
	if null && keepNull {
		s["x-null"] = true
	}
	if properties, ok := s["properties"].(object); ok {
		all := make(object, len(properties))
		for name, p := range properties {
			all[name] = canonical(p, keepNull)
		}
		s["properties"] = all
		if s["type"] == nil {
			s["type"] = "object"
		}
	}
	if items, ok := s["items"]; ok {
		s["items"] = canonical(items, keepNull)
		if s["type"] == nil {
			s["type"] = "array"
		}
	}
	if more, ok := s["additionalProperties"].(object); ok {
		s["additionalProperties"] = canonical(more, keepNull)
	}
	if values, ok := s["x-known-values"]; ok {
		s["enum"] = values
	}
	for _, word := range []string{
		"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "xml", "externalDocs",
		"contentEncoding", "contentMediaType", "$schema", "$id", "$comment", "x-known-values", "x-source", "discriminator",
	} {
		delete(s, word)
	}
	if format := text(s["format"]); format != "date-time" && format != "date" {
		delete(s, "format") // as int32, double, uuid or binary
	}
	for _, bound := range []string{"minimum", "maximum"} {
		if n, ok := s[bound].(float64); ok && (n <= -1<<53 || n >= 1<<53) {
			delete(s, bound) // those of the Go type
		}
	}
	return s
}

// merged merges the parts of an allOf.
func merged(s object) object {
	parts, ok := s["allOf"].([]any)
	if !ok {
		return s
	}
	delete(s, "allOf")
	for _, part := range parts {
		p, ok := part.(object)
		if !ok {
			continue
		}
		p = merged(maps.Clone(p))
		for key, value := range p {
			switch key {
			case "properties":
				all := maps.Clone(member(s, "properties"))
				if all == nil {
					all = object{}
				}
				if more, ok := value.(object); ok {
					maps.Copy(all, more)
				}
				s["properties"] = all
			case "required":
				s["required"] = unique(append(list(s["required"]), list(value)...))
			default:
				if s[key] == nil {
					s[key] = value
				}
			}
		}
	}
	return s
}

func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return slices.Clone(v)
	}
	return []any{v}
}

func unique(values []any) []any {
	var all []any
	for _, v := range values {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	return all
}

// scalars reports whether all schemas are scalar types.
func scalars(schemas []object) bool {
	return !slices.ContainsFunc(schemas, func(s object) bool {
		types := list(s["type"])
		return len(types) == 0 || slices.Contains(types, "object") || slices.Contains(types, "array")
	})
}

// An envelope describes how a response holds a list.
type envelope struct {
	text  string // "array", "items" …
	known bool   // as seen by the client
	paged []string
}

// unlist returns the schema of a list's items, and the envelope around it.
// names are the keys under which the client finds an array.
func unlist(s object, names []any) (items object, e envelope, ok bool) {
	if s["x-list"] != nil { // our own, which accepts any envelope
		options, _ := s["anyOf"].([]any)
		for _, option := range options {
			if o, _ := option.(object); o["type"] == "array" {
				return member(o, "items"), envelope{known: true}, true
			}
		}
	}
	if s["type"] == "array" {
		return member(s, "items"), envelope{text: "array", known: true}, true
	}
	properties := member(s, "properties")
	for _, paging := range []string{"next_cursor", "next", "has_more", "total", "page", "pages", "offset"} {
		if properties[paging] != nil {
			e.paged = append(e.paged, paging)
		}
	}
	for _, name := range names {
		if p := member(properties, text(name)); p["type"] == "array" {
			e.text, e.known = text(name), true
			return member(p, "items"), e, true
		}
	}
	for name, p := range sorted(properties) {
		if p, _ := p.(object); p["type"] == "array" && member(member(p, "items"), "properties") != nil {
			e.text = name
			return member(p, "items"), e, true
		}
	}
	for name, p := range sorted(properties) {
		for inner, q := range sorted(member(p.(object), "properties")) {
			if q, _ := q.(object); q["type"] == "array" && member(member(q, "items"), "properties") != nil {
				e.text = name + "." + inner
				return member(q, "items"), e, true
			}
		}
	}
	return nil, e, false
}
