package connictest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Costs of the past stand in reports beside those of runs, and are spent of
// budgets.
func TestUsageOfThePast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", func(_ context.Context, in connictest.Input) (any, error) {
			in.Cost("0.5", connic.EUR)
			return "done", nil
		})
		client := srv.Client()
		defer client.Close()
		today := time.Now().UTC().Truncate(24 * time.Hour)
		past := func(ago int, cost, currency string) connic.UsageRow {
			return connic.UsageRow{
				Date: today.AddDate(0, 0, -ago), AgentName: "a", EnvironmentID: "env-production", Currency: currency,
				TotalCost: connic.MustDecimal(cost), JudgeCost: connic.MustDecimal("0.1"), RunCount: 3, TokenUsage: connic.TokenUsage{Input: 7, Total: 7},
			}
		}
		srv.Usage(past(40, "100", "EUR"), past(0, "1.25", "eur"), past(0, "9", "USD"))
		run, err := client.Agents.TriggerAndWait(t.Context(), "a", connic.TriggerRequest{Message: "m"})
		if err != nil {
			t.Fatal(err)
		}
		usage, err := client.Budgets.Usage(t.Context(), &connic.UsageParams{From: today, EnvironmentID: run.EnvironmentID})
		if err != nil {
			t.Fatal(err)
		}
		if got := usage.Cost().String(); got != "1.75 EUR, 9 USD" {
			t.Errorf("today cost %s", got)
		}
		if row := usage.Rows[0]; len(usage.Rows) != 2 || row.RunCount != 4 || row.TokenUsage.Total != 7 || row.JudgeCost.String() != "0.1" {
			t.Errorf("the rows are %d, the first %+v", len(usage.Rows), row)
		}
		all, err := client.Budgets.Usage(t.Context(), &connic.UsageParams{GroupBy: connic.UsageByAgent})
		if err != nil || all.Cost().String() != "101.75 EUR, 9 USD" {
			t.Errorf("all cost %v, %v", all, err)
		}
		budget, err := client.Budgets.Create(t.Context(), connic.BudgetCreate{
			Name: "day", Kind: connic.BudgetAlert, Scope: connic.BudgetAgent, AgentName: "a", Period: connic.BudgetDaily,
			Amount: connic.MustDecimal("2"), Currency: connic.EUR,
		})
		if err != nil || budget.Spent.Cmp(connic.MustDecimal("1.75")) != 0 {
			t.Errorf("spent %v, %v", budget, err)
		}
	})
}
