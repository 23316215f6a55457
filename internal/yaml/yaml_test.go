package yaml

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                 `null`,
		"# only a comment\n\n":             `null`,
		"---\na: 1\n":                      `{"a":1}`,
		"a: b # c\nd: 'e # f'\ng: h#i\n":   `{"a":"b","d":"e # f","g":"h#i"}`,
		"a:\n- 1\n- b: 2\n  c:\n  - x\nd:": `{"a":[1,{"b":2,"c":["x"]}],"d":null}`,
		"- - 1\n  - 2\n-\n  - 3\n- \n":     `[[1,2],[3],null]`,
		"a: |\n  one\n    two\n\n  three\n\nb: 1":    `{"a":"one\n  two\n\nthree\n","b":1}`,
		"a: >-\n  one\n  two\n\n  three\n":           `{"a":"one two\nthree"}`,
		"a: |+\n  one\n\n\nb: 1\n":                   `{"a":"one\n\n\n","b":1}`,
		"- |\n  x\n- y: >\n    z\n":                  `["x\n",{"y":"z\n"}]`,
		`a: "x\n\u00e9\"" `:                          `{"a":"x\né\""}`,
		"a: 'it''s'\n\"b c\": ~\n":                   `{"a":"it's","b c":null}`,
		"a: [1, two, 'three, 3', [], {b: c}]\n":      `{"a":[1,"two","three, 3",[],{"b":"c"}]}`,
		"{a: 1, \"b\":2, c: , d: x}":                 "",
		"{a: 1, \"b\":2, d: x,}":                     `{"a":1,"b":2,"d":"x"}`,
		"a: -5\nb: 1.5\nc: 1e3\nd: true\ne: False\n": `{"a":-5,"b":1.5,"c":1000,"d":true,"e":false}`,
		"a: output.id == 10 and x:y\n":               `{"a":"output.id == 10 and x:y"}`,
		"- math.add: invocations >= 5\n":             `[{"math.add":"invocations \u003e= 5"}]`,
		"a:\r\n  b: c\r\n":                           `{"a":{"b":"c"}}`,
	} {
		value, err := Decode([]byte(text))
		if want == "" {
			if err == nil {
				t.Errorf("%q is %v", text, value)
			}
			continue
		}
		if got, _ := json.Marshal(value); err != nil || string(got) != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: &x 1":                 "line 1: a value that begins with &",
		"a: *x":                   "begins with *",
		"a: !!str 1":              "begins with !",
		"a: 1\n---\nb: 2":         "line 2: the indentation fits nothing",
		"%YAML 1.2\n---\n":        "directives",
		"a: 1\na: 2":              `line 2: the key "a" comes twice`,
		"a: b: c":                 "a colon and a blank within a value",
		"a: one\n  two":           "line 2: a value over several rows",
		"a: [1,\n  2]":            "over several rows",
		"a: \"x\ny\"":             "over several rows",
		"\ta: 1":                  "a tab",
		"a:\n  b: 1\n c: 2":       "line 3",
		"<<: x":                   "merged",
		"? a":                     "question mark",
		"1: x":                    "is not a string; put it in quotes",
		"a: 2026-01-02":           "several ways",
		"a: yes":                  "several ways",
		"a: 0o17":                 "several ways",
		"a: 012":                  "several ways",
		"a: 1_000":                "several ways",
		"a: .inf":                 "several ways",
		"a: |2\n  x":              "block header",
		"a: > x":                  "unexpected text",
		"a: {b}":                  "expected a colon",
		"a: \"\\q\"":              "escape sequence",
		"a: @x":                   "begins with @",
		"a: x\x00":                "control character",
		"a: \xff":                 "UTF-8",
		"a: 1\n \t\nb: 2":         "line 2: a tab in an empty row",
		"- \t":                    "a tab after a hyphen",
		"- - \t":                  "a tab after a hyphen",
		"a: 1\n\tb: 2":            "line 2",
		"a:\n\tb:":                "a tab in the indentation",
		"a: |\n  \tb":             "a tab at the beginning of a block",
		"---\ta":                  "directives",
		"... a":                   "directives",
		"a: 1e3_":                 "several ways",
		"a: 0_1e3":                "several ways",
		"a: 001e3":                "several ways",
		"a: 0b-1":                 "several ways",
		"[a:? ]":                  "in a flow collection",
		"[:b]":                    "in a flow collection",
		strings.Repeat("[", 200):  "nested too deep",
		strings.Repeat("- ", 200): "nested too deep",
	} {
		if value, err := Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v; want %q", text, value, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range []string{"a: [1, {b: 'c'}]\n", "a: |\n  b\n- c", "tests:\n  - name: x\n    payload: >-\n      y\n", "\"k\": \"\\u00e9\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		value, err := Decode(data)
		if err != nil && value != nil {
			t.Errorf("an error, and %v", value)
		}
		if err == nil {
			if _, err := json.Marshal(value); err != nil {
				t.Errorf("%v is no JSON: %v", value, err)
			}
		}
	})
}
