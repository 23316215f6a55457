package connic_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/connic-go/connic"
)

func dec(s string) connic.Decimal {
	d, err := connic.ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

func money(amount, currency string) connic.Money {
	return connic.Money{Amount: dec(amount), Currency: currency}
}

func TestMoney(t *testing.T) {
	t.Parallel()
	var none connic.Money
	tests := []struct {
		a, b           connic.Money
		sum, less, cmp string // "" for ErrCurrency
	}{
		{money("0.1", "EUR"), money("0.2", "EUR"), "0.3 EUR", "-0.1 EUR", "-1"},
		{money("1.50", "USD"), money("1.5", "USD"), "3.00 USD", "0.00 USD", "0"},
		{money("12", "eur"), money("0.005", "EUR"), "12.005 eur", "11.995 eur", "1"},
		{money("9007199254740993", "EUR"), money("0.01", "EUR"), "9007199254740993.01 EUR", "9007199254740992.99 EUR", "1"},
		{none, money("2", "EUR"), "2 EUR", "-2 EUR", "-1"},
		{money("2", "EUR"), none, "2 EUR", "2 EUR", "1"},
		{none, none, "0", "0", "0"},
		{money("0", ""), money("1", "USD"), "1 USD", "-1 USD", "-1"},
		{money("1", "EUR"), money("1", "USD"), "", "", ""},
		{money("0", "EUR"), money("0", "USD"), "", "", ""},
		{money("1", ""), money("1", "USD"), "", "", ""},
		{money("1", "EUR"), money("1", ""), "", "", ""},
	}
	for _, test := range tests {
		sum, err1 := test.a.Add(test.b)
		less, err2 := test.a.Sub(test.b)
		order, err3 := test.a.Cmp(test.b)
		if test.sum == "" {
			for _, err := range []error{err1, err2, err3} {
				if !errors.Is(err, connic.ErrCurrency) {
					t.Errorf("%v and %v: the error is %v", test.a, test.b, err)
				}
			}
			if sum != none || less != none || order != 0 {
				t.Errorf("%v and %v: there are results beside the errors", test.a, test.b)
			}
			continue
		}
		cmp := map[int]string{-1: "-1", 0: "0", 1: "1"}[order]
		if err1 != nil || err2 != nil || err3 != nil || sum.String() != test.sum || less.String() != test.less || cmp != test.cmp {
			t.Errorf("%v and %v: %v, %v, %v; want %s, %s, %s", test.a, test.b, sum, less, cmp, test.sum, test.less, test.cmp)
		}
	}
}

func TestSums(t *testing.T) {
	t.Parallel()
	var sums connic.Sums
	if m, err := sums.Single(); err != nil || m != (connic.Money{}) || sums.String() != "0" {
		t.Errorf("the empty sum is %v, %v", m, err)
	}
	sums = sums.Add(money("1.5", "USD")).Add(connic.Money{})
	if m, err := sums.Single(); err != nil || m != money("1.5", "USD") {
		t.Errorf("a single sum is %v, %v", m, err)
	}
	before := sums
	sums = sums.Add(money("0.1", "EUR")).Add(money("0.2", "eur")).Add(money("0.25", "USD")).Add(money("7", ""))
	if sums.String() != "7, 0.3 EUR, 1.75 USD" {
		t.Errorf("the sums are %v", sums)
	}
	before.Add(money("1", "USD"))
	if before.String() != "1.5 USD" {
		t.Errorf("adding changed the old sums to %v", before)
	}
	if _, err := sums.Single(); !errors.Is(err, connic.ErrCurrency) {
		t.Errorf("of several sums the single one is %v", err)
	}
	if got := sums.In("usd"); got != money("1.75", "USD") {
		t.Errorf("in USD it is %v", got)
	}
	if got := sums.In("CHF"); got.String() != "0 CHF" {
		t.Errorf("in CHF it is %v", got)
	}
}

func TestAmountsThatAreNone(t *testing.T) {
	t.Parallel()
	for answer, field := range map[string]string{
		`[{"id": "a"}, {"id": "b", "amount": "lots"}]`: "[1].amount",
		`[{"amount": 1e999999999}]`:                    "[0].amount",
		`{"items": [{"spent": "NaN"}]}`:                "items[0].spent",
		`{"items": [{"spent": {"EUR": 1}}]}`:           "items[0].spent",
		`[{"amount": true}]`:                           "[0].amount",
	} {
		transport := &cannedAnswers{answers: []string{answer}}
		c := must[*connic.Client](t)(connic.New("p", "cnc_budgets_test_key", connic.WithHTTPClient(&http.Client{Transport: transport})))
		_, err := c.Budgets.List(t.Context(), nil)
		var decode *connic.DecodeError
		if !errors.As(err, &decode) || decode.Field != field {
			t.Errorf("%s: %v, want a DecodeError in %q", answer, err, field)
		}
	}
}
