package typed

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

type position struct {
	Description string  `json:"description" connic:"required"`
	Quantity    int64   `json:"quantity" connic:"required"`
	Price       float64 `json:"price" connic:"required"`
	Taxed       *bool   `json:"taxed,omitzero"`
}

type party struct {
	Name    string `json:"name" connic:"required"`
	Country string `json:"country,omitzero"`
}

// invoice has a required field at every level.
type invoice struct {
	Number    string     `json:"number" connic:"required"`
	Vendor    party      `json:"vendor" connic:"required"`
	Customer  *party     `json:"customer" connic:"required"`
	Total     float64    `json:"total" connic:"required"`
	Currency  string     `json:"currency" connic:"required"`
	Positions []position `json:"positions" connic:"required"`
	Remarks   []string   `json:"remarks,omitzero"`
}

// unmarked is an invoice without required fields, noted one with an interface.
type (
	unmarked struct {
		Number   string `json:"number"`
		Vendor   plain  `json:"vendor"`
		Customer *plain `json:"customer"`
		Total    float64
		Currency string `json:"currency"`
		Lines    []line `json:"positions"`
		Remarks  []string
	}
	plain struct{ Name, Country string }
	line  struct {
		Description string
		Quantity    int64
		Price       float64
		Taxed       *bool
	}
	noted struct {
		invoice
		Extra any `json:"extra"`
	}
)

// invoiceText is an invoice of 1 KB, and one with the quantities written as 3.0.
func invoiceText() (text, fractions string) {
	v := invoice{
		Number: "2026-11-0047", Vendor: party{"Köhler & Söhne GmbH", "DE"}, Customer: &party{"Example Ltd.", "GB"}, Total: 1234.5, Currency: "EUR",
		Remarks: []string{"Payable within 14 days.", "The goods stay ours until they are paid."},
	}
	yes := true
	for i := range 9 {
		v.Positions = append(v.Positions, position{fmt.Sprintf("Screws, size %d, stainless", i), int64(3 + i), 12.95, &yes})
	}
	data, _ := json.Marshal(v)
	text = string(data)
	return text, strings.NewReplacer(`"quantity":3,`, `"quantity":3.0,`).Replace(text)
}

func BenchmarkDecode(b *testing.B) {
	text, fractions := invoiceText()
	b.Run("json.Unmarshal", func(b *testing.B) { unmarshal[invoice](b, text) })
	b.Run("typed", func(b *testing.B) { decode[invoice](b, text) })
	b.Run("without required/json.Unmarshal", func(b *testing.B) { unmarshal[unmarked](b, text) })
	b.Run("without required/typed", func(b *testing.B) { decode[unmarked](b, text) })
	b.Run("with an interface/json.Unmarshal", func(b *testing.B) { unmarshal[noted](b, text) })
	b.Run("with an interface/typed", func(b *testing.B) { decode[noted](b, text) })
	b.Run("fractions/typed", func(b *testing.B) { decode[invoice](b, fractions) })
}

func unmarshal[T any](b *testing.B, text string) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var v T
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			b.Fatal(err)
		}
	}
}

func decode[T any](b *testing.B, text string) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, e := Decode[T](text); e != nil {
			b.Fatal(e)
		}
	}
}

// The pass over the text allocates nothing. The times are reported only.
//
//nolint:paralleltest // it counts allocations
func TestCostOfDecoding(t *testing.T) {
	text, fractions := invoiceText()
	for _, c := range []struct {
		name        string
		floor, with func()
		more        float64 // allocations
	}{
		{"required fields", once(plainly[invoice], text), once(typedly[invoice], text), 0},
		{"none", once(plainly[unmarked], text), once(typedly[unmarked], text), 0},
		{"an interface", once(plainly[noted], text), once(typedly[noted], text), 12},
		{"a fraction to be rewritten", once(plainly[invoice], text), once(typedly[invoice], fractions), 80},
	} {
		best := [2]time.Duration{time.Hour, time.Hour}
		for range 40 {
			for i, f := range []func(){c.floor, c.with} {
				start := time.Now()
				for range 20 {
					f()
				}
				best[i] = min(best[i], time.Since(start))
			}
		}
		before, after := testing.AllocsPerRun(100, c.floor), testing.AllocsPerRun(100, c.with)
		t.Logf("%s: %d bytes, %.2f times the time of json.Unmarshal (%v beside %v), %.0f allocations beside %.0f",
			c.name, len(text), float64(best[1])/float64(best[0]), best[1]/20, best[0]/20, after, before)
		if after > before+c.more {
			t.Errorf("%s: %.0f allocations, json.Unmarshal has %.0f", c.name, after, before)
		}
	}
}

func once(f func(string), text string) func() { return func() { f(text) } }

func plainly[T any](text string) {
	var v T
	_ = json.Unmarshal([]byte(text), &v)
}

func typedly[T any](text string) { _, _ = Decode[T](text) }
