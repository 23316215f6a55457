// Package mask keeps secrets and unsafe characters out of texts: of errors,
// events, logs, headers and captured bodies.
//
// Two kinds of secrets are found. Those with a known prefix (API keys, bridge
// tokens) are found by it, so a key that was rotated away is found too. Others
// are found by their value, which a [Mask] is made of.
package mask

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
)

// The prefixes of secrets that are found without being known.
const (
	KeyPrefix    = "cnc_" // API keys
	BridgePrefix = "cbr_" // bridge tokens
)

// Mask replaces secrets in texts. A nil *Mask knows the prefixes only. It is safe
// for concurrent use.
type Mask struct {
	// The secrets lie in a closure, so that printing a Mask cannot reach them.
	needles func() *needles
}

// New returns a Mask that also finds the given secrets: in any letter case,
// escaped as JSON, URLs and HTML do it, and in hexadecimal and base64. Of a secret
// with a known prefix it finds the part behind the prefix too. Secrets, or parts,
// of less than 8 bytes are too short to be told from other text, and are left out.
//
// New does no work; the first text does.
func New(secrets ...string) *Mask {
	l := &lazy{secrets: secrets}
	return &Mask{l.get}
}

// lazy makes its needles when they are first asked for.
type lazy struct {
	secrets []string
	once    sync.Once
	needles *needles
}

func (l *lazy) get() *needles {
	l.once.Do(func() { l.needles = makeNeedles(l.secrets) })
	return l.needles
}

// maxLine is how much of a text Line looks at where it is bounded.
const maxLine = 64 << 10

// Text returns s with the secrets in it replaced.
func (m *Mask) Text(s string) string {
	if suspicious(s) {
		for _, p := range patterns {
			s = p.replace(s)
		}
	}
	if m != nil {
		s = m.needles().replace(s)
	}
	return s
}

// Bytes returns a copy of b with the secrets in it replaced.
func (m *Mask) Bytes(b []byte) []byte {
	if !suspicious(b) && (m == nil || !mayBeIn(m.needles(), b)) {
		return bytes.Clone(b)
	}
	return []byte(m.Text(string(b)))
}

// Line returns s as one line that is safe to print, with the secrets in it
// replaced and at most most characters long; most of 0 means no bound.
//
// Line breaks and tabs become blanks. Other control characters, and format
// characters such as those that turn the direction of a text, are written as Go
// escapes them.
func (m *Mask) Line(s string, most int) string {
	if most > 0 {
		s = clip(s, maxLine) // masking takes time, and nothing beyond would be shown
	}
	return shorten(oneLine(m.Text(s)), most)
}

// Header returns h with the secrets in its values replaced. It copies h only if
// there are any.
func (m *Mask) Header(h http.Header) http.Header {
	masked, copied := h, false
	for name, values := range h {
		for i, value := range values {
			text := m.Text(value)
			if text == value {
				continue
			}
			if !copied {
				masked, copied = h.Clone(), true
			}
			masked[name][i] = text
		}
	}
	return masked
}

// KeyByte reports whether c can be a part of an API key.
func KeyByte(c byte) bool {
	return c > ' ' && c <= '~' && strings.IndexByte(notInKey, c) < 0
}

// Text, Line, Bytes, Header and Error are the methods of a Mask that knows the
// prefixes only.

// Text returns s with the secrets in it replaced.
func Text(s string) string { return (*Mask)(nil).Text(s) }

// Line returns s as one safe line, see [Mask.Line].
func Line(s string, most int) string { return (*Mask)(nil).Line(s, most) }

// Bytes returns a copy of b with the secrets in it replaced.
func Bytes(b []byte) []byte { return (*Mask)(nil).Bytes(b) }

// Header returns h with the secrets in its values replaced.
func Header(h http.Header) http.Header { return (*Mask)(nil).Header(h) }

// Error returns err, or one safe line in its place, see [Mask.Error].
func Error(err error) error { return (*Mask)(nil).Error(err) }
