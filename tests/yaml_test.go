package tests

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/yaml"
	reference "go.yaml.in/yaml/v3"
)

// FuzzYAMLAgainstTheReference checks that what the fake's reader of YAML
// understands is the same value to a complete one.
func FuzzYAMLAgainstTheReference(f *testing.F) {
	for _, text := range []string{
		"a: [1, {b: 'c'}]\n", "a: |\n  b\n\n  c\nd: >-\n  e\n  f\n", "tests:\n- name: x\n  payload: \"y\\n\"\n", "a: 1.5 # c\nb: x#y\n", "- - a\n  - b: c\n-\n",
		"a: >+\n\n  x\n\n\n", "a: |-\n\n  x\n", "- |\n x\n- y", "{a: 1, \"b\":2}", "a: 'it''s'", "a: ~\nb:\n", "a: - b", "a: ?x", "a: [a b, 'c' ]",
		"A: |\n 0", "a: >\n b\n c", "a: |+\n b", "a: \"\\u00e9\\x41\\U0001F600\"\n", "---\na: -0\nb: +1\nc: 1e3\nd: 0.5\ne: .5\nf: 1.\n", "a: 9223372036854775807\nb: 9223372036854775808\nc: -9223372036854775808\n",
		"a: 1e400\nb: 0x1F\n", "a: True\nb: NULL\nc: no\n", "a:\n  - b\n  -\n    c: d\n", "a: b:c\nd: e : f\n", "- a: 1\n  b: 2\n-   c: 3\n", "a: # c\n  b: 1\n", "\ufeffa: 1\n", "a: \"b\" # c\n", "# c\n---\n# d\na\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { compareYAML(t, text) })
}

// TestYAMLOfRandomTokens compares documents that are made of what has a meaning
// in YAML.
func TestYAMLOfRandomTokens(t *testing.T) {
	t.Parallel()
	tokens := []string{
		"a", "b", "1", "-1", "0", "1.5", "1e3", "true", "null", "~", "é", "x y", "\"q\"", "'s'", "\"\\n\"", "'it''s'", "\"\"", "''",
		": ", ":", " :", "- ", "-", "? ", "?", ", ", ",", "[", "]", "{", "}", "#", " #", "|", ">", "|-", ">+", "&x", "*x", "!t", "%", "@", "<<",
		" ", "  ", "\t", "\n", "\n", "\n", "\n  ", "\n    ", "\n- ", "\n  - ", "\na: ", "\n  b: ", "---", "...", "\r\n", "_", "+", ".", "=", "e", "0x", "012", "2026-01-02",
	}
	seeded := rand.New(rand.NewPCG(1, 2))
	understood := 0
	for range 200_000 {
		var b strings.Builder
		for range 1 + seeded.IntN(9) {
			b.WriteString(tokens[seeded.IntN(len(tokens))])
		}
		if compareYAML(t, b.String()) {
			understood++
		}
	}
	if understood < 10_000 {
		t.Errorf("%d documents are understood", understood)
	}
}

// compareYAML reports whether the fake's reader understands a document.
func compareYAML(t *testing.T, text string) bool {
	t.Helper()
	got, err := yaml.Decode([]byte(text))
	if err != nil {
		return false // it may understand less
	}
	var want any
	if err := reference.Unmarshal([]byte(text), &want); err != nil {
		t.Errorf("%q is %#v, and to the reference an error: %v", text, got, err)
	} else if want = widened(want); !reflect.DeepEqual(got, want) {
		t.Errorf("%q is %#v, and to the reference %#v", text, got, want)
	}
	return true
}

// widened returns a value of the reference with the types of the fake's reader.
func widened(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case []any:
		for i := range v {
			v[i] = widened(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = widened(v[name])
		}
	}
	return v
}
