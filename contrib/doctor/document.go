package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxDocument is the maximum size of a document, in bytes. Documents of
// services have a few hundred kilobytes.
const MaxDocument = 32 << 20

// Limits for a document after its references are resolved.
const (
	maxNodes = 1_000_000
	maxDepth = 64
)

type object = map[string]any

// A document is an OpenAPI document whose operations are self-contained.
type document struct {
	base       string // the server's URL, with the common prefix of all paths
	operations []*operation
}

// An operation is an operation with its references resolved.
type operation struct {
	method, path string // the path without the base
	raw          object
}

// name returns the operation as a request line.
func (o *operation) name() string { return o.method + " " + o.path }

// id returns the document's own name for it.
func (o *operation) id() string { return text(o.raw["operationId"]) }

// parse reads a document in JSON or YAML.
func parse(data []byte) (*document, error) {
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("the document has %d bytes, more than %d", len(data), MaxDocument)
	}
	root, err := decode(data)
	if err != nil {
		return nil, err
	}
	version := text(root["openapi"])
	switch {
	case root["swagger"] != nil:
		return nil, fmt.Errorf("the document is in Swagger %v; download it in OpenAPI 3", root["swagger"])
	case !strings.HasPrefix(version, "3."):
		return nil, errors.New("the document is not OpenAPI 3: it has no version 3 under openapi")
	}
	x := &inliner{root: root}
	doc := &document{}
	for path, item := range sorted(member(root, "paths")) {
		shared, ok := x.resolve(item, 0, nil).(object)
		if !ok {
			continue
		}
		for _, method := range []string{"get", "put", "post", "delete", "patch"} {
			raw, ok := shared[method].(object)
			if !ok {
				continue
			}
			raw = maps.Clone(raw)
			raw["parameters"] = parameters(shared["parameters"], raw["parameters"])
			doc.operations = append(doc.operations, &operation{method: strings.ToUpper(method), path: path, raw: raw})
		}
	}
	if x.nodes > maxNodes {
		return nil, fmt.Errorf("the document has more than %d values when its references are replaced", maxNodes)
	}
	if len(doc.operations) == 0 {
		return nil, errors.New("the document has no operations")
	}
	doc.rebase(root)
	return doc, nil
}

func decode(data []byte) (object, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var root object
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		if err := json.Unmarshal(data, &root); err != nil {
			return nil, fmt.Errorf("the document is not JSON: %w", err)
		}
		return root, nil
	}
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("the document is neither JSON nor YAML: %w", err)
	}
	// Dates and numbers are keys in YAML only.
	plain, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("the document has values that JSON does not have: %w", err)
	}
	root = nil
	return root, json.Unmarshal(plain, &root)
}

// sorted iterates over an object in the order of its keys.
func sorted(o object) func(func(string, any) bool) {
	return func(yield func(string, any) bool) {
		for _, key := range slices.Sorted(maps.Keys(o)) {
			if !yield(key, o[key]) {
				return
			}
		}
	}
}

func member(o object, name string) object {
	inner, _ := o[name].(object)
	return inner
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// parameters merges the parameters of a path and of an operation, which take
// precedence.
func parameters(shared, own any) []any {
	all, _ := own.([]any)
	all = slices.Clone(all)
	more, _ := shared.([]any)
	for _, p := range more {
		outer, ok := p.(object)
		if ok && !slices.ContainsFunc(all, func(q any) bool {
			inner, ok := q.(object)
			return ok && inner["name"] == outer["name"] && inner["in"] == outer["in"]
		}) {
			all = append(all, outer)
		}
	}
	return all
}

// An inliner resolves references. A reference to itself, to another document,
// or nested too deep becomes a schema that allows everything.
type inliner struct {
	root  object
	nodes int
}

func (x *inliner) resolve(v any, depth int, open []string) any {
	if x.nodes++; x.nodes > maxNodes || depth > maxDepth {
		return object{}
	}
	switch v := v.(type) {
	case object:
		if ref, ok := v["$ref"].(string); ok {
			target, found := x.lookup(ref)
			if !found || slices.Contains(open, ref) {
				return object{}
			}
			resolved := x.resolve(target, depth+1, append(slices.Clip(open), ref))
			if o, ok := resolved.(object); ok && len(v) > 1 {
				o = maps.Clone(o)
				for key, value := range v {
					if key != "$ref" {
						o[key] = x.resolve(value, depth+1, open)
					}
				}
				return o
			}
			return resolved
		}
		o := make(object, len(v))
		for key, value := range v {
			o[key] = x.resolve(value, depth+1, open)
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = x.resolve(v[i], depth+1, open)
		}
		return list
	}
	return v
}

var escapes = strings.NewReplacer("~1", "/", "~0", "~", "%7B", "{", "%7D", "}")

// lookup resolves a reference within the document.
func (x *inliner) lookup(ref string) (any, bool) {
	pointer, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil, false
	}
	var v any = x.root
	for part := range strings.SplitSeq(pointer, "/") {
		part = escapes.Replace(part)
		o, ok := v.(object)
		if !ok {
			return nil, false
		}
		if v, ok = o[part]; !ok {
			return nil, false
		}
	}
	return v, true
}

var projects = regexp.MustCompile(`^(.*?)/projects/\{`)

// rebase moves the part before /projects in most paths, such as /v1, from the
// paths to the base.
func (d *document) rebase(root object) {
	counts := make(map[string]int)
	for _, o := range d.operations {
		if m := projects.FindStringSubmatch(o.path); m != nil {
			counts[m[1]]++
		}
	}
	prefix, most := "", 0
	for _, p := range slices.Sorted(maps.Keys(counts)) {
		if counts[p] > most {
			prefix, most = p, counts[p]
		}
	}
	for _, o := range d.operations {
		if rest, ok := strings.CutPrefix(o.path, prefix+"/"); ok {
			o.path = "/" + rest
		}
		if len(o.path) > 1 {
			o.path = strings.TrimSuffix(o.path, "/")
		}
	}
	d.base = prefix
	if servers, _ := root["servers"].([]any); len(servers) > 0 {
		if first, ok := servers[0].(object); ok {
			d.base = strings.TrimSuffix(text(first["url"]), "/") + prefix
		}
	}
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// normal returns a path without the names of its placeholders.
func normal(path string) string { return placeholder.ReplaceAllString(path, "{}") }
