package connic

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

// Decimal is an exact decimal number, for amounts of money. It preserves every
// digit that the service sent. The zero value is 0; an absent amount decodes to
// it. Compare Decimals with [Decimal.Cmp]: 1.5 and 1.50 are equal amounts but
// different Decimals.
type Decimal struct{ text string }

// Limits for parsed decimals, so that "1e999999999" cannot make arithmetic
// allocate a number with a billion digits.
const (
	maxDigits   = 100
	maxExponent = 100
)

var errMoney = errors.New("not an amount with a currency, such as 12.50 EUR")

var errDecimal = fmt.Errorf("not a decimal number of up to %d digits, with an exponent of at most %d", maxDigits, maxExponent)

// ParseDecimal parses a decimal number such as "12.50", "-3" or "1e-7". It
// accepts at most 100 digits, and exponents from -100 to 100. Its error quotes
// the start of anything else.
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
		return Decimal{}, fmt.Errorf("%s is %w", strconv.Quote(mask.Line(s, maxDigits)), errDecimal)
	}
	return Decimal{s}, nil
}

// MustDecimal is like [ParseDecimal], but panics if the string is invalid. It
// is intended for constants.
func MustDecimal(s string) Decimal {
	d, err := ParseDecimal(s)
	if err != nil {
		panic("connic: " + err.Error()) //nolint:forbidigo // that is what it promises
	}
	return d
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

// aligned returns the coefficients of d and o scaled to a common power of ten.
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

// Add returns the exact sum d + o.
func (d Decimal) Add(o Decimal) Decimal {
	a, b, exponent := d.aligned(o)
	return decimalOf(a.Add(a, b), exponent)
}

// Sub returns the exact difference d - o.
func (d Decimal) Sub(o Decimal) Decimal {
	a, b, exponent := d.aligned(o)
	return decimalOf(a.Sub(a, b), exponent)
}

// Cmp returns -1, 0 or 1 if d is less than, equal to or greater than o.
func (d Decimal) Cmp(o Decimal) int {
	a, b, _ := d.aligned(o)
	return a.Cmp(b)
}

// Sign returns -1, 0 or 1 if d is negative, zero or positive.
func (d Decimal) Sign() int {
	coefficient, _ := d.parts()
	return coefficient.Sign()
}

// IsZero reports whether d is the zero value, which represents an absent
// amount. To test whether the amount is 0, use [Decimal.Sign].
func (d Decimal) IsZero() bool { return d.text == "" }

// String returns the number as the service sent it, or "0" for the zero value.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// Float64 returns the nearest float64. Use it only where the last digit does
// not matter, as in charts.
func (d Decimal) Float64() float64 {
	f, err := strconv.ParseFloat(d.String(), 64)
	if err != nil {
		return 0
	}
	return f
}

// MarshalJSON implements [json.Marshaler]. It returns a JSON string, so that no
// consumer rounds the amount to a float.
func (d Decimal) MarshalJSON() ([]byte, error) { return []byte(`"` + d.String() + `"`), nil }

// Equal reports whether d and o are the same amount, as [Decimal.Cmp] does.
func (d Decimal) Equal(o Decimal) bool { return d.Cmp(o) == 0 }

// MarshalText implements [encoding.TextMarshaler] with the text of String.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] as [ParseDecimal] does.
func (d *Decimal) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDecimal(string(text))
	return err
}

// UnmarshalJSON implements [json.Unmarshaler]. It accepts a number or a string
// that contains one; null decodes to the zero value.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*d = Decimal{}
		return nil
	}
	// A string with escapes is not a number.
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

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// The currencies that the service uses.
const (
	EUR = "EUR"
	USD = "USD"
)

// ErrCurrency marks arithmetic on amounts in different currencies.
const ErrCurrency = sentinel("connic: different currencies")

// Money is an exact amount in a currency. The zero Money has no currency and
// can be added to any amount. Other amounts can only be added, subtracted or
// compared within one currency; anything else fails with [ErrCurrency], since
// this package does not convert currencies. To add up amounts in several
// currencies, use [Sums].
type Money struct {
	Amount   Decimal `json:"amount"`
	Currency string  `json:"currency"` // such as "EUR"; case-insensitive
}

