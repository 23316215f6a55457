package main

import (
	"context"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// furnish makes changes in the fake, so that there are entries to export.
func furnish(fake *connictest.Server) {
	fake.RateLimit(0, 0, connictest.FixedWindow)
	defer fake.RateLimit(60, time.Minute, connictest.FixedWindow)
	for i := range 150 {
		change(context.Background(), fake, fmt.Sprintf("budget %d", i))
	}
}

// keepChanging makes a change every few seconds.
func keepChanging(ctx context.Context, fake *connictest.Server) {
	for i := 0; ; i++ {
		select {
		case <-time.After(2 * time.Second):
			change(ctx, fake, fmt.Sprintf("late budget %d", i))
		case <-ctx.Done():
			return
		}
	}
}

func change(ctx context.Context, fake *connictest.Server, name string) {
	client := fake.Client()
	defer func() { _ = client.Close() }()
	_, _ = client.Budgets.Create(ctx, connic.BudgetCreate{
		Name: name, Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetMonthly,
		Amount: connic.MustDecimal("100"), Currency: connic.EUR,
	})
}
