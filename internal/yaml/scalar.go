package yaml

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// text reads a block scalar: literal after "|", folded after ">".
func (p *parser) text(r row, header string, indent int) (any, error) {
	style, chomp := header[0], byte(0)
	options, comment, _ := strings.Cut(header[1:], " ")
	if comment = strings.TrimLeft(comment, " "); comment != "" && comment[0] != '#' {
		return nil, p.fail(r, "unexpected text after %c", style)
	}
	switch options {
	case "":
	case "-", "+":
		chomp = options[0]
	default:
		return nil, p.fail(r, "the block header %q is not understood", header)
	}
	var lines []string
	inner := -1
	for ; p.next < len(p.lines); p.next++ {
		line := p.lines[p.next]
		if line.text == "" && (inner < 0 || line.indent <= inner) {
			lines = append(lines, "")
			continue
		}
		if line.indent <= indent {
			break
		}
		if inner < 0 {
			for _, blank := range p.lines[p.next-len(lines) : p.next] {
				if blank.indent > line.indent {
					return nil, p.fail(blank, "an empty row is indented deeper than the block")
				}
			}
			if inner = line.indent; strings.HasPrefix(line.text, "\t") {
				return nil, p.fail(line, "a tab at the beginning of a block")
			}
		}
		if line.indent < inner {
			return nil, p.fail(line, "the row is indented less than its block")
		}
		if style == '>' && (line.indent > inner || strings.HasPrefix(line.text, "\t")) {
			return nil, p.fail(line, "rows that are indented deeper are not understood in a folded block")
		}
		if line.trimmed || line.text == "" {
			return nil, p.fail(line, "blanks at the end of a row are not understood in a block")
		}
		lines = append(lines, strings.Repeat(" ", line.indent-inner)+line.text)
	}
	end := len(lines)
	for end > 0 && lines[end-1] == "" {
		end--
	}
	trailing := len(lines) - end
	open := p.next == len(p.lines) && trailing == 0 // the last line has no line break
	if p.next == len(p.lines) && trailing > 0 {
		trailing-- // there is no line after the last line break
	}
	var text strings.Builder
	if style == '|' {
		text.WriteString(strings.Join(lines[:end], "\n"))
	} else {
		fold(&text, lines[:end])
	}
	switch {
	case chomp == '+' && end == 0:
		text.WriteString(strings.Repeat("\n", trailing))
	case open:
	case chomp == '+':
		text.WriteString("\n" + strings.Repeat("\n", trailing))
	case chomp == 0 && end > 0:
		text.WriteString("\n")
	}
	return text.String(), nil
}

// fold joins lines with spaces. Empty lines between them become line breaks.
func fold(text *strings.Builder, lines []string) {
	breaks := 0
	for i, line := range lines {
		switch {
		case line == "":
			breaks++
			continue
		case breaks > 0:
			text.WriteString(strings.Repeat("\n", breaks))
		case i > 0:
			text.WriteByte(' ')
		}
		breaks = 0
		text.WriteString(line)
	}
}

// flow reads a value on a single line.
type flow struct{ rest string }

func (f *flow) blanks() { f.rest = strings.TrimLeft(f.rest, " \t") }

// end refuses anything but a comment after a value.
func (f *flow) end() error {
	trimmed := strings.TrimLeft(f.rest, " \t")
	switch {
	case trimmed == "", trimmed[0] == '#' && len(trimmed) < len(f.rest):
		return nil
	}
	return fmt.Errorf("unexpected %q after the value", trimmed)
}

// value reads a scalar or a collection. inside is set within a flow collection.
func (f *flow) value(inside bool, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("collections are nested too deep")
	}
	f.blanks()
	switch {
	case f.rest == "":
		return nil, errors.New("a flow collection over several rows is not understood")
	case f.rest[0] == '[':
		return f.list(depth)
	case f.rest[0] == '{':
		return f.object(depth)
	case f.rest[0] == '"' || f.rest[0] == '\'':
		text, rest, err := quoted(f.rest)
		f.rest = rest
		return text, err
	}
	end := len(f.rest)
	for i := range len(f.rest) {
		c := f.rest[i]
		blank := i > 0 && (f.rest[i-1] == ' ' || f.rest[i-1] == '\t')
		after := i+1 == len(f.rest) || strings.IndexByte(" \t", f.rest[i+1]) >= 0
		if c == '#' && blank || inside && strings.IndexByte(",[]{}", c) >= 0 || c == ':' && (after || inside && strings.IndexByte(",[]{}", f.rest[i+1]) >= 0) {
			if c == ':' && !inside {
				return nil, errors.New("a colon and a blank within a value; put it in quotes")
			}
			end = i
			break
		}
	}
	word := strings.TrimRight(f.rest[:end], " \t")
	switch {
	case inside && word == "":
		return nil, errors.New("a value is missing in a flow collection")
	case inside && (strings.Contains(word, "?") || word[0] == ':'):
		return nil, fmt.Errorf("%q in a flow collection; put it in quotes", word)
	}
	f.rest = f.rest[len(word):]
	return plain(word)
}

