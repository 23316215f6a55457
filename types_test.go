package connic

import (
	"encoding/json"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestS7Time(t *testing.T) {
	t.Parallel()
	at := func(y int, m time.Month, d, h, mi, s, ns int) time.Time {
		return time.Date(y, m, d, h, mi, s, ns, time.UTC)
	}
	tests := map[string]time.Time{
		`null`: {},
		`""`:   {},
		`"  "`: {},

		`"2026-11-23T10:00:00Z"`:           at(2026, 11, 23, 10, 0, 0, 0),
		`"2026-11-23t10:00:00z"`:           at(2026, 11, 23, 10, 0, 0, 0),
		`"2026-11-23T10:00:00"`:            at(2026, 11, 23, 10, 0, 0, 0),
		`"2026-11-23 10:00:00"`:            at(2026, 11, 23, 10, 0, 0, 0),
		`"2026-11-23T10:00"`:               at(2026, 11, 23, 10, 0, 0, 0),
		`"2026-11-23"`:                     at(2026, 11, 23, 0, 0, 0, 0),
		`"2026-11-23T10:00:00+01:00"`:      at(2026, 11, 23, 9, 0, 0, 0),
		`"2026-11-23T10:00:00+0100"`:       at(2026, 11, 23, 9, 0, 0, 0),
		`"2026-11-23T10:00:00+0000"`:       at(2026, 11, 23, 10, 0, 0, 0),
		`"2026-11-23T10:00:00+01"`:         at(2026, 11, 23, 9, 0, 0, 0),
		`"2026-11-23T10:00:00-05:30"`:      at(2026, 11, 23, 15, 30, 0, 0),
		`"2026-11-23T10:00:00.1"`:          at(2026, 11, 23, 10, 0, 0, 100_000_000),
		`"2026-11-23T10:00:00.123456"`:     at(2026, 11, 23, 10, 0, 0, 123_456_000),
		`"2026-11-23T10:00:00,123456789Z"`: at(2026, 11, 23, 10, 0, 0, 123_456_789),
		`"2026-11-23T10:00:00.1234567899"`: at(2026, 11, 23, 10, 0, 0, 123_456_789),
		`"2024-02-29T00:00:00Z"`:           at(2024, 2, 29, 0, 0, 0, 0),
		`"2016-12-31T23:59:60Z"`:           at(2017, 1, 1, 0, 0, 0, 0),
		`"0001-01-01T00:00:00Z"`:           at(1, 1, 1, 0, 0, 0, 0),
		`"9999-12-31T23:59:59Z"`:           at(9999, 12, 31, 23, 59, 59, 0),

		`1795428000`:          at(2026, 11, 23, 10, 0, 0, 0),
		`"1795428000"`:        at(2026, 11, 23, 10, 0, 0, 0),
		`1795428000.5`:        at(2026, 11, 23, 10, 0, 0, 500_000_000),
		`1795428000123`:       at(2026, 11, 23, 10, 0, 0, 123_000_000),
		`1795428000123456`:    at(2026, 11, 23, 10, 0, 0, 123_456_000),
		`1795428000123456789`: at(2026, 11, 23, 10, 0, 0, 123_456_789),
		`0`:                   at(1970, 1, 1, 0, 0, 0, 0),
		`-1`:                  at(1969, 12, 31, 23, 59, 59, 0),
	}
	for text, want := range tests {
		var got Time
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !got.Equal(want) || got.IsZero() != want.IsZero() {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{
		`"2026-13-01T00:00:00Z"`, `"2026-02-29"`, `"2026-11-31"`, `"2026-00-10"`, `"2026-11-23T24:00:00"`, `"2026-11-23T10:60:00"`,
		`"2026-11-23T10:00:61"`, `"2026-11-23T10:00:00."`, `"2026-11-23T10:00:00+1"`, `"2026-11-23T10:00:00+24:00"`, `"2026-11-23T10:00:00 CET"`,
		`"2026-11-23X10:00:00"`, `"2026-11-23T"`, `"0000-01-01"`, `"yesterday"`, `"2026\u002d11-23"`, `true`, `{}`, `[]`, `"NaN"`, `"Infinity"`,
		`1e300`, `-9223372036854775808`, `"9223372036854775808"`, `"٢٠٢٦-11-23"`,
	} {
		var got Time
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is taken for %v", text, got)
		}
	}
}

func mustDecimal(t *testing.T, s string) Decimal {
	t.Helper()
	d, err := ParseDecimal(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return d
}

func TestDecimalArithmetic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b, sum, difference string
		cmp                   int
	}{
		{"0.1", "0.2", "0.3", "-0.1", -1},
		{"12.50", "12.5", "25.00", "0.00", 0},
		{"1e3", "1", "1001", "999", 1},
		{"-3", "-0.001", "-3.001", "-2.999", -1},
		{"1e-7", "0", "0.0000001", "0.0000001", 1},
		{"9007199254740993", "0.0000000000000000001", "9007199254740993.0000000000000000001", "9007199254740992.9999999999999999999", 1},
		{"0", "0", "0", "0", 0},
		{"00012", "+3", "15", "9", 1},
	}
	for _, test := range tests {
		a, b := mustDecimal(t, test.a), mustDecimal(t, test.b)
		if got := a.Add(b).String(); got != test.sum {
			t.Errorf("%s + %s = %s, want %s", test.a, test.b, got, test.sum)
		}
		if got := a.Sub(b).String(); got != test.difference {
			t.Errorf("%s - %s = %s, want %s", test.a, test.b, got, test.difference)
		}
		if a.Cmp(b) != test.cmp || b.Cmp(a) != -test.cmp {
			t.Errorf("%s <=> %s = %d, want %d", test.a, test.b, a.Cmp(b), test.cmp)
		}
	}
	var zero Decimal
	if got := zero.Add(mustDecimal(t, "1.5")); got.String() != "1.5" || zero.String() != "0" || zero.Sign() != 0 || !zero.IsZero() {
		t.Errorf("the zero value is not zero: %v", got)
	}
	if d := mustDecimal(t, "0.00"); d.IsZero() || d.Sign() != 0 {
		t.Error("0.00 is taken for an absent amount")
	}
	if f := mustDecimal(t, "-2.5").Float64(); f != -2.5 {
		t.Errorf("Float64 is %v", f)
	}
}

func TestDecimalText(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", " ", "abc", "1.2.3", "--1", "+-1", "1e", "e5", ".5", "5.", "1,5", "NaN", "Inf", "1e101", "1e-101", "1e999999999", "1e+", "", "-", ".", "0x10", "1_000", "١", "- 1"} {
		if d, err := ParseDecimal(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, d)
		}
	}
	for text, want := range map[string]string{`12.50`: "12.50", `"12.50"`: "12.50", `-0`: "-0", `1E2`: "1E2", `null`: "0"} {
		var d Decimal
		if err := json.Unmarshal([]byte(text), &d); err != nil || d.String() != want {
			t.Errorf("%s is %v (%v), want %s", text, d, err, want)
		}
	}
	for _, bad := range []string{`"12,50"`, `true`, `[]`, `{}`, `""`} {
		var d Decimal
		if err := json.Unmarshal([]byte(bad), &d); err == nil {
			t.Errorf("%s is taken for %v", bad, d)
		}
	}
	text, err := json.Marshal(map[string]Decimal{"amount": mustDecimal(t, "0.10")})
	if err != nil || string(text) != `{"amount":"0.10"}` {
		t.Errorf("it is encoded as %s, %v", text, err)
	}
}

