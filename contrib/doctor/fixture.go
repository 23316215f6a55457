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
	"github.com/connic-go/connic/internal/scrub"
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
	clean, err := json.Marshal(scrub.Value(value, schema, redaction()))
	if err != nil { // it was decoded from JSON
		clean = []byte(`"not JSON"`)
	}
	f.Body = clean
	return f
}

// redaction replaces all private data. Equal ids get equal replacements.
func redaction() scrub.Rules {
	ids := make(map[string]string)
	return scrub.Rules{
		Number: func(_ string, n json.Number) any { return json.Number(amount(n.String())) },
		Name: func(name string, i int, known bool) string {
			if known {
				return name
			}
			return fmt.Sprintf("key%d", i)
		},
		String: func(kind scrub.Kind, _, s string) string {
			switch kind {
			case scrub.Word:
				return s
			case scrub.Time:
				return sameInstant(s)
			case scrub.Number:
				return amount(s)
			case scrub.ID:
				if ids[s] == "" {
					ids[s] = fmt.Sprintf("00000000-0000-4000-8000-%012d", len(ids)+1)
				}
				return ids[s]
			case scrub.Text:
			}
			return "text"
		},
	}
}

var digit = regexp.MustCompile(`\d`)

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