// nothing reports whether m is the zero Money.
func (m Money) nothing() bool { return m.Currency == "" && m.Amount.Sign() == 0 }

// common returns the currency that m and o share.
func (m Money) common(o Money) (string, error) {
	switch {
	case m.nothing():
		return o.Currency, nil
	case o.nothing(), strings.EqualFold(m.Currency, o.Currency):
		return m.Currency, nil
	default:
		return "", fmt.Errorf("%w: %s and %s", ErrCurrency, currencyName(m.Currency), currencyName(o.Currency))
	}
}

func currencyName(s string) string {
	if s == "" {
		return "an amount without a currency"
	}
	return s
}

// Add returns m + o, or [ErrCurrency].
func (m Money) Add(o Money) (Money, error) {
	currency, err := m.common(o)
	if err != nil {
		return Money{}, err
	}
	return Money{m.Amount.Add(o.Amount), currency}, nil
}

// Sub returns m - o, or [ErrCurrency].
func (m Money) Sub(o Money) (Money, error) {
	currency, err := m.common(o)
	if err != nil {
		return Money{}, err
	}
	return Money{m.Amount.Sub(o.Amount), currency}, nil
}

// Cmp returns -1, 0 or 1 if m is less than, equal to or greater than o, or
// [ErrCurrency].
func (m Money) Cmp(o Money) (int, error) {
	if _, err := m.common(o); err != nil {
		return 0, err
	}
	return m.Amount.Cmp(o.Amount), nil
}

// String returns the amount as the service sent it, followed by the currency,
// as in "12.50 EUR".
func (m Money) String() string { return strings.TrimSpace(m.Amount.String() + " " + m.Currency) }

// MarshalText implements [encoding.TextMarshaler] with the text of String.
func (m Money) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts an amount, and
// a currency after it: "12.50 EUR".
func (m *Money) UnmarshalText(text []byte) error {
	amount, currency, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	parsed, err := ParseDecimal(amount)
	currency = strings.TrimSpace(currency)
	if err != nil || strings.ContainsFunc(currency, func(r rune) bool { return !unicode.IsLetter(r) }) {
		return errMoney
	}
	*m = Money{parsed, currency}
	return nil
}

// MarshalJSON implements [json.Marshaler]. It returns an object.
func (m Money) MarshalJSON() ([]byte, error) {
	type object Money
	return json.Marshal(object(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. It accepts an object, and a
// string as for UnmarshalText.
func (m *Money) UnmarshalJSON(data []byte) error {
	type object Money
	if len(data) > 0 && data[0] == '"' {
		return m.UnmarshalText([]byte(lenient.Text(data)))
	}
	return json.Unmarshal(data, (*object)(m))
}

// Sums holds one amount per currency, sorted by currency code. Nil is the empty
// sum. Amounts without a currency are added up separately, under "".
type Sums []Money

// Add returns the sums with m added to the amount in its currency. It does not
// modify s.
func (s Sums) Add(m Money) Sums {
	if m.nothing() {
		return s
	}
	m.Currency = strings.ToUpper(m.Currency)
	sums := slices.Clone(s)
	i, found := slices.BinarySearchFunc(sums, m.Currency, func(have Money, want string) int {
		return cmp.Compare(have.Currency, want)
	})
	if !found {
		return slices.Insert(sums, i, m)
	}
	sums[i].Amount = sums[i].Amount.Add(m.Amount)
	return sums
}

// In returns the sum in the given currency, or 0 if there is none.
func (s Sums) In(currency string) Money {
	for _, m := range s {
		if strings.EqualFold(m.Currency, currency) {
			return m
		}
	}
	return Money{Currency: strings.ToUpper(currency)}
}

// Single returns the only sum. It fails with [ErrCurrency] if there are several
// currencies.
func (s Sums) Single() (Money, error) {
	switch len(s) {
	case 0:
		return Money{}, nil
	case 1:
		return s[0], nil
	default:
		return Money{}, fmt.Errorf("%w: %s", ErrCurrency, s)
	}
}

// String returns the sums as a list such as "3.10 EUR, 12.50 USD", or "0" if
// there are none.
func (s Sums) String() string {
	if len(s) == 0 {
		return "0"
	}
	texts := make([]string, len(s))
	for i, m := range s {
		texts[i] = m.String()
	}
	return strings.Join(texts, ", ")
}
