package lenient

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

func decodeNull(d *Decoder, v reflect.Value) error {
	v.SetZero()
	return d.Skip()
}

// scalar reads a value as text: the content of a string, or the JSON of
// anything else. The result is valid until the next call of text.
func (d *Decoder) scalar() ([]byte, error) {
	if d.Peek() == '"' {
		return d.text()
	}
	start := d.i
	err := d.Skip()
	return d.data[start:d.i], err
}

// setString stores a copy of a string.
func (d *Decoder) setString(v reflect.Value, text []byte) error {
	if err := d.Charge(len(text)); err != nil {
		return err
	}
	v.SetString(string(text))
	return nil
}

func decodeString(d *Decoder, v reflect.Value) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	text, err := d.scalar()
	if err != nil {
		return err
	}
	return d.setString(v, text)
}

// shared decodes a string that may equal another one, whose memory it then
// shares.
func (d *Decoder) shared(v, like reflect.Value) error {
	text, err := d.text()
	if err != nil {
		return err
	}
	if other := like.String(); other == string(text) {
		v.SetString(other)
		return nil
	}
	return d.setString(v, text)
}

func decodeBool(d *Decoder, v reflect.Value) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	text, err := d.scalar()
	if err != nil {
		return err
	}
	switch strings.ToLower(string(text)) {
	case "true", "1":
		v.SetBool(true)
	case "false", "0":
		v.SetBool(false)
	default:
		return wrong("neither true nor false")
	}
	return nil
}

func decodeInt(d *Decoder, v reflect.Value) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	text, err := d.scalar()
	if err != nil {
		return err
	}
	n, ok := integer(text)
	if !ok || v.OverflowInt(n) {
		return wrong("not an integer of " + strconv.Itoa(v.Type().Bits()) + " bits")
	}
	v.SetInt(n)
	return nil
}

// integer parses a JSON number that is an integer, including forms such as 12.0
// and 1.2e1.
func integer(b []byte) (int64, bool) {
	if !isNumber(b) {
		return 0, false
	}
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		return n, true
	}
	text := strings.ToLower(string(b))
	mantissa, exponent, _ := strings.Cut(text, "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil {
			return 0, false
		}
	}
	// The digits, with the decimal point moved past the first ones.
	digits := strings.TrimRight(fraction, "0")
	point := len(whole) + min(max(shift, -1<<10), 1<<10)
	digits = whole + digits
	if point < len(digits) {
		if strings.Trim(digits[max(point, 0):], "-0") != "" {
			return 0, false
		}
		digits = digits[:max(point, 0)]
	} else if zeros := point - len(digits); strings.Trim(digits, "-0") != "" {
		if zeros > 19 {
			return 0, false
		}
		digits += strings.Repeat("0", zeros)
	}
	if strings.Trim(digits, "-0") == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}

func decodeFloat(d *Decoder, v reflect.Value) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	text, err := d.scalar()
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !isNumber(text) || math.IsInf(f, 0) {
		return wrong("not a number")
	}
	v.SetFloat(f)
	return nil
}

func decodeNumber(d *Decoder, v reflect.Value) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	text, err := d.scalar()
	if err != nil {
		return err
	}
	if !isNumber(text) {
		return wrong("not a number")
	}
	return d.setString(v, text)
}

func decodeTime(d *Decoder, v reflect.Value) error {
	start := d.skipSpace()
	if err := d.Skip(); err != nil {
		return err
	}
	t, err := ParseTime(d.data[start:d.i])
	if err != nil {
		return &FieldError{Err: err}
	}
	*v.Addr().Interface().(*time.Time) = t
	return nil
}

// decodeRaw copies the JSON of a value. null decodes to nil.
func decodeRaw(d *Decoder, v reflect.Value) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	start := d.i
	if err := d.Skip(); err != nil {
		return err
	}
	raw := d.data[start:d.i]
	if err := d.Charge(len(raw)); err != nil {
		return err
	}
	v.SetBytes(append(make([]byte, 0, len(raw)), raw...))
	return nil
}

