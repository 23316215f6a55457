package connic

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Time is a [time.Time] that decodes from every form of ISO 8601 in which a
// service is likely to write one: with or without an offset (none means UTC), a
// "T" or a blank before the clock, no to nine and more fraction digits, a date
// alone, or seconds, milliseconds, microseconds or nanoseconds since 1970. null
// and "" are the zero time.
//
// Response types of this package have plain time.Time fields and are decoded as
// tolerantly. Time is for your own types, as in [Client.Do].
type Time struct{ time.Time }

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Time) UnmarshalJSON(data []byte) error {
	parsed, err := parseTime(data)
	if err != nil {
		return err
	}
	t.Time = parsed
	return nil
}

var errTime = errors.New("not a time in ISO 8601 or seconds since 1970")

// parseTime parses the JSON text of a time.
func parseTime(data []byte) (time.Time, error) {
	if len(data) == 0 || string(data) == "null" {
		return time.Time{}, nil
	}
	if data[0] != '"' {
		return epoch(string(data))
	}
	if len(data) < 2 || data[len(data)-1] != '"' {
		return time.Time{}, errTime
	}
	text := bytes.TrimSpace(data[1 : len(data)-1])
	if len(text) == 0 {
		return time.Time{}, nil
	}
	if bytes.IndexByte(text, '\\') >= 0 {
		return time.Time{}, errTime
	}
	if len(text) < len("2006-01-02") || text[4] != '-' {
		return epoch(string(text))
	}
	return isoTime(text)
}

// isoTime parses a calendar date with an optional clock and offset.
func isoTime(b []byte) (time.Time, error) {
	year, ok1 := digits(b, 0, 4)
	month, ok2 := digits(b, 5, 2)
	day, ok3 := digits(b, 8, 2)
	if !ok1 || !ok2 || !ok3 || b[7] != '-' || year < 1 || month < 1 || month > 12 || day < 1 {
		return time.Time{}, errTime
	}
	if day > 28 && day > time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day() {
		return time.Time{}, errTime
	}
	rest := b[10:]
	if len(rest) == 0 {
		return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), nil
	}
	if (rest[0] != 'T' && rest[0] != 't' && rest[0] != ' ') || len(rest) < len("T15:04") || rest[3] != ':' {
		return time.Time{}, errTime
	}
	hour, ok1 := digits(rest, 1, 2)
	minute, ok2 := digits(rest, 4, 2)
	if !ok1 || !ok2 || hour > 23 || minute > 59 {
		return time.Time{}, errTime
	}
	rest = rest[6:]
	second, nanos := 0, 0
	if len(rest) > 0 && rest[0] == ':' {
		// A leap second is the first instant of the next minute.
		if second, ok1 = digits(rest, 1, 2); !ok1 || second > 60 {
			return time.Time{}, errTime
		}
		rest = rest[3:]
		if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
			i, scale := 1, 100_000_000
			for ; i < len(rest) && isDigit(rest[i]); i++ {
				nanos += int(rest[i]-'0') * scale
				scale /= 10
			}
			if i == 1 {
				return time.Time{}, errTime
			}
			rest = rest[i:]
		}
	}
	offset, err := zoneOffset(rest)
	if err != nil {
		return time.Time{}, err
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC).Add(-offset)
	if t.Year() < 1 || t.Year() > 9999 { // the offset, or a leap second, led out of the calendar
		return time.Time{}, errTime
	}
	return t, nil
}

// zoneOffset parses "", "Z", "+01", "+0100" and "+01:00".
func zoneOffset(b []byte) (time.Duration, error) {
	if len(b) == 0 || ((b[0] == 'Z' || b[0] == 'z') && len(b) == 1) {
		return 0, nil
	}
	hours, ok := digits(b, 1, 2)
	if !ok || hours > 23 || (b[0] != '+' && b[0] != '-') {
		return 0, errTime
	}
	minutes := 0
	switch rest := b[3:]; {
	case len(rest) == 0:
	case len(rest) == 2:
		minutes, ok = digits(rest, 0, 2)
	case len(rest) == 3 && rest[0] == ':':
		minutes, ok = digits(rest, 1, 2)
	default:
		ok = false
	}
	if !ok || minutes > 59 {
		return 0, errTime
	}
	offset := time.Duration(hours*60+minutes) * time.Minute
	if b[0] == '-' {
		offset = -offset
	}
	return offset, nil
}

