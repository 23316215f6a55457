package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/connic-go/connic"
	"github.com/theory/jsonpath"
)

// An Expectation is what can be checked without a judge. All fields that are
// set must hold.
type Expectation struct {
	// Status is the final status of the run. The default is "completed".
	Status string `json:"status"`
	// Equals is the whole output, without surrounding white space.
	Equals exact `json:"equals"`
	// Contains, NotContains and Matches are one or several strings. Matches are
	// regular expressions.
	Contains    texts `json:"contains"`
	NotContains texts `json:"not_contains"`
	Matches     texts `json:"matches"`
	// JSON maps paths (RFC 9535) into the output to the values that they
	// select: a single value, or else the list of all.
	JSON map[string]any `json:"json"`

	patterns []*regexp.Regexp
	paths    map[string]*jsonpath.Path
}

// An exact is a string, which may be empty, or none.
type exact struct {
	text string
	set  bool
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses null, which a YAML key
// without a value is: nothing would be checked.
func (e *exact) UnmarshalJSON(raw []byte) error {
	if e.set = string(raw) != "null"; !e.set || json.Unmarshal(raw, &e.text) != nil {
		return errors.New("equals is not a text: put it in quotes")
	}
	return nil
}

// texts is a string or a list of strings.
type texts []string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *texts) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*t = texts{one}
		return nil
	}
	var several []string
	if err := json.Unmarshal(raw, &several); err != nil || len(several) == 0 {
		return errors.New("what is expected is neither a text nor a list of texts: put numbers in quotes")
	}
	*t = several
	return nil
}

func (e *Expectation) compile() error {
	if e.Status != "" && !connic.RunStatus(e.Status).Finished() {
		return fmt.Errorf("a run cannot end with the status %q", e.Status)
	}
	for _, list := range []texts{e.Contains, e.NotContains, e.Matches} {
		if slices.Contains(list, "") {
			return errors.New("an expected text is empty")
		}
	}
	for _, expr := range e.Matches {
		p, err := regexp.Compile(expr)
		if err != nil {
			return err
		}
		e.patterns = append(e.patterns, p)
	}
	if e.JSON != nil && len(e.JSON) == 0 {
		return errors.New("json has no path")
	}
	e.paths = make(map[string]*jsonpath.Path, len(e.JSON))
	for path := range e.JSON {
		p, err := jsonpath.Parse(path)
		if err != nil {
			return fmt.Errorf("the path %s: %w", path, err)
		}
		e.paths[path] = p
	}
	return nil
}

// wantsFailure reports whether the run is expected not to complete.
func (e *Expectation) wantsFailure() bool {
	return e.Status != "" && e.Status != string(connic.RunCompleted)
}

// check returns what is wrong with a run, or "".
func (e *Expectation) check(run *connic.Run) string {
	want := connic.RunCompleted
	if e.Status != "" {
		want = connic.RunStatus(e.Status)
	}
	if run.Status != want {
		if run.Error != "" {
			return fmt.Sprintf("it ended %s, not %s: %s", run.Status, want, run.Error)
		}
		return fmt.Sprintf("it ended %s, not %s", run.Status, want)
	}
	output := run.Output
	if e.Equals.set && strings.TrimSpace(output) != strings.TrimSpace(e.Equals.text) {
		return fmt.Sprintf("the output is %s, not %s", quote(output), quote(e.Equals.text))
	}
	for _, part := range e.Contains {
		if !strings.Contains(output, part) {
			return fmt.Sprintf("the output does not contain %s: %s", quote(part), quote(output))
		}
	}
	for _, part := range e.NotContains {
		if strings.Contains(output, part) {
			return fmt.Sprintf("the output contains %s: %s", quote(part), quote(output))
		}
	}
	for _, p := range e.patterns {
		if !p.MatchString(output) {
			return fmt.Sprintf("the output does not match %s: %s", p, quote(output))
		}
	}
	return e.checkJSON(output)
}

func (e *Expectation) checkJSON(output string) string {
	if len(e.JSON) == 0 {
		return ""
	}
	var value any
	d := json.NewDecoder(strings.NewReader(output))
	d.UseNumber()
	if d.Decode(&value) != nil || d.More() {
		return "the output is not JSON: " + quote(output)
	}
	for _, path := range slices.Sorted(maps.Keys(e.JSON)) {
		nodes := []any(e.paths[path].Select(value))
		want := e.JSON[path]
		if len(nodes) == 1 && same(nodes[0], want) || same(nodes, want) {
			continue
		}
		if len(nodes) == 0 {
			return fmt.Sprintf("%s selects nothing: %s", path, quote(output))
		}
		var got any = nodes
		if len(nodes) == 1 {
			got = nodes[0]
		}
		return fmt.Sprintf("%s is %s, not %s", path, text(got), text(want))
	}
	return ""
}

// same compares JSON values. Numbers are compared by value: 1.50 equals 1.5.
func same(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, same)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, same)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(string(a), string(b))
	}
	return a == b
}

func sameNumber(a, b string) bool {
	x, errX := connic.ParseDecimal(a)
	y, errY := connic.ParseDecimal(b)
	if errX == nil && errY == nil {
		return x.Cmp(y) == 0
	}
	f, errF := strconv.ParseFloat(a, 64)
	g, errG := strconv.ParseFloat(b, 64)
	return a == b || errF == nil && errG == nil && f == g
}

func text(v any) string {
	var b bytes.Buffer
	d := json.NewEncoder(&b)
	d.SetEscapeHTML(false)
	if err := d.Encode(v); err != nil {
		return err.Error()
	}
	return shorten(strings.TrimSpace(b.String()))
}

func quote(s string) string { return strconv.Quote(shorten(s)) }

const maxText = 200 // characters of an output in a message

func shorten(s string) string {
	if runes := []rune(s); len(runes) > maxText {
		return string(runes[:maxText]) + "…"
	}
	return s
}
