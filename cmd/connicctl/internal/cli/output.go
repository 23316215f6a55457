package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"
)

var formats = []string{"table", "json", "jsonl", "yaml"}

func isFormat(s string) bool { return slices.Contains(formats, s) }

// output is standard output. It keeps the first error: what is written after it
// is discarded.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(b)
	o.err = err
	return n, err
}

// A Column is a column of a table, or a line about a single item.
type Column[T any] struct {
	Name  string
	Value func(T) string
	// Width is the width in a table that grows: see [Stream].
	Width int
	// Style returns one of the styles, or "".
	Style func(T) string
	// Right aligns the values at the right, as for numbers.
	Right bool
	// Whole is set if the values are not shortened, such as ids, which are copied.
	Whole bool
	// Block is set if the value is text of several lines. It is not in lists.
	Block bool
}

// The styles, which are shown on terminals only.
const (
	Good = "32"
	Note = "33"
	Bad  = "31"
)

// ForPeople reports whether the output is for people, and not for programs.
func (a *App) ForPeople() bool { return a.format == "table" }

// color reports whether the output may be colored.
func (a *App) color() bool {
	return a.StdoutTTY && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb"
}

// Time returns a time as tables show it.
func (a *App) Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(a.Location).Format("2006-01-02 15:04:05")
}

// Print writes foreign text, and a line break if it has none at its end. It is for
// the output of a run, where that is all that was asked for.
func (a *App) Print(text string) error {
	if text = a.Text(text); text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	a.write("%s", text)
	return a.out.err
}

// Item writes one item: for people as lines with the columns that are not empty,
// and for programs as the JSON encoding of the item.
func Item[T any](a *App, item T, columns ...Column[T]) error {
	switch a.format {
	case "json":
		return a.json(item, "", "  ", "\n")
	case "jsonl":
		return a.json(item, "", "", "\n")
	case "yaml":
		return a.yaml(item)
	}
	width := 0
	for _, c := range columns {
		if !c.Block && c.Value(item) != "" {
			width = max(width, columnsOf(c.Name))
		}
	}
	for _, c := range columns {
		value := c.Value(item)
		switch {
		case value == "":
		case c.Block:
			a.write("\n%s\n", a.styled("1", strings.ToUpper(c.Name)))
			if err := a.Print(value); err != nil {
				return err
			}
		default:
			name := pad(c.Name, width)
			a.write("%s  %s\n", a.styled("1", name), a.styled(style(c, item), a.Line(value)))
		}
	}
	return a.out.err
}

// List writes the items of a list: for people as a table, for programs as a JSON
// array, JSON lines or a YAML sequence. A list that ends with an error is written
// up to there, and is valid. A table is written at the end of the list.
func List[T any](a *App, items iter.Seq2[T, error], columns ...Column[T]) error {
	return list(a, items, columns, false)
}

// Stream is like List for lists that grow: each item is written as it comes, and
// the columns have the widths that they name.
func Stream[T any](a *App, items iter.Seq2[T, error], columns ...Column[T]) error {
	return list(a, items, columns, true)
}

func list[T any](a *App, items iter.Seq2[T, error], columns []Column[T], grows bool) (err error) {
	t := newTable(a, columns, grows)
	count := 0
	for item, failed := range items {
		if failed != nil {
			err = failed
			break
		}
		count++
		switch a.format {
		case "json":
			if count > 1 {
				a.write(",")
			} else {
				a.write("[")
			}
			a.write("\n  ")
			err = a.json(item, "  ", "  ", "")
		case "jsonl":
			err = a.json(item, "", "", "\n")
		case "yaml":
			err = a.yaml([]T{item})
		default:
			err = t.add(item)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case a.format == "json" && count > 0:
		a.write("\n]\n")
	case (a.format == "json" || a.format == "yaml") && count == 0 && err == nil:
		a.write("[]\n")
	case a.format == "table" && count == 0 && err == nil && !grows:
		a.Progress.Say("nothing found")
	case a.format == "table" && count > 0:
		t.flush()
	}
	return errors.Join(err, a.out.err)
}

func (a *App) write(format string, args ...any) {
	a.Progress.Done() // both may be on one terminal
	_, _ = fmt.Fprintf(a.out, format, args...)
}

// json writes the JSON encoding of v, which is the one of package connic.
func (a *App) json(v any, prefix, indent, end string) error {
	data, err := a.encode(v)
	if err != nil {
		return err
	}
	if indent != "" {
		var b bytes.Buffer
		if err := json.Indent(&b, data, prefix, indent); err != nil {
			return err
		}
		data = b.Bytes()
	}
	a.write("%s%s", data, end)
	return a.out.err
}

// encode returns v as JSON on one line, without keys, and without characters that
// a terminal obeys.
func (a *App) encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return escape(a.mask.Bytes(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), false), nil
}

// escape escapes the characters that a terminal obeys, but for line breaks, and what
// a build obeys. They stand within quoted strings: JSON has them nowhere else. Only
// JSON has surrogate pairs.
func escape(data []byte, asYAML bool) []byte {
	data = commands.ReplaceAll(data, []byte(`#\u0023$1`))
	if !bytes.ContainsFunc(data, obeyed) {
		return data
	}
	var safe []byte
	for _, r := range string(data) {
		switch {
		case !obeyed(r):
			safe = append(safe, string(r)...)
		case r > 0xffff && asYAML:
			safe = fmt.Appendf(safe, `\U%08x`, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	return safe
}

// obeyed reports whether a character in data is escaped.
func obeyed(r rune) bool { return r != '\n' && steers(r) }

// yaml writes v as YAML with the names, values and order of its JSON.
func (a *App) yaml(v any) error {
	data, err := a.encode(v)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	node, err := yamlNode(decoder)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(node), encoder.Close()); err != nil {
		return err
	}
	a.write("%s", escape(b.Bytes(), true))
	return a.out.err
}

// yamlNode returns the next value of a decoder as YAML.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if v == '{' {
			node.Kind = yaml.MappingNode
		}
		for d.More() { // a name of an object is a value of its own
			child, err := yamlNode(d)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		_, err := d.Token()
		return node, err
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	}
	node := new(yaml.Node)
	err = node.Encode(token)
	// Of a text of several lines, each would begin a line: a build obeys :: there.
	if text, ok := token.(string); ok && (strings.ContainsFunc(text, obeyed) || strings.Contains(text, "::") || commands.MatchString(text)) {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node, err
}
