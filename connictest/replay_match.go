package connictest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"mime/multipart"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/scrub"
)

// matching compares a request with a recorded one.
type matching struct {
	*Recording
	bound       map[string]string // what the request passes, by placeholder
	differences []string
}

// match compares a request with a recorded one. The caller holds the mutex.
func (r *Recording) match(x *recordedExchange, asked *rawExchange) *matching {
	m := &matching{Recording: r, bound: make(map[string]string)}
	want := &x.Request
	if want.Method != asked.method {
		m.differ("method", want.Method, asked.method)
	}
	m.path(want.Path, asked)
	query := asked.url.Query()
	query.Del("secret")
	names := slices.Sorted(maps.Keys(query))
	for _, name := range slices.Sorted(maps.Keys(want.Query)) {
		if !query.Has(name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		m.query(name, want.Query[name], query)
	}
	m.body(want, asked)
	return m
}

func (m *matching) differ(where, want, have string) {
	m.differences = append(m.differences, fmt.Sprintf("%s: recorded %s, sent %s", where, mask.Line(want, 200), mask.Line(have, 200)))
}

// afterBase returns a path without the part of it that the base URL has.
func afterBase(path string) string {
	for _, start := range []string{"/projects/", "/cli/", "/test-sessions"} {
		if at := strings.Index(path, start); at >= 0 {
			return path[at:]
		}
	}
	return path
}

func (m *matching) path(want string, asked *rawExchange) {
	if asked.op == connectorOperation {
		// The URL of a connector is a secret that a test need not know.
		p, have := strings.TrimPrefix(want, "/"), asked.url.Host+asked.url.EscapedPath()
		if known, ok := m.Recording.bound[p]; ok && known != have {
			m.differ("connector", known, have)
		}
		m.bound[p] = have
		return
	}
	have := afterBase(asked.url.EscapedPath())
	wants, haves := strings.Split(want, "/"), strings.Split(strings.TrimSuffix(have, "/"), "/")
	if len(wants) != len(haves) {
		m.differ("path", want, have)
		return
	}
	for i := range wants {
		if !m.text("path", wants[i], unescape(haves[i])) {
			m.differ("path", want, have)
			return
		}
	}
}

func (m *matching) query(name string, want []string, query url.Values) {
	have := query[name]
	if slices.Contains(m.options.Ignore, name) {
		return
	}
	equal := len(want) == len(have)
	for i := 0; equal && i < len(want); i++ {
		equal = m.text(name, want[i], have[i])
	}
	if !equal {
		m.differ("query "+name, strings.Join(want, ", "), strings.Join(have, ", "))
	}
}

func (m *matching) body(want *recordedRequest, asked *rawExchange) {
	if len(want.Parts) > 0 {
		m.form(want.Parts, asked)
		return
	}
	var have any
	if len(asked.body) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(asked.body))
		decoder.UseNumber()
		if decoder.Decode(&have) != nil {
			have = string(asked.body)
		}
	}
	m.value("body", want.Body, have)
}

func (m *matching) form(want []recordedPart, asked *rawExchange) {
	_, params, _ := mime.ParseMediaType(asked.header.Get("Content-Type"))
	var have []recordedPart
	for reader := multipart.NewReader(bytes.NewReader(asked.body), params["boundary"]); ; {
		part, err := reader.NextRawPart()
		if err != nil {
			break
		}
		var content bytes.Buffer
		_, _ = content.ReadFrom(part)
		have = append(have, recordedPart{part.FormName(), part.FileName(), part.Header.Get("Content-Type"), content.String()})
	}
	if len(want) != len(have) {
		m.differ("parts", strconv.Itoa(len(want)), strconv.Itoa(len(have)))
		return
	}
	for i, w := range want {
		h, where := have[i], "part "+w.Name
		if w.Name != h.Name || w.ContentType != h.ContentType || !m.text(where, w.FileName, h.FileName) {
			m.differ(where, w.Name+" "+w.ContentType+" "+w.FileName, h.Name+" "+h.ContentType+" "+h.FileName)
		} else if !slices.Contains(m.options.Ignore, w.Name) && !m.text(where, w.Body, h.Body) {
			m.differ(where, w.Body, h.Body)
		}
	}
}

// value compares JSON values.
func (m *matching) value(where string, want, have any) {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			break
		}
		h = m.renamed(w, h)
		names := make(map[string]bool)
		for name := range w {
			names[name] = true
		}
		for name := range h {
			names[name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if slices.Contains(m.options.Ignore, name) {
				continue
			}
			inner, expected := w[name]
			sent, passed := h[name]
			switch below := where + "." + name; {
			case !passed:
				m.differ(below, asJSON(inner), "nothing")
			case !expected:
				m.differ(below, "nothing", asJSON(sent))
			default:
				m.value(below, inner, sent)
			}
		}
		return
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			break
		}
		for i := range w {
			m.value(fmt.Sprintf("%s[%d]", where, i), w[i], h[i])
		}
		return
	case string:
		if h, ok := have.(string); ok && m.text(where, w, h) {
			return
		}
		if h, ok := have.(json.Number); ok && m.text(where, w, h.String()) {
			return
		}
	default:
		if want == have {
			return
		}
	}
	m.differ(where, asJSON(want), asJSON(have))
}

// renamed returns the members of h, with the placeholders that w has for their
// names.
func (m *matching) renamed(w, h map[string]any) map[string]any {
	renamed := make(map[string]any, len(h))
	for name, value := range h {
		for placeholder := range w {
			if _, passed := h[placeholder]; !passed && m.file.Arguments[placeholder] != nil && m.text("", placeholder, name) {
				name = placeholder
				break
			}
		}
		renamed[name] = value
	}
	return renamed
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // it was decoded from JSON
		return err.Error()
	}
	return string(text)
}

// text compares a string with a recorded one, which may be a placeholder.
func (m *matching) text(where, want, have string) bool {
	prints := m.file.Arguments[want]
	if want == have && (prints == nil || !isWhole(want)) || scrub.IsTime(want) && scrub.IsTime(have) {
		return true
	}
	if isSecret(want) { // which has no fingerprint
		if known, ok := m.Recording.bound[want]; ok && known != have {
			return false
		}
		m.bound[want] = have
		return true
	}
	if prints != nil {
		if slices.Contains(prints, fingerprint(have)) || slices.Contains(prints, fingerprint(m.unbound(have))) {
			m.bound[want] = have
			return true
		}
		return false
	}
	if m.unbound(have) == want {
		return true
	}
	var w, h any
	if len(want) > 1 && (want[0] == '{' || want[0] == '[') && json.Unmarshal([]byte(want), &w) == nil && json.Unmarshal([]byte(have), &h) == nil {
		inner := &matching{Recording: m.Recording, bound: m.bound}
		inner.value(where, w, h)
		return len(inner.differences) == 0
	}
	return false
}
