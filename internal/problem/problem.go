// Package problem extracts what an error body says.
package problem

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

const (
	// MaxDetail is the maximum number of characters of a detail.
	MaxDetail  = 500
	maxFields  = 100
	maxNesting = 8 // of lists and objects that are inspected
)

// A Field is what an error body says about one field of the request.
type Field struct{ Loc, Msg, Type string }

// Parse extracts the explanation from the body of an error. It accepts a
// "detail" of any JSON type, the keys that other frameworks use instead, and
// bodies that are not JSON at all.
func Parse(body []byte) (detail string, fields []Field) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(body) == 0 {
		return "", nil
	}
	var found [len(detailKeys)]json.RawMessage
	d := lenient.New(body)
	if d.End(d.Members(func(key []byte) error {
		for i, name := range detailKeys {
			if string(key) == name && d.Peek() != 'n' {
				start := d.Offset()
				err := d.Skip()
				found[i] = d.Since(start)
				return err
			}
		}
		return d.Skip()
	})) != nil {
		return shorten(plainText(body)), nil
	}
	for _, raw := range found {
		if len(raw) > 0 {
			text, fields := flatten(raw, maxNesting)
			return shorten(text), fields
		}
	}
	return "", nil
}

// detailKeys are the keys of the explanation, the documented one first.
var detailKeys = [...]string{"detail", "message", "error"}

// flatten converts any JSON value to text, and a list of {loc, msg, type} to
// fields as well.
func flatten(raw json.RawMessage, depth int) (string, []Field) {
	if depth == 0 {
		return "…", nil
	}
	switch raw[0] {
	case '"':
		return lenient.Text(raw), nil
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return string(raw), nil
		}
		var texts []string
		var fields []Field
		for _, item := range items[:min(len(items), maxFields)] {
			if field, ok := parseField(item); ok {
				fields = append(fields, field)
				texts = append(texts, field.Loc+": "+field.Msg)
				continue
			}
			text, inner := flatten(item, depth-1)
			texts = append(texts, text)
			fields = append(fields, inner[:min(len(inner), maxFields-len(fields))]...)
		}
		return strings.Join(texts, "; "), fields
	case '{':
		var inner struct {
			Detail  json.RawMessage `json:"detail"`
			Message string          `json:"message"`
			Msg     string          `json:"msg"`
		}
		if json.Unmarshal(raw, &inner) == nil {
			switch {
			case inner.Message != "":
				return inner.Message, nil
			case inner.Msg != "":
				return inner.Msg, nil
			case len(inner.Detail) > 0:
				return flatten(inner.Detail, depth-1)
			}
		}
	}
	return string(raw), nil
}

func parseField(raw json.RawMessage) (Field, bool) {
	var item struct {
		Loc  []any  `json:"loc"`
		Msg  string `json:"msg"`
		Type string `json:"type"`
	}
	if raw[0] != '{' || json.Unmarshal(raw, &item) != nil || item.Msg == "" || len(item.Loc) == 0 {
		return Field{}, false
	}
	parts := make([]string, len(item.Loc))
	for i, part := range item.Loc {
		switch p := part.(type) {
		case string:
			parts[i] = p
		case float64:
			parts[i] = strconv.FormatFloat(p, 'f', -1, 64)
		default:
			parts[i] = "?"
		}
	}
	return Field{Loc: shorten(strings.Join(parts, ".")), Msg: shorten(item.Msg), Type: shorten(item.Type)}, true
}

// plainText reduces an HTML page to its title, and returns other text
// unchanged.
func plainText(body []byte) string {
	if body[0] != '<' {
		return strings.ToValidUTF8(string(body), "�")
	}
	lower := bytes.ToLower(body)
	for _, tag := range [...]string{"title", "h1"} {
		start := bytes.Index(lower, []byte("<"+tag+">"))
		if start < 0 {
			continue
		}
		start += len(tag) + 2
		if end := bytes.Index(lower[start:], []byte("</"+tag)); end > 0 && start+end <= len(body) {
			return strings.ToValidUTF8(strings.TrimSpace(string(body[start:start+end])), "�")
		}
	}
	return "the response is an HTML page"
}

// shorten returns s as one safe line of at most MaxDetail characters.
func shorten(s string) string { return mask.Line(s, MaxDetail) }
