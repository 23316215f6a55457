package connic

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

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
