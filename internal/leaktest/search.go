// Package leaktest searches for secrets in what a program shows. It is for tests
// and for package connictest.
package leaktest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
)

// A Search finds secrets in text: in any letter case, with any of their
// characters escaped as in JSON, Go, URLs or HTML, as numbers, and in hexadecimal
// or base64. Half of a secret counts as the secret. It is safe for concurrent use.
type Search struct {
	// forms are those of the secrets, in lower case, by their first two bytes.
	forms [1 << 16][]string
}

// least is the minimum length of what is searched for, so that nothing is found
// by chance.
const least = 4

// For returns a Search for secrets of at least 8 bytes. Of a key with a known
// prefix, it finds the part after the prefix.
func For(secrets ...string) *Search {
	s := new(Search)
	for _, secret := range secrets {
		secret = strings.TrimPrefix(strings.TrimPrefix(secret, "cnc_"), "cbr_")
		if len(secret) < 2*least {
			panic("leaktest: the secret is too short to be told from other text") //nolint:forbidigo // a mistake in a test
		}
		half := len(secret) / 2
		for i := range len(secret) - half + 1 {
			s.add(secret[i : i+half])
		}
		for _, form := range []string{secret, strings.ToUpper(secret), strings.ToLower(secret)} {
			head := form[:half]
			s.add(hex.EncodeToString([]byte(head)))
			s.add(fmt.Sprintf("% x", head))
			for _, format := range []string{"%d", "%#02x"} {
				for _, between := range []string{" ", ",", ", "} {
					s.add(numbers(head, format, between))
				}
			}
			if half < 2*least {
				head = form
			}
			s.addBase64(head)
		}
	}
	return s
}

// Whole returns a Search for values of at least 8 bytes, such as ids. A part of a
// value does not count as the value.
func Whole(values ...string) *Search {
	s := new(Search)
	for _, value := range values {
		s.add(value)
		s.add(hex.EncodeToString([]byte(value)))
		s.addBase64(value)
	}
	return s
}

func (s *Search) addBase64(value string) {
	for offset := range 3 {
		core := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + value))
		core = core[(8*offset+5)/6 : 8*(offset+len(value))/6] // what does not depend on its neighbors
		s.add(core)
		s.add(strings.NewReplacer("+", "-", "/", "_").Replace(core))
	}
}

func (s *Search) add(form string) {
	form = strings.ToLower(form)
	first := pair(form[0], form[1])
	if !slices.Contains(s.forms[first], form) {
		s.forms[first] = append(s.forms[first], form)
	}
}

func pair(a, b byte) int { return int(a)<<8 | int(b) }

func numbers(s, format, between string) string {
	var all []string
	for _, c := range []byte(s) {
		all = append(all, fmt.Sprintf(format, c))
	}
	return strings.Join(all, between)
}

// layers limits how many layers of escapes are decoded.
const layers = 5

// In returns the line of a text that contains a secret, or "".
func (s *Search) In(text string) string {
	if s.in([]byte(text)) {
		for line := range strings.Lines(text) {
			if s.in([]byte(line)) {
				return line
			}
		}
		return text
	}
	return ""
}

func (s *Search) in(text []byte) bool {
	text = bytes.ToLower(text)
	for range layers {
		for i := range max(0, len(text)-1) {
			for _, form := range s.forms[pair(text[i], text[i+1])] {
				if bytes.HasPrefix(text[i:], []byte(form)) {
					return true
				}
			}
		}
		plain := bytes.ToLower(unescape(text))
		if len(plain) == len(text) {
			break
		}
		text = plain
	}
	return false
}

// unescape decodes one layer of escapes.
func unescape(text []byte) []byte {
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if c := text[i]; c != '\\' && c != '%' && c != '&' {
			plain = append(plain, c)
			continue
		}
		rest := text[i:]
		digits := 0 // position of two hexadecimal digits
		switch {
		case rest[0] == '%':
			digits = 1
		case bytes.HasPrefix(rest, []byte(`\x`)):
			digits = 2
		case bytes.HasPrefix(rest, []byte(`\u00`)):
			digits = 4
		case rest[0] == '\\' && len(rest) > 1 && strings.IndexByte(`/\"'`, rest[1]) >= 0:
			i++
			plain = append(plain, rest[1])
			continue
		case rest[0] == '&':
			if end := bytes.IndexByte(rest[:min(len(rest), 12)], ';'); end > 0 {
				if entity := string(rest[:end+1]); html.UnescapeString(entity) != entity {
					plain = append(plain, html.UnescapeString(entity)...)
					i += end
					continue
				}
			}
		}
		if digits > 0 && len(rest) >= digits+2 {
			if c, err := strconv.ParseUint(string(rest[digits:digits+2]), 16, 8); err == nil {
				plain = append(plain, byte(c))
				i += digits + 1
				continue
			}
		}
		plain = append(plain, rest[0])
	}
	return plain
}
