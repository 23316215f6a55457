package tests

import (
	"encoding/json"
	"testing"

	"github.com/connic-go/connic/internal/yaml"
	reference "go.yaml.in/yaml/v3"
)

// TestYAMLAgainstTheReference checks that what the fake's reader of YAML
// understands means the same to a complete one.
func TestYAMLAgainstTheReference(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"a: [1, {b: 'c'}]\n", "a: |\n  b\n\n  c\nd: >-\n  e\n  f\n", "tests:\n- name: x\n  payload: \"y\\n\"\n", "a: 1.5 # c\nb: x#y\n", "- - a\n  - b: c\n-\n",
		"a: >+\n\n  x\n\n\n", "a: |-\n\n  x\n", "- |\n x\n- y", "{a: 1, \"b\":2}", "a: 'it''s'", "a: ~\nb:\n", "a: - b", "a: ?x", "a: [a b, 'c' ]",
		"A: |\n 0", "a: >\n b\n c", "a: |+\n b",
	} {
		got, err := yaml.Decode([]byte(text))
		if err != nil {
			continue // it may understand less
		}
		var want any
		if err := reference.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%q is %v, and to the reference an error: %v", text, got, err)
		}
		ours, _ := json.Marshal(got)
		theirs, err := json.Marshal(want)
		if err != nil || string(ours) != string(theirs) {
			t.Fatalf("%q is %s, and to the reference %s (%v)", text, ours, theirs, err)
		}
	}
}
