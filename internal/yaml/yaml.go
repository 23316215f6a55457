// Package yaml parses the subset of YAML that agents and test suites use: one
// document of block mappings and sequences, plain and quoted scalars on one
// line, literal and folded blocks, and flow collections on one line. Anything
// else (anchors, aliases, tags, several documents, plain scalars and flow
// collections over several lines, keys other than plain or quoted strings) is
// an error that names the line, never a value that differs from YAML's.
package yaml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth limits how deep collections nest.
const maxDepth = 100

// Decode parses a document. Mappings become map[string]any, sequences []any,
// and scalars string, int64, float64, bool or nil. An empty document is nil.
func Decode(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the text is not UTF-8")
	}
	p := new(parser)
	text := strings.TrimPrefix(strings.ReplaceAll(string(data), "\r\n", "\n"), "\ufeff")
	for i, line := range strings.Split(text, "\n") {
		body := strings.TrimLeft(line, " ")
		r := row{number: i + 1, indent: len(line) - len(body), text: strings.TrimRight(body, " \t")}
		if r.trimmed = len(r.text) < len(body); strings.ContainsFunc(body, odd) {
			return nil, p.fail(r, "a control character")
		}
		if r.tab = strings.Contains(body[len(r.text):], "\t"); r.tab && r.text == "" {
			return nil, p.fail(r, "a tab in an empty row")
		}
		p.lines = append(p.lines, r)
	}
	value, err := p.document()
	if err != nil {
		return nil, err
	}
	return value, nil
}

type row struct {
	number, indent int
	text           string // without indentation and trailing spaces
	trimmed, tab   bool   // there were trailing blanks, and a tab among them
}

// odd reports characters that YAML forbids or treats as line breaks.
func odd(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff
}

func (r row) empty() bool { return r.text == "" || r.text[0] == '#' }

type parser struct {
	lines []row
	next  int
	depth int
}

func (p *parser) fail(r row, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", r.number, fmt.Sprintf(format, args...))
}

// peek returns the next row with content.
func (p *parser) peek() (row, bool) {
	for ; p.next < len(p.lines); p.next++ {
		if r := p.lines[p.next]; !r.empty() {
			return r, true
		}
	}
	return row{}, false
}

func (p *parser) document() (any, error) {
	if r, ok := p.peek(); ok && r.indent == 0 && r.text == "---" {
		p.next++
	}
	r, ok := p.peek()
	if !ok {
		return nil, nil
	}
	value, err := p.block(r.indent)
	if err != nil {
		return nil, err
	}
	if r, ok := p.peek(); ok {
		return nil, p.fail(r, "the indentation fits nothing above it, or another document begins")
	}
	return value, nil
}

// block reads the node whose rows are indented by exactly indent spaces.
func (p *parser) block(indent int) (any, error) {
	r, _ := p.peek()
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail(r, "collections are nested too deep")
	}
	defer func() { p.depth-- }()
	switch {
	case r.text[0] == '\t':
		return nil, p.fail(r, "a tab in the indentation")
	case marker(r):
		return nil, p.fail(r, "several documents, and directives, are not understood")
	case item(r.text):
		return p.sequence(indent)
	}
	if _, _, ok, err := p.key(r); err != nil {
		return nil, err
	} else if ok {
		return p.mapping(indent)
	}
	p.next++
	return p.inline(r, r.text, indent-1)
}

// marker reports whether a row is a document marker or a directive.
func marker(r row) bool {
	if r.indent != 0 || len(r.text) < 3 || r.text[:3] != "---" && r.text[:3] != "..." {
		return r.indent == 0 && r.text[0] == '%'
	}
	return len(r.text) == 3 || r.text[3] == ' ' || r.text[3] == '\t'
}

func item(text string) bool { return text == "-" || strings.HasPrefix(text, "- ") }

