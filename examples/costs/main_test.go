package main

import (
	"bytes"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestCosts(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	row := func(year int, month time.Month, day int, agent, currency, cost string, runs int64) connic.UsageRow {
		return connic.UsageRow{
			Date: time.Date(year, month, day, 0, 0, 0, 0, time.UTC), AgentName: agent, Currency: currency, TotalCost: connic.MustDecimal(cost), RunCount: runs,
		}
	}
	srv.Usage(
		row(2026, 9, 30, "support", "EUR", "100", 1),
		row(2026, 10, 1, "support", "EUR", "0.10", 1),
		row(2026, 10, 31, "support", "EUR", "0.20", 2),
		row(2026, 10, 31, "support", "USD", "0.300", 3),
		row(2026, 10, 15, "clerk", "EUR", "7.125", 5),
		row(2026, 11, 1, "support", "EUR", "100", 1),
	)
	var out bytes.Buffer
	err := report(t.Context(), srv.Client(), "2026-10", &out)
	const want = `clerk        5 runs   7.125 EUR
support      6 runs   0.30 EUR, 0.300 USD
in 2026-10            7.425 EUR, 0.300 USD
`
	if err != nil || out.String() != want {
		t.Errorf("%s%v", &out, err)
	}
}

func TestNoCosts(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	var out bytes.Buffer
	if err := report(t.Context(), srv.Client(), "October", &out); err == nil || len(srv.Requests()) > 0 {
		t.Error("it takes October for a month")
	}
	srv.Fault(connictest.Fault{Op: "budgets.usage", Status: http.StatusForbidden})
	if err := report(t.Context(), srv.Client(), "2026-10", &out); !errors.Is(err, connic.ErrForbidden) || out.Len() > 0 {
		t.Errorf("%q, %v", &out, err)
	}
}
