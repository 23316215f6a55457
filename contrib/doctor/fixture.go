package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
)

// A Fixture is a response of the service without private data: its structure is
// kept, and its strings, ids, times and amounts are replaced.
type Fixture struct {
	Operation   string   `json:"operation"`
	Query       []string `json:"query,omitempty"` // names of the parameters
	Status      int      `json:"status"`
	ContentType string   `json:"content_type,omitempty"`
	// Headers holds the names of the other headers.
	Headers []string        `json:"headers,omitempty"`
	Body    json.RawMessage `json:"body"`
	// Want is what the client decodes from it, in a conformance case: see
	// [Case].
	Want json.RawMessage `json:"want,omitempty"`
}

// Write writes the fixture to a directory, under the name of its operation, and
// returns its path.
func (f *Fixture) Write(dir string) (string, error) {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	path := filepath.Join(dir, f.Operation+".json")
	return path, os.WriteFile(path, append(text, '\n'), 0o600)
}

// ReadFixture reads a file written by [Fixture.Write].
func ReadFixture(path string) (*Fixture, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	f := new(Fixture)
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("%s is not a fixture: %w", path, err)
	}
	if _, ok := api.Lookup(f.Operation); !ok {
		return nil, fmt.Errorf("%s is not a fixture: there is no operation %q", path, f.Operation)
	}
	return f, nil
}

// redact converts a response to a fixture.
func redact(op *api.Operation, query url.Values, r *connic.Response, schema object) Fixture {
	f := Fixture{Operation: op.Name, Status: r.StatusCode, Query: slices.Sorted(keysOf(query))}
	for name := range r.Header {
		if name == "Content-Type" {
			kind, _, _ := strings.Cut(r.Header.Get(name), ";")
			f.ContentType = mask.Line(kind, maxText)
		} else {
			f.Headers = append(f.Headers, mask.Line(name, maxText))
		}
	}
	slices.Sort(f.Headers)
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		f.Body = json.RawMessage(`"not JSON"`)
		return f
	}
	x := &redactor{ids: make(map[string]string), names: namesOf(schema)}
	clean := x.value("", value, schema)
	text, err := json.Marshal(clean)
	if err != nil { // it was decoded from JSON
		text = []byte(`"not JSON"`)
	}
	f.Body = text
	return f
}

// A redactor replaces private data. Equal ids get equal replacements.
type redactor struct {
	ids   map[string]string
	names map[string]bool
}

// wrappers lists names that services give to the member that holds a list.
var wrappers = []string{"items", "data", "results", "result", "rows", "records", "list", "entries", "values", "content", "page", "pages", "next", "total"}

// namesOf returns the names that may be shown wherever they occur: those of the
// fields in a schema, and of wrappers. Any other name below a field that the
// client does not know may be a user's, as in {"spend_by_customer": {"acme": 5}}.
func namesOf(schema object) map[string]bool {
	names := make(map[string]bool)
	for _, name := range slices.Concat(wrappers, pagingNames) {
		names[name] = true
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, v := range v {
				walk(v)
			}
		case object:
			for key, inner := range v {
				if properties, ok := inner.(object); ok && key == "properties" {
					for name := range properties {
						names[name] = true
					}
					for _, p := range properties {
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
		names[text(name)] = true
	}
	return names
}

// isWord reports whether s has the form of a word of the API, and not that of a
// secret.
func isWord(form *regexp.Regexp, s string) bool { return form.MatchString(s) && mask.Text(s) == s }

// described reports whether a schema names the members of an object.
func described(schema object) bool {
	return schema["properties"] != nil || len(list(schema["anyOf"])) > 0
}

var (
	instant = regexp.MustCompile(`^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?(Z|[+-]\d\d(:?\d\d)?)?$`)
	// apiKey matches names that an API may have; others may be a user's.
	apiKey = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)
	digit  = regexp.MustCompile(`\d`)
	uuid   = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)
)

// tokens lists the fields whose values are words of the API.
var tokens = []string{"status", "phase", "type", "currency", "env_type", "resource_type"}

// value redacts a value according to its schema.
func (x *redactor) value(name string, v any, schema object) any {
	switch v := v.(type) {
	case object:
		clean := make(object, len(v))
		// In free-form JSON the keys are the user's too.
		free := schema["x-go"] != nil && !described(schema)
		for i, key := range slices.Sorted(keysOf(v)) {
			inner := x.value(key, v[key], within(schema, key))
			if free || !isWord(apiKey, key) || !described(schema) && !x.names[key] {
				key = fmt.Sprintf("key%d", i+1)
			}
			clean[key] = inner
		}
		return clean
	case []any:
		clean := make([]any, len(v))
		items := member(schema, "items")
		if items == nil {
			items = schema
		}
		for i := range v {
			clean[i] = x.value(name, v[i], items)
		}
		return clean
	case string:
		return x.text(name, v, schema)
	case json.Number:
		return json.Number(amount(v.String()))
	}
	return v // true, false, null
}

// within returns the schema of a member, in any form of a response.
func within(schema object, key string) object {
	if p := member(member(schema, "properties"), key); p != nil {
		return p
	}
	for _, option := range list(schema["anyOf"]) {
		o, _ := option.(object)
		if p := member(member(o, "properties"), key); p != nil {
			return p
		}
		if p := member(member(member(o, "items"), "properties"), key); p != nil {
			return p
		}
	}
	return object{"x-go": schema["x-go"]}
}

func (x *redactor) text(name, s string, schema object) string {
	known := list(schema["enum"])
	switch {
	case s == "":
		return s
	case slices.ContainsFunc(known, func(k any) bool { return strings.EqualFold(text(k), s) }), len(known) > 0 && isWord(word, s):
		return s
	case schema["type"] != nil && slices.Contains(tokens, name) && isWord(word, s): // one of the API's own
		return s
	case instant.MatchString(s):
		return sameInstant(s)
	case number.MatchString(s):
		return amount(s)
	case strings.HasSuffix(name, "id") || strings.HasSuffix(name, "ids") || uuid.MatchString(s):
		if x.ids[s] == "" {
			x.ids[s] = fmt.Sprintf("00000000-0000-4000-8000-%012d", len(x.ids)+1)
		}
		return x.ids[s]
	case s[0] == '{' || s[0] == '[': // JSON in a string
		decoder := json.NewDecoder(strings.NewReader(s))
		decoder.UseNumber()
		var inner any
		if decoder.Decode(&inner) == nil {
			clean, err := json.Marshal(x.value(name, inner, object{"x-go": "text"}))
			if err == nil {
				return string(clean)
			}
		}
	}
	return "text"
}

// sameInstant returns another time in the same format.
func sameInstant(s string) string {
	const other = "2026-01-02T03:04:05"
	clean := []byte(s)
	for i := range clean {
		switch {
		case i < len(other) && digit.Match(clean[i:i+1]):
			clean[i] = other[i]
		case i >= len(other) && digit.Match(clean[i:i+1]) && !strings.ContainsAny(s[len(other):i], "+-"):
			clean[i] = '0'
		}
	}
	return string(clean)
}

// amount returns another number in the same format, with as many decimal
// places, and 0 for 0.
func amount(s string) string {
	if strings.Trim(s, "-0.") == "" {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign = "-"
	}
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(strings.TrimPrefix(s, "-")), "e")
	_, fraction, point := strings.Cut(mantissa, ".")
	clean := sign + "1"
	if point {
		clean += "." + strings.Repeat("5", len(fraction))
	}
	if scientific && exponent != "" {
		clean += "e0"
	}
	return clean
}
