// Package typed decodes JSON that an agent received or returned into a Go type,
// and says which field does not fit. encoding/json does the decoding; what it
// accepts silently, such as an absent field, is found by a second pass over the
// text, which types without a required field do not pay for.
package typed

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// A Reason says why a text is not a value of a type.
type Reason string

// The reasons.
const (
	Empty    Reason = "empty"    // it is blank, or null for a type without nil
	NotJSON  Reason = "not JSON" // it is not exactly one JSON value
	Mismatch Reason = "mismatch" // a value has another JSON type, or is out of range
	Missing  Reason = "missing"  // a required field is absent, or null for a type without nil
)

// An Error says where a text is not a value of a type. Its text quotes names and
// types, and nothing of the text but for the kinds of its values.
type Error struct {
	Reason Reason
	// Field is the path of the value, such as "items[3].price". A key of a map,
	// which is content, is written as "*". It is empty for the whole text, and if
	// the place is not known.
	Field string
	Kind  string // of the JSON value that does not fit: "string"
	Type  string // the Go type that it does not fit
	Err   error  // of the decoder, which may quote the text; nil if it had none
}

func (e *Error) Error() string {
	what := e.Field
	if what == "" {
		what = "it"
	}
	switch {
	case e.Reason == Empty:
		return what + " is empty"
	case e.Reason == NotJSON:
		return what + " is not exactly one JSON value"
	case e.Reason == Missing:
		return what + " is missing"
	case e.Kind == "":
		return what + " does not fit"
	}
	return fmt.Sprintf("%s is a JSON %s that is no %s", what, e.Kind, e.Type)
}

// within adds the name of an outer field to the path.
func (e *Error) within(name string) *Error {
	if e.Field != "" && e.Field[0] != '[' {
		name += "."
	}
	e.Field = name + e.Field
	return e
}

var errMore = errors.New("more follows the value")

// Decode decodes a text that is exactly one JSON value. For a type of kind string
// it is the text itself. With an error it returns the zero value.
func Decode[T any](text string) (T, *Error) {
	var v, zero T
	target := reflect.ValueOf(&v).Elem()
	if target.Kind() == reflect.String {
		target.SetString(text)
		return v, nil
	}
	if e := planOf(target.Type()).decode(text, target); e != nil {
		return zero, e
	}
	return v, nil
}

func (p *plan) decode(text string, target reflect.Value) *Error {
	switch strings.TrimSpace(text) {
	case "":
		return &Error{Reason: Empty}
	case "null":
		if !nilable(target.Type()) {
			return &Error{Reason: Empty}
		}
	}
	if err := p.unmarshal(text, target); err != nil {
		if !json.Valid([]byte(text)) {
			return &Error{Reason: NotJSON, Err: err}
		}
		if whole := p.integers(text); whole != text {
			target.SetZero()
			text, err = whole, p.unmarshal(whole, target)
		}
		if err != nil {
			return p.locate(text, err)
		}
	}
	if !p.required {
		return nil
	}
	w := walk{text: text}
	return w.value(p)
}

// unmarshal decodes with encoding/json. Numbers keep their digits also where the
// type says nothing of them.
func (p *plan) unmarshal(text string, target reflect.Value) error {
	v := target.Addr().Interface()
	if !p.dynamic {
		return json.Unmarshal([]byte(text), v)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if strings.Trim(text[d.InputOffset():], " \t\r\n") != "" {
		return errMore
	}
	return nil
}

// integers returns the text with the integers among its numbers that are written
// with a fraction or an exponent, such as 5.0, written without, where the type
// wants an integer.
func (p *plan) integers(text string) string {
	var b strings.Builder
	done := 0
	w := walk{text: text, leaf: func(p *plan, from, to int) *Error {
		if number := text[from:to]; p.integer && kindOf(number) == "number" {
			if digits, ok := integer(number); ok {
				b.WriteString(text[done:from] + digits)
				done = to
			}
		}
		return nil
	}}
	_ = w.value(p)
	if done == 0 {
		return text
	}
	b.WriteString(text[done:])
	return b.String()
}

// locate returns the error for the first value that does not fit.
func (p *plan) locate(text string, err error) *Error {
	w := walk{text: text, leaf: func(p *plan, from, to int) *Error {
		raw := text[from:to]
		if raw == "null" || p.fits(raw) {
			return nil
		}
		return &Error{Reason: Mismatch, Kind: kindOf(raw), Type: p.of.String(), Err: err}
	}}
	if e := w.value(p); e != nil {
		return e
	}
	return &Error{Reason: Mismatch, Err: err}
}

// fits reports whether a JSON value by itself decodes into the type.
func (p *plan) fits(raw string) bool {
	if p.quoted {
		if len(raw) < 2 || raw[0] != '"' {
			return false
		}
		raw = raw[1 : len(raw)-1]
	}
	return json.Unmarshal([]byte(raw), reflect.New(p.of).Interface()) == nil
}

// kindOf returns the name of a JSON value's kind.
func kindOf(raw string) string {
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// integer returns the digits of a JSON number that has a fraction or an exponent
// and is an integer of at most maxDigits digits.
func integer(number string) (digits string, ok bool) {
	const maxDigits = 20 // those of the largest uint64
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(number), "e")
	whole, fraction, broken := strings.Cut(mantissa, ".")
	if !scientific && !broken {
		return "", false
	}
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	point := len(whole)
	digits = whole + fraction
	if strings.Trim(digits, "0") == "" {
		return "0", true
	}
	if scientific {
		n, ok := small(exponent)
		if !ok {
			return "", false
		}
		point += n
	}
	significant := strings.TrimRight(digits, "0")
	if point < len(significant) {
		return "", false
	}
	digits = strings.TrimLeft(significant+strings.Repeat("0", point-len(significant)), "0")
	return sign + digits, len(digits) <= maxDigits
}

// small returns an exponent of at most four digits.
func small(exponent string) (n int, ok bool) {
	digits := strings.TrimLeft(exponent, "+-0")
	if len(digits) > 4 {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	if exponent[0] == '-' {
		n = -n
	}
	return n, true
}