// epoch parses a number of seconds since 1970, or of milli-, micro- or
// nanoseconds when it is too large for seconds to mean a year before 5138.
func epoch(s string) (time.Time, error) {
	whole, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.Abs(f) >= 1e11 {
			return time.Time{}, errTime
		}
		seconds, fraction := math.Modf(f)
		return time.Unix(int64(seconds), int64(math.Round(fraction*1e6))*1e3).UTC(), nil
	}
	size := whole
	if size < 0 {
		size = -size
	}
	switch {
	case size < 0: // the one integer without a positive counterpart
		return time.Time{}, errTime
	case size < 1e11:
		return time.Unix(whole, 0).UTC(), nil
	case size < 1e14:
		return time.UnixMilli(whole).UTC(), nil
	case size < 1e17:
		return time.UnixMicro(whole).UTC(), nil
	default:
		return time.Unix(0, whole).UTC(), nil
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// digits reads n decimal digits of b from index i on.
func digits(b []byte, i, n int) (value int, ok bool) {
	if len(b) < i+n {
		return 0, false
	}
	for _, c := range b[i : i+n] {
		if !isDigit(c) {
			return 0, false
		}
		value = value*10 + int(c-'0')
	}
	return value, true
}

// Decimal is an exact decimal number, for money: it keeps every digit that the
// service wrote. The zero value is 0, and also what an absent amount decodes to.
// Compare with [Decimal.Cmp]: 1.5 and 1.50 are equal amounts and different
// Decimals.
type Decimal struct{ text string }

// Bounds of the decimals that are parsed, so that "1e999999999" cannot make
// arithmetic allocate a number with a billion digits.
const (
	maxDigits   = 100
	maxExponent = 100
)

var errDecimal = fmt.Errorf("not a decimal number of up to %d digits", maxDigits)

// ParseDecimal parses a decimal number such as "12.50", "-3" or "1e-7": at most
// 100 digits, and an exponent between -100 and 100.
func ParseDecimal(s string) (Decimal, error) {
	s = strings.TrimSpace(s)
	mantissa, exponent, ok := s, 0, true
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		n, err := strconv.Atoi(s[i+1:])
		exponent, ok = n, err == nil && s[i+1:] != ""
	}
	if mantissa != "" && (mantissa[0] == '-' || mantissa[0] == '+') {
		mantissa = mantissa[1:]
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	ok = ok && allDigits(whole) && (!point || allDigits(fraction))
	if !ok || len(mantissa) > maxDigits || exponent > maxExponent || exponent < -maxExponent {
		return Decimal{}, errDecimal
	}
	return Decimal{s}, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// parts returns the coefficient and the power of ten of d.
func (d Decimal) parts() (coefficient *big.Int, exponent int) {
	coefficient = new(big.Int)
	if d.text == "" {
		return coefficient, 0
	}
	mantissa := d.text
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		exponent, _ = strconv.Atoi(mantissa[i+1:])
		mantissa = mantissa[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	coefficient.SetString(whole+fraction, 10)
	return coefficient, exponent - len(fraction)
}

// aligned returns the coefficients of d and o at their common power of ten.
func (d Decimal) aligned(o Decimal) (a, b *big.Int, exponent int) {
	a, ea := d.parts()
	b, eb := o.parts()
	exponent = min(ea, eb)
	scale := func(x *big.Int, by int) *big.Int {
		return x.Mul(x, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(by)), nil))
	}
	return scale(a, ea-exponent), scale(b, eb-exponent), exponent
}

func decimalOf(coefficient *big.Int, exponent int) Decimal {
	if exponent > 0 {
		coefficient = new(big.Int).Mul(coefficient, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(exponent)), nil))
		exponent = 0
	}
	text := new(big.Int).Abs(coefficient).String()
	if places := -exponent; places > 0 {
		if len(text) <= places {
			text = strings.Repeat("0", places-len(text)+1) + text
		}
		text = text[:len(text)-places] + "." + text[len(text)-places:]
	}
	if coefficient.Sign() < 0 {
		text = "-" + text
	}
	return Decimal{text}
}

// Add returns d + o, exactly.
func (d Decimal) Add(o Decimal) Decimal {
	a, b, exponent := d.aligned(o)
	return decimalOf(a.Add(a, b), exponent)
}

// Sub returns d - o, exactly.
func (d Decimal) Sub(o Decimal) Decimal {
	a, b, exponent := d.aligned(o)
	return decimalOf(a.Sub(a, b), exponent)
}

// Cmp returns -1, 0 or 1 as d is less than, equal to or greater than o.
func (d Decimal) Cmp(o Decimal) int {
	a, b, _ := d.aligned(o)
	return a.Cmp(b)
}

// Sign returns -1, 0 or 1 as d is negative, zero or positive.
func (d Decimal) Sign() int {
	coefficient, _ := d.parts()
	return coefficient.Sign()
}

// IsZero reports whether d is the zero value, as an absent amount is. Use
// [Decimal.Sign] to ask whether an amount is 0.
func (d Decimal) IsZero() bool { return d.text == "" }

// String returns the number as the service wrote it, and "0" for the zero value.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// Float64 returns the nearest float64, for charts and other places where the
// last digit does not matter.
func (d Decimal) Float64() float64 {
	f, err := strconv.ParseFloat(d.String(), 64)
	if err != nil {
		return 0
	}
	return f
}

// MarshalJSON implements [json.Marshaler]. It writes a JSON string, so that no
// reader on the way turns the amount into a float.
func (d Decimal) MarshalJSON() ([]byte, error) { return []byte(`"` + d.String() + `"`), nil }

// UnmarshalJSON implements [json.Unmarshaler]. It accepts a number and a string
// that holds one; null is the zero value.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*d = Decimal{}
		return nil
	}
	// What has to be unescaped is no number.
	text := data
	if len(data) >= 2 && data[0] == '"' && data[len(data)-1] == '"' {
		text = data[1 : len(data)-1]
	}
	parsed, err := ParseDecimal(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
