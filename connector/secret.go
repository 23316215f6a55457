package connector

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/connic-go/connic"
)

// Secret is the secret of a connector. A [Connector] sends it with each call, and
// [Handler] checks signatures with it. The empty Secret stands for a connector whose
// authentication is switched off.
//
// A Secret prints as "…" in every form, followed by its last four characters if it
// has 16 or more. Convert it to a string to get the secret itself. Package fmt cannot
// ask the unexported fields of a struct how they print: keep a secret in an exported
// field, or do not print the struct.
type Secret string

func (s Secret) redacted() string {
	switch {
	case s == "":
		return ""
	case len(s) >= 16:
		return "…" + string(s[len(s)-4:])
	default:
		return "…"
	}
}

// String returns the redacted secret.
func (s Secret) String() string { return s.redacted() }

// GoString returns the redacted secret.
func (s Secret) GoString() string { return `connector.Secret("` + s.redacted() + `")` }

// Format implements [fmt.Formatter], so that no verb prints the secret.
func (s Secret) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", s.redacted())
	case verb == 'v' && f.Flag('#'):
		_, _ = f.Write([]byte(s.GoString()))
	default:
		_, _ = f.Write([]byte(s.redacted()))
	}
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.redacted()) }

// MarshalText implements [encoding.TextMarshaler] with the redacted secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.redacted()), nil }

// MarshalJSON implements [json.Marshaler] with the redacted secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.redacted()) }

// parseSecret trims and checks a secret that goes into a header. Its errors do not
// repeat it.
func parseSecret(s Secret) (Secret, error) {
	trimmed := Secret(strings.TrimSpace(string(s)))
	if trimmed == "" && s != "" {
		return "", argument("New", "secret", "is blank; pass an empty one for a connector without authentication")
	}
	for i := range len(trimmed) {
		if c := trimmed[i]; c < ' ' || c > '~' {
			return "", argument("New", "secret", "has a line break or another character that no header can carry")
		}
	}
	return trimmed, nil
}

func argument(op, name, reason string) *connic.ArgumentError {
	return &connic.ArgumentError{Op: "connector." + op, Arg: name, Reason: reason}
}

// mask hides a secret and a URL in texts of others: services repeat requests in
// their errors, net/http prints URLs, and transports say what they like. A secret
// has no prefix to look for, so it is looked for itself, in the forms in which
// JSON, URLs, hexadecimal and base64 write it.
type mask struct{ replacer *strings.Replacer }

func newMask(secret Secret, u *url.URL) mask {
	var forms []string
	add := func(text string) {
		if text == "" {
			return
		}
		quoted, _ := json.Marshal(text) // a string always has a JSON form
		forms = append(forms, text, string(quoted[1:len(quoted)-1]),
			url.QueryEscape(text), url.PathEscape(text),
			hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text))))
		forms = append(forms, base64Forms(text)...)
	}
	add(string(secret))
	if u != nil {
		add(u.RawQuery)
		if len(u.Path) > 1 {
			add(u.Path)
			add(u.EscapedPath())
			// A gateway may show the last segment only, which is what names the connector.
			if last := u.Path[strings.LastIndexByte(strings.TrimRight(u.Path, "/"), '/')+1:]; len(last) >= 8 {
				add(last)
			}
		}
	}
	// At one place the replacer takes the first form that fits.
	slices.SortStableFunc(forms, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, form := range slices.Compact(forms) {
		pairs = append(pairs, form, "…")
	}
	return mask{strings.NewReplacer(pairs...)}
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

// text masks a text, and makes it one line without control characters.
func (m mask) text(s string) string {
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

func (m mask) bytes(b []byte) []byte { return []byte(m.replacer.Replace(string(b))) }

// err returns err, or an error in its place that says the same without the secret:
// it matches what err matches, and does not unwrap.
func (m mask) err(err error) error {
	if err == nil || !m.shows(err) {
		return err
	}
	return &maskedError{
		text: m.text(err.Error()),
		is:   func(target error) bool { return errors.Is(err, target) },
	}
}

func (m mask) shows(err error) bool {
	if text := err.Error(); m.text(text) != text {
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
