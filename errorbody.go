package connic

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

const (
	maxDetail    = 500 // characters of Error.Detail
	maxErrorBody = 64 << 10
	maxFields    = 100 // of Error.Fields
	maxNesting   = 8   // of lists and objects that are inspected
	maxID        = 200 // characters of a request id, a path or a redirect's target
)

// parseError returns the *Error of a response. body is not retained.
func parseError(op *api.Operation, method, path string, resp *http.Response, body []byte, m *mask.Mask) *Error {
	e := &Error{
		Op: op.Name, Method: method, Path: m.Line(path, maxID), StatusCode: resp.StatusCode,
		Section: op.Section, Access: op.Access,
		RequestID:  m.Line(requestID(resp.Header), maxID),
		RetryAfter: retryAfter(resp.Header, time.Now()),
	}
	if len(body) == 0 {
		return e
	}
	e.Body = m.Head(body, maxErrorBody)
	e.Detail, e.Fields = parseDetail(e.Body)
	if bytes.IndexByte(body, '\\') >= 0 { // the key may be escaped in the body
		e.Detail = m.Text(e.Detail)
	}
	return e
}

func requestID(h http.Header) string {
	for _, name := range [...]string{"X-Request-Id", "X-Correlation-Id", "Cf-Ray"} {
		if id := h[name]; len(id) > 0 {
			return id[0]
		}
	}
	return ""
}

// parseDetail extracts the explanation from the body of an error. It accepts a
// "detail" of any JSON type, the keys that other frameworks use instead, and
// bodies that are not JSON at all.
func parseDetail(body []byte) (string, []FieldError) {
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
func flatten(raw json.RawMessage, depth int) (string, []FieldError) {
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
		var fields []FieldError
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

func parseField(raw json.RawMessage) (FieldError, bool) {
	var item struct {
		Loc  []any  `json:"loc"`
		Msg  string `json:"msg"`
		Type string `json:"type"`
	}
	if raw[0] != '{' || json.Unmarshal(raw, &item) != nil || item.Msg == "" || len(item.Loc) == 0 {
		return FieldError{}, false
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
	return FieldError{Loc: shorten(strings.Join(parts, ".")), Msg: shorten(item.Msg), Type: shorten(item.Type)}, true
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

// shorten returns s as one safe line of at most maxDetail characters.
func shorten(s string) string { return mask.Line(s, maxDetail) }