func (f *flow) list(depth int) (any, error) {
	f.rest = f.rest[1:]
	list := []any{}
	for {
		f.blanks()
		if after, ok := strings.CutPrefix(f.rest, "]"); ok {
			f.rest = after
			return list, nil
		}
		value, err := f.value(true, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
		if err := f.comma("]"); err != nil {
			return nil, err
		}
	}
}

func (f *flow) object(depth int) (any, error) {
	f.rest = f.rest[1:]
	values := make(map[string]any)
	for {
		f.blanks()
		if after, ok := strings.CutPrefix(f.rest, "}"); ok {
			f.rest = after
			return values, nil
		}
		isQuoted := f.rest != "" && strings.IndexByte(`"'`, f.rest[0]) >= 0
		if f.rest != "" && strings.IndexByte("[{", f.rest[0]) >= 0 {
			return nil, errors.New("a collection as a key is not understood")
		}
		key, err := f.value(true, depth+1)
		if err != nil {
			return nil, err
		}
		name, isText := key.(string)
		if !isText || name == "<<" {
			return nil, fmt.Errorf("the key %v is not a string; put it in quotes", key)
		}
		f.blanks()
		after, ok := strings.CutPrefix(f.rest, ":")
		if !ok || !isQuoted && after != "" && strings.IndexByte(" \t", after[0]) < 0 {
			return nil, fmt.Errorf("expected a colon and a blank after the key %q", name)
		}
		f.rest = after
		value, err := f.value(true, depth+1)
		if err != nil {
			return nil, err
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("the key %q comes twice", name)
		}
		values[name] = value
		if err := f.comma("}"); err != nil {
			return nil, err
		}
	}
}

// comma moves to the next element or to the end of a collection.
func (f *flow) comma(end string) error {
	f.blanks()
	if after, ok := strings.CutPrefix(f.rest, ","); ok {
		f.rest = after
		return nil
	}
	if strings.HasPrefix(f.rest, end) {
		return nil
	}
	if f.rest == "" || f.rest[0] == '#' {
		return errors.New("a flow collection over several rows is not understood")
	}
	return fmt.Errorf("expected a comma or %s, not %q", end, f.rest)
}

// quoted reads the quoted scalar at the start of text.
func quoted(text string) (value, rest string, err error) {
	open := errors.New("a quoted text over several rows is not understood")
	var b strings.Builder
	if text[0] == '\'' {
		for i := 1; i < len(text); i++ {
			switch {
			case text[i] != '\'':
				b.WriteByte(text[i])
			case i+1 < len(text) && text[i+1] == '\'':
				b.WriteByte('\'')
				i++
			default:
				return b.String(), text[i+1:], nil
			}
		}
		return "", "", open
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), text[i+1:], nil
		case '\\':
			r, size, ok := escape(text[i+1:])
			if !ok {
				return "", "", fmt.Errorf("the escape sequence in %q is not understood", text)
			}
			b.WriteRune(r)
			i += size
		default:
			b.WriteByte(c)
		}
	}
	return "", "", open
}

// escape reads an escape sequence after its backslash.
func escape(text string) (r rune, size int, ok bool) {
	if text == "" {
		return 0, 0, false
	}
	simple := map[byte]rune{
		'0': 0, 'a': '\a', 'b': '\b', 't': '\t', 'n': '\n', 'v': '\v', 'f': '\f', 'r': '\r', 'e': 0x1b,
		'"': '"', '\\': '\\', '/': '/', ' ': ' ', 'N': 0x85, '_': 0xa0, 'L': 0x2028, 'P': 0x2029,
	}
	if r, ok := simple[text[0]]; ok {
		return r, 1, true
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[text[0]]
	if digits == 0 || len(text) < 1+digits {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(text[1:1+digits], 16, 32)
	if err != nil || !utf8.ValidRune(rune(n)) {
		return 0, 0, false
	}
	return rune(n), 1 + digits, true
}

var (
	integer = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	decimal = regexp.MustCompile(`^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?$`)
	// unsure matches words that YAML versions and parsers disagree about:
	// times, octal and other numbers, infinity, and the booleans of YAML 1.1.
	unsure = regexp.MustCompile(`(?i)^([-+]?[0-9][0-9_:,.+-]*|[-+]?0[xob][-+]?[0-9a-f_]+|[-+]?\.(inf|nan)|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([t ].*)?|[-+]?[0-9][0-9_]*\.[0-9_.e+-]*|yes|no|on|off|=)$`)
)

// plain returns the value of a plain scalar.
func plain(word string) (any, error) {
	switch word {
	case "", "~", "null", "Null", "NULL":
		return nil, nil
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	}
	if strings.IndexByte("&*!|>%@`\"'[]{},#", word[0]) >= 0 {
		return nil, fmt.Errorf("a value that begins with %c is not understood", word[0])
	}
	if strings.IndexByte("-?:", word[0]) >= 0 && (len(word) == 1 || word[1] == ' ' || word[1] == '\t') {
		return nil, fmt.Errorf("a value that begins with %c and a blank is not understood", word[0])
	}
	if integer.MatchString(word) {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			return n, nil
		}
	}
	if decimal.MatchString(word) && (strings.ContainsAny(word, ".eE") && !strings.HasPrefix(strings.TrimLeft(word, "+-"), "00")) {
		if n, err := strconv.ParseFloat(word, 64); err == nil {
			return n, nil
		}
	}
	bare := strings.ReplaceAll(word, "_", "")
	if unsure.MatchString(word) || decimal.MatchString(bare) || unsure.MatchString(bare) {
		return nil, fmt.Errorf("%q may be read in several ways; put it in quotes", word)
	}
	return word, nil
}