func (p *parser) sequence(indent int) (any, error) {
	list := []any{}
	for {
		r, ok := p.peek()
		if !ok || r.indent != indent || !item(r.text) || marker(r) {
			return list, p.above(r, ok, indent)
		}
		rest := strings.TrimLeft(r.text[1:], " ")
		var value any
		var err error
		switch {
		case rest == "" && r.tab:
			err = p.fail(r, "a tab after a hyphen")
		case rest == "" || rest[0] == '#':
			p.next++
			value, err = p.below(indent, false)
		case rest[0] == '|' || rest[0] == '>':
			p.next++
			value, err = p.text(r, rest, indent)
		default:
			// The rest of the row is the first row of a nested node.
			p.lines[p.next] = row{number: r.number, indent: r.indent + len(r.text) - len(rest), text: rest, trimmed: r.trimmed, tab: r.tab}
			value, err = p.block(p.lines[p.next].indent)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
}

// above refuses a row after a collection that is indented deeper than the
// collection.
func (p *parser) above(r row, ok bool, indent int) error {
	if ok && r.indent > indent {
		return p.fail(r, "the row is indented deeper than its neighbors")
	}
	return nil
}

// below reads the node under a row that ends without a value; there may be
// none. A sequence may have the same indentation as the key that it belongs to.
func (p *parser) below(indent int, key bool) (any, error) {
	r, ok := p.peek()
	switch {
	case ok && r.indent > indent, ok && key && r.indent == indent && item(r.text) && !marker(r):
		return p.block(r.indent)
	}
	return nil, nil
}

func (p *parser) mapping(indent int) (any, error) {
	values := make(map[string]any)
	for {
		r, ok := p.peek()
		if !ok || r.indent != indent || marker(r) {
			return values, p.above(r, ok, indent)
		}
		key, rest, isKey, err := p.key(r)
		if err != nil {
			return nil, err
		}
		if !isKey {
			return nil, p.fail(r, "expected a key and a colon")
		}
		if _, twice := values[key]; twice {
			return nil, p.fail(r, "the key %q comes twice", key)
		}
		p.next++
		switch {
		case rest == "" || rest[0] == '#':
			values[key], err = p.below(indent, true)
		case rest[0] == '|' || rest[0] == '>':
			values[key], err = p.text(r, rest, indent)
		default:
			values[key], err = p.inline(r, rest, indent)
		}
		if err != nil {
			return nil, err
		}
	}
}

// key splits a row into a key and the text after its colon.
func (p *parser) key(r row) (key, rest string, ok bool, err error) {
	text := r.text
	switch text[0] {
	case '"', '\'':
		key, rest, err = quoted(text)
		if err != nil {
			return "", "", false, p.fail(r, "%v", err)
		}
		rest = strings.TrimLeft(rest, " \t")
		if after, isKey := colon(rest); isKey {
			return key, after, true, nil
		}
		return "", "", false, nil
	case '[', '{':
		return "", "", false, nil
	case '\t':
		return "", "", false, p.fail(r, "a tab in the indentation")
	case '?':
		if len(text) == 1 || text[1] == ' ' {
			return "", "", false, p.fail(r, "keys that begin with a question mark are not understood")
		}
	}
	for i := 0; i < len(text); i++ {
		if text[i] == '#' && i > 0 && (text[i-1] == ' ' || text[i-1] == '\t') {
			return "", "", false, nil
		}
		if text[i] != ':' {
			continue
		}
		after, isKey := colon(text[i:])
		if !isKey {
			continue
		}
		key = strings.TrimRight(text[:i], " \t")
		value, err := plain(key)
		switch {
		case err != nil:
			return "", "", false, p.fail(r, "%v", err)
		case key == "<<":
			return "", "", false, p.fail(r, "merged mappings are not understood")
		}
		if _, isText := value.(string); !isText {
			return "", "", false, p.fail(r, "the key %q is not a string; put it in quotes", key)
		}
		return key, after, true, nil
	}
	return "", "", false, nil
}

// colon reports whether a text starts with the colon that follows a key.
func colon(text string) (after string, ok bool) {
	if text == ":" || strings.HasPrefix(text, ": ") || strings.HasPrefix(text, ":\t") {
		return strings.TrimLeft(text[1:], " \t"), true
	}
	return "", false
}

// inline reads a scalar or a flow collection that takes up the rest of a row.
func (p *parser) inline(r row, text string, indent int) (any, error) {
	f := &flow{rest: text}
	value, err := f.value(false, p.depth)
	if err == nil {
		err = f.end()
	}
	if err != nil {
		return nil, p.fail(r, "%v", err)
	}
	if after, ok := p.peek(); ok && after.indent > indent {
		return nil, p.fail(after, "a value over several rows is not understood, but as a block (| or >)")
	}
	return value, nil
}