// decodeForeign calls the UnmarshalJSON method of the type.
func decodeForeign(d *Decoder, v reflect.Value) error {
	start := d.skipSpace()
	if err := d.Skip(); err != nil {
		return err
	}
	if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(d.data[start:d.i]); err != nil {
		return asField(err)
	}
	return nil
}

// decodeStandard uses encoding/json. A number in an interface is a float64 or,
// if that would change it, a json.Number.
func decodeStandard(d *Decoder, v reflect.Value) error {
	start := d.skipSpace()
	if err := d.Skip(); err != nil {
		return err
	}
	raw := d.data[start:d.i]
	if err := d.Charge(len(raw)); err != nil {
		return err
	}
	standard := json.NewDecoder(bytes.NewReader(raw))
	standard.UseNumber()
	if err := standard.Decode(v.Addr().Interface()); err != nil {
		return asField(err)
	}
	switch value := v.Addr().Interface().(type) {
	case *any:
		*value = exact(*value)
	case *map[string]any:
		exact(*value)
	}
	return nil
}

// exact replaces each json.Number in a value that a float64 holds exactly by
// that.
func exact(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			v[key] = exact(member)
		}
	case []any:
		for i, element := range v {
			v[i] = exact(element)
		}
	case json.Number:
		// Every number of up to 15 digits is one that a float64 tells from all
		// others of so many.
		mantissa, _, _ := strings.Cut(strings.ToLower(v.String()), "e")
		digits := strings.TrimLeft(strings.Trim(strings.Replace(mantissa, ".", "", 1), "-"), "0")
		f, err := v.Float64()
		if err == nil && (f == 0) == (strings.Trim(digits, "0") == "") && (len(digits) <= 15 || strconv.FormatFloat(f, 'f', -1, 64) == v.String()) {
			return f
		}
	}
	return value
}

// asField returns err as a FieldError.
func asField(err error) error {
	if field, ok := err.(*FieldError); ok { //nolint:errorlint // a wrapped one has more context
		return field
	}
	return &FieldError{Err: err}
}

func (d *Decoder) skipSpace() int {
	d.Peek()
	return d.i
}

func decodePointer(d *Decoder, v reflect.Value, elem *plan) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	if v.IsNil() {
		t := v.Type().Elem()
		if err := d.Charge(int(t.Size())); err != nil {
			return err
		}
		v.Set(reflect.New(t))
	}
	return elem.decode(d, v.Elem())
}

func decodeSlice(d *Decoder, v reflect.Value, elem *plan) error {
	if d.Peek() == 'n' {
		return decodeNull(d, v)
	}
	size := int(v.Type().Elem().Size())
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	start := d.i
	var last reflect.Value
	return d.Elements(func() error {
		n := v.Len()
		if n == v.Cap() {
			more := max(n, 4)
			if n >= 64 { // their size is only known now
				left := (len(d.data)-d.i)/max((d.i-start)/n, 1) + 1
				more = min(left, 7*n)
			}
			if err := d.Charge(more * size); err != nil {
				return err
			}
			v.Grow(more)
		}
		v.SetLen(n + 1)
		item := v.Index(n)
		item.SetZero()
		if elem.fields != nil && last.IsValid() && d.Peek() == '{' {
			_, err := d.object(item, elem, last)
			last = item
			return err
		}
		if elem.fields != nil {
			last = item
		}
		return elem.decode(d, item)
	})
}

// Text returns the content of a JSON string, and any other JSON unmodified.
func Text(value []byte) string {
	d := New(value)
	text, err := d.scalar()
	if err != nil {
		return string(value)
	}
	return string(text)
}

// Whole decodes the value at the position into v if the document continues
// after it: the last value of a truncated document may itself be truncated.
func (d *Decoder) Whole(v any) error {
	start := d.i
	if err := d.Skip(); err != nil {
		return err
	}
	end := d.i
	if err := d.space(); err != nil && (d.data[end-1] != '"' && d.data[end-1] != '}' && d.data[end-1] != ']') {
		return err
	}
	d.i = start
	return d.Value(v)
}
