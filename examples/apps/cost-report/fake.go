package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// furnish creates 60 days of sample costs, the same in each run, and some
// budgets.
func furnish(fake *connictest.Server) {
	today := time.Now().UTC().Truncate(day)
	random := rand.New(rand.NewPCG(1, 2))
	for ago := 59; ago >= 0; ago-- {
		date := today.AddDate(0, 0, -ago)
		for _, agent := range []struct {
			name, currency string
			runs           int
			price          float64 // per run
		}{
			{"support", connic.EUR, 120, 0.0131},
			{"invoice-reader", connic.EUR, 40, 0.0474},
			{"translator", connic.EUR, 25, 0.0098},
			{"research", connic.USD, 9, 0.2133},
		} {
			for _, environment := range []string{"env-production", "env-test"} {
				runs := agent.runs/2 + random.IntN(agent.runs)
				if environment == "env-test" {
					runs /= 6
				}
				if date.Weekday() == time.Saturday || date.Weekday() == time.Sunday {
					runs /= 4
				}
				if runs == 0 {
					continue
				}
				cost := agent.price * float64(runs) * (0.8 + 0.4*random.Float64())
				fake.Usage(connic.UsageRow{
					Date: date, AgentName: agent.name, EnvironmentID: environment, Currency: agent.currency,
					TotalCost: connic.MustDecimal(fmt.Sprintf("%.6f", cost)),
					RunCount:  int64(runs), TokenUsage: connic.TokenUsage{Input: int64(runs) * 900, Output: int64(runs) * 210, Total: int64(runs) * 1110},
				})
			}
		}
	}
	fake.Agent("research", nil) // the budget needs it to exist
	client := fake.Client()
	defer func() { _ = client.Close() }()
	for _, b := range []connic.BudgetCreate{
		{Name: "Everything", Kind: connic.BudgetLimit, Scope: connic.BudgetGlobal, Period: connic.BudgetMonthly, Amount: connic.MustDecimal("120.00"), Currency: connic.EUR},
		{Name: "A day", Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily, Amount: connic.MustDecimal("4.50"), Currency: connic.EUR},
		{Name: "Tests", Kind: connic.BudgetAlert, Scope: connic.BudgetEnvironment, EnvironmentID: "env-test", Period: connic.BudgetMonthly, Amount: connic.MustDecimal("10.00"), Currency: connic.EUR},
		{Name: "Research", Kind: connic.BudgetAlert, Scope: connic.BudgetAgent, AgentName: "research", Period: connic.BudgetMonthly, Amount: connic.MustDecimal("60.00"), Currency: connic.USD},
	} {
		if _, err := client.Budgets.Create(context.Background(), b); err != nil {
			panic(err) // the fake accepts every valid budget
		}
	}
}
