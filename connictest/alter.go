package connictest

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// alter applies the alterations of the fault to a JSON body.
func (f *Fault) alter(body []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return body // there is none
	}
	for _, path := range slices.Sorted(maps.Keys(f.Set)) {
		value = at(value, strings.Split(path, "."), func(any) (any, bool) { return f.Set[path], true })
	}
	for _, path := range f.Remove {
		value = at(value, strings.Split(path, "."), func(any) (any, bool) { return nil, false })
	}
	for _, path := range f.Retype {
		value = at(value, strings.Split(path, "."), func(v any) (any, bool) { return retyped(v), true })
	}
	altered, err := json.Marshal(wrapped(value, f.Envelope))
	if err != nil {
		return body
	}
	return altered
}

// at changes the value that a path leads to. If the last step is missing from
// its object, change receives nil. If change reports false, the value is
// removed.
func at(value any, path []string, change func(any) (any, bool)) any {
	step, rest := path[0], path[1:]
	next := func(v any) (any, bool) {
		if len(rest) == 0 {
			return change(v)
		}
		return at(v, rest, change), true
	}
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if step != "*" && step != name {
				continue
			}
			if changed, keep := next(inner); keep {
				v[name] = changed
			} else {
				delete(v, name)
			}
		}
		if _, there := v[step]; !there && step != "*" && len(rest) == 0 {
			if changed, keep := change(nil); keep {
				v[step] = changed
			}
		}
	case []any:
		kept := v[:0]
		for i, inner := range v {
			if step != "*" && step != strconv.Itoa(i) {
				kept = append(kept, inner)
				continue
			}
			if changed, keep := next(inner); keep {
				kept = append(kept, changed)
			}
		}
		return kept
	}
	return value
}

// retyped returns a value of another type.
func retyped(value any) any {
	switch v := value.(type) {
	case string:
		return map[string]any{"text": v}
	case []any:
		return "a list once"
	default:
		return []any{v}
	}
}

// wrapped returns a response in another envelope.
func wrapped(value any, envelope string) any {
	if envelope == "" {
		return value
	}
	beside, _ := value.(map[string]any)
	var list any
	for name, inner := range beside {
		if _, isList := inner.([]any); isList && (name == "items" || name == "namespaces" || name == "results" || name == "usage") {
			list = inner
			delete(beside, name)
		}
	}
	switch {
	case list == nil && envelope == "-":
		return value
	case list == nil:
		return map[string]any{envelope: value}
	case envelope == "-":
		return list
	}
	beside[envelope] = list
	return beside
}
