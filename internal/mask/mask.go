// Package mask removes secrets and unsafe characters from text: from errors,
// events, logs, headers and captured bodies.
//
// It finds two kinds of secrets. Those with a known prefix (API keys, bridge
// tokens) are found by the prefix, so a key that is no longer in use is found
// too, and the user and password of a URL by their place. Others are found by
// their value, which is given to a [Mask].
package mask

import (
	"bytes"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// The prefixes of secrets that are found without knowing their value.
const (
	KeyPrefix    = "cnc_" // API keys
	BridgePrefix = "cbr_" // bridge tokens
)

// A Mask replaces secrets in text. A nil *Mask knows only the prefixes. It is
// safe for concurrent use.
type Mask struct {
	// The secrets are captured in a closure, so that printing a Mask cannot
	// reveal them.
	needles func() *needles
}

// New returns a Mask that also finds the given secrets: in any letter case,
// escaped as in JSON, URLs or HTML, and in hexadecimal or base64. For a secret
// with a known prefix, it also finds the part after the prefix. Secrets and
// parts of less than 8 bytes cannot be distinguished from other text and are
// ignored.
//
// Of a secret that the end of a text cuts, it finds the first half and more.
//
// New is lazy: the work is done for the first text.
func New(secrets ...string) *Mask { return NewLazy(nil, secrets...) }

// NewLazy is New with the secrets that more returns as well. It is called once,
// for the first text.
func NewLazy(more func() []string, secrets ...string) *Mask {
	l := &lazy{secrets: secrets, more: more}
	return &Mask{l.get}
}

// lazy builds its needles on first use.
type lazy struct {
	secrets []string
	more    func() []string
	once    sync.Once
	needles *needles
}

func (l *lazy) get() *needles {
	l.once.Do(func() {
		secrets := l.secrets
		defer func() { // more may be user code, which may panic or exit
			_ = recover()
			l.needles = makeNeedles(secrets)
		}()
		if l.more != nil {
			secrets = append(l.more(), secrets...)
		}
	})
	return l.needles
}

// ProxyPassword returns the password of the proxy through which a transport
// reaches a URL, which proxies and net/http may repeat in a response or an error.
// It returns nothing if there is none.
func ProxyPassword(transport http.RoundTripper, target *url.URL) []string {
	t, ok := transport.(*http.Transport)
	if !ok || t.Proxy == nil {
		return nil
	}
	proxy, err := t.Proxy(&http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: http.Header{}})
	if err != nil || proxy == nil {
		return nil
	}
	password, _ := proxy.User.Password()
	return []string{password}
}

// maxLine is how much of a text Line processes if the result is bounded.
const maxLine = 64 << 10

// Text returns s with the secrets in it replaced.
func (m *Mask) Text(s string) string {
	if suspicious(s) {
		for _, p := range patterns {
			s = p.replace(s)
		}
	}
	if strings.Contains(s, "@") {
		s = userinfo().ReplaceAllString(s, "$1…@")
	}
	if m != nil {
		s = m.needles().replace(s)
	}
	return s
}

// userinfo finds the user of a URL. Slashes may be escaped as in JSON or a query.
var userinfo = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`((?::|%(?:25)*3[aA])(?:\\*/|%(?:25)*2[fF]){2})[^\s/?#@"'<>\\]+@`)
})

// Bytes returns a copy of b with the secrets in it replaced.
func (m *Mask) Bytes(b []byte) []byte {
	if !suspicious(b) && bytes.IndexByte(b, '@') < 0 && (m == nil || !mayBeIn(m.needles(), b)) {
		return bytes.Clone(b)
	}
	return []byte(m.Text(string(b)))
}

// Head returns a copy of about the first most bytes of b, with the secrets in
// them replaced. It examines the bytes that follow too, so that no part of a
// secret is left at the end.
func (m *Mask) Head(b []byte, most int) []byte {
	if len(b) <= most {
		return m.Bytes(b)
	}
	seen := b[:min(len(b), most+maxSecret)]
	masked := m.Bytes(seen)
	if len(seen) < len(b) { // what follows may complete a secret
		masked = masked[:max(0, len(masked)-maxSecret)]
	}
	return masked[:min(len(masked), most)]
}

// maxSecret is the maximum length of a secret in a text, including its escapes.
const maxSecret = 1 << 10

// Line returns s as one line that is safe to print, with its secrets replaced,
// and at most most characters long; 0 means no limit.
//
// Line breaks and tabs become spaces. Other control characters, and format
// characters such as those that change the direction of text, are written as Go
// escapes.
func (m *Mask) Line(s string, most int) string {
	if most > 0 {
		s = clip(s, maxLine) // masking takes time, and the rest would not be shown
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

// KeyByte reports whether c can be part of an API key.
func KeyByte(c byte) bool {
	return c > ' ' && c <= '~' && strings.IndexByte(notInKey, c) < 0
}

// Text, Line, Bytes, Header and Error are the methods of a Mask that knows only
// the prefixes.

// Text returns s with the secrets in it replaced.
func Text(s string) string { return (*Mask)(nil).Text(s) }

// Line returns s as one safe line: see [Mask.Line].
func Line(s string, most int) string { return (*Mask)(nil).Line(s, most) }

// Bytes returns a copy of b with the secrets in it replaced.
func Bytes(b []byte) []byte { return (*Mask)(nil).Bytes(b) }

// Header returns h with the secrets in its values replaced.
func Header(h http.Header) http.Header { return (*Mask)(nil).Header(h) }

// Error returns err, or a safe replacement: see [Mask.Error].
func Error(err error) error { return (*Mask)(nil).Error(err) }
