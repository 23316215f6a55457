package connic

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// notInKey lists the printable characters that end a key in a text around it.
const notInKey = "\"'`<>()[]{},;\\"

func isKeyByte(c byte) bool {
	return c > ' ' && c <= '~' && strings.IndexByte(notInKey, c) < 0
}

// keyPattern matches whatever looks like an API key: as it is, with any of its
// characters escaped as JSON, URLs and HTML do it, once or several times, and in
// hexadecimal and base64. It knows the prefix and not the key, so it also finds
// keys that were rotated away.
var keyPattern = regexp.MustCompile(keyExpression())

func keyExpression() string {
	var prefix, digits strings.Builder
	for _, c := range []byte(keyPrefix) {
		either := fmt.Sprintf("%02x", c)
		either = strings.NewReplacer("e", "[eE]", "f", "[fF]").Replace(either)
		digits.WriteString(either)
		fmt.Fprintf(&prefix, `(?:%c|\\+(?:u00|x)%s|%%(?:25)*%s|&#0*%d;|&#[xX]0*%s;)`, c, either, either, c, either)
	}
	const (
		escaped = `\\+(?:/|(?:u00|x)[2-7][0-9a-fA-F])|&(?:amp|#[xX]?[0-9a-fA-F]+);`
		base64  = `(?:Y25jX|NuY1|jbmNf)[A-Za-z0-9+/_=-]{4,}` // of the prefix, wherever it stands among threes
	)
	return prefix.String() + `(?:` + escaped + `|[^\s` + regexp.QuoteMeta(notInKey) + `])+|` +
		digits.String() + `[0-9a-fA-F]{4,}|` + base64
}

// keySigns are what a text with a key in any of those forms contains.
var keySigns = [...]string{keyPrefix, `\`, "%", "&#", "636", "Y25jX", "NuY1", "jbmNf"}

// maskKeys replaces whatever looks like an API key, for texts that came from the
// service: some gateways repeat the request in their errors.
func maskKeys(s string) string {
	for _, sign := range keySigns {
		if strings.Contains(s, sign) {
			return keyPattern.ReplaceAllString(s, keyPrefix+"…")
		}
	}
	return s
}

// maskedCopy copies a body, with the keys in it masked.
func maskedCopy(body []byte) []byte {
	for _, sign := range keySigns {
		if bytes.Contains(body, []byte(sign)) {
			return []byte(maskKeys(string(body)))
		}
	}
	return bytes.Clone(body)
}

// maskHeader returns h with the keys in its values masked. It copies h only if
// there are any.
func maskHeader(h http.Header) http.Header {
	masked, copied := h, false
	for name, values := range h {
		for i, value := range values {
			text := maskKeys(value)
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

// maskError returns err, or an error in its place that says the same without the
// keys in it: net/http quotes answers that it cannot read, and errors of proxies,
// transports and key sources say what they like. The error in its place matches
// what err matches, and does not unwrap.
func maskError(err error) error {
	if err == nil || !showsKey(err) {
		return err
	}
	return &maskedError{
		text: maskKeys(err.Error()),
		is:   func(target error) bool { return errors.Is(err, target) },
		as:   func(target any) bool { return errors.As(err, target) },
	}
}

// showsKey reports whether the text of err, or of an error within it, has a key.
func showsKey(err error) bool {
	if text := err.Error(); maskKeys(text) != text {
		return true
	}
	switch within := err.(type) { //nolint:errorlint // it goes from error to error itself
	case interface{ Unwrap() error }:
		if inner := within.Unwrap(); inner != nil {
			return showsKey(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range within.Unwrap() {
			if inner != nil && showsKey(inner) {
				return true
			}
		}
	}
	return false
}

// maskedError keeps the error that it stands for in closures, so that printing
// cannot reach it.
type maskedError struct {
	text string
	is   func(error) bool
	as   func(any) bool
}

func (e *maskedError) Error() string        { return e.text }
func (e *maskedError) Is(target error) bool { return e.is(target) }
func (e *maskedError) As(target any) bool   { return e.as(target) }