// The errors of a Decimal name what they refuse, on a single line and without a
// key.
func TestErrorsOfDecimals(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1,5":                      `"1,5" is not a decimal number`,
		"":                         `"" is not a decimal number`,
		"12 EUR":                   `"12 EUR" is not`,
		"1e999":                    `"1e999" is not a decimal number of up to 100 digits, with an exponent of at most 100`,
		"a\nb\x1b\"":               `is not a decimal number`,
		strings.Repeat("9", 1<<20): `is not a decimal number`,
		string(testKey):            `"cnc_`,
	} {
		_, err := ParseDecimal(text)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x1b") ||
			strings.Contains(err.Error(), "unit-test-key") {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
	var d Decimal
	for _, body := range []string{`"1,5"`, `true`, `{"a":1}`, `[1]`} {
		if err := json.Unmarshal([]byte(body), &d); err == nil || !strings.Contains(err.Error(), strconv.Quote(strings.Trim(body, `"`))+" is not") {
			t.Errorf("%s: %v", body, err)
		}
	}
	c := newTestClient(t, func(*http.Request) (*http.Response, error) { return respond(200, `{"id": "r1", "cost": "1,5"}`), nil })
	if _, err := c.Runs.Get(t.Context(), "r1"); err == nil || !strings.Contains(err.Error(), `cost: "1,5" is not a decimal`) {
		t.Error(err)
	}
	defer func() {
		if p := recover(); p != `connic: "x" is `+errDecimal.Error() {
			t.Error(p)
		}
	}()
	MustDecimal("x")
}

func FuzzDecimal(f *testing.F) {
	for _, seed := range []string{"12.50", "-0.001", "1e-7", "1E+5", "9007199254740993", "0x1p4", strings.Repeat("9", 101)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDecimal(s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(strings.TrimSpace(s))
		if !ok {
			t.Fatalf("%q is no number, and taken for %v", s, d)
		}
		got, ok := new(big.Rat).SetString(d.Add(Decimal{}).String())
		if !ok || got.Cmp(want) != 0 {
			t.Errorf("%q became %v", s, got)
		}
		if sum := d.Add(d).Sub(d); sum.Cmp(d) != 0 {
			t.Errorf("%q + itself - itself is %v", s, sum)
		}
	})
}
