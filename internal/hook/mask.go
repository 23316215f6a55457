package hook

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Mask hides a secret and a URL in texts of others: services repeat requests in
// their errors, net/http prints URLs, and transports say what they like. A secret
// has no prefix to look for, so it is looked for itself, in the forms in which
// JSON, URLs, hexadecimal and base64 write it.
type Mask struct{ replacer *strings.Replacer }

// NewMask makes a Mask of texts.
func NewMask(hidden ...string) Mask {
	var forms []string
	for _, text := range hidden {
		if text == "" {
			continue
		}
		quoted, _ := json.Marshal(text) // a string always has a JSON form
		forms = append(forms, text, string(quoted[1:len(quoted)-1]),
			url.QueryEscape(text), url.PathEscape(text),
			hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text))))
		forms = append(forms, base64Forms(text)...)
	}
	// At one place the replacer takes the first form that fits.
	slices.SortStableFunc(forms, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, form := range slices.Compact(forms) {
		pairs = append(pairs, form, "…")
	}
	return Mask{strings.NewReplacer(pairs...)}
}

// base64Forms are the parts of a text in base64 that do not depend on what stands
// beside it.
func base64Forms(text string) []string {
	var forms []string
	for offset := range 3 {
		padded := append(make([]byte, offset), text...)
		for _, encoding := range [...]*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(padded)
			first := (8*offset + 5) / 6      // the first character of the text's bits alone
			last := len(padded) * 8 / 6      // and the one after the last
			if last-first >= minBase64Form { // shorter ones stand in any text
				forms = append(forms, encoded[first:last])
			}
		}
	}
	return forms
}

const minBase64Form = 6

// Text masks a text, and makes it one line without control characters.
func (m Mask) Text(s string) string {
	return m.replacer.Replace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || (r >= 0x7f && r < 0xa0),
			r == '\u2028' || r == '\u2029',
			r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e' || r == '\u200f' || r == '\u061c':
			return -1 // controls of terminals, line separators, and of the direction of writing
		}
		return r
	}, strings.ToValidUTF8(s, "�")))
}

// Bytes masks a copy of b.
func (m Mask) Bytes(b []byte) []byte { return []byte(m.replacer.Replace(string(b))) }

// Error returns err, or an error in its place that says the same without the secret:
// it matches what err matches, and does not unwrap.
func (m Mask) Error(err error) error {
	if err == nil || !m.shows(err) {
		return err
	}
	return &maskedError{
		text: m.Text(err.Error()),
		is:   func(target error) bool { return errors.Is(err, target) },
	}
}

func (m Mask) shows(err error) bool {
	if text := err.Error(); m.Text(text) != text {
		return true
	}
	switch within := err.(type) { //nolint:errorlint // it goes from error to error itself
	case interface{ Unwrap() error }:
		if inner := within.Unwrap(); inner != nil {
			return m.shows(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range within.Unwrap() {
			if inner != nil && m.shows(inner) {
				return true
			}
		}
	}
	return false
}

// maskedError keeps the error that it stands for in a closure, so that neither
// printing nor errors.As can reach it.
type maskedError struct {
	text string
	is   func(error) bool
}

func (e *maskedError) Error() string        { return e.text }
func (e *maskedError) Is(target error) bool { return e.is(target) }
