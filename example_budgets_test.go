package connic_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Costs are grouped by agent. Amounts are exact, and currencies are kept apart.
func ExampleBudgetsService_Usage() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		in.Cost("0.10", connic.EUR)
		return "done", nil
	})
	srv.Agent("research", func(_ context.Context, in connictest.Input) (any, error) {
		in.Cost("1.25", connic.USD)
		return "done", nil
	})
	client := srv.Client()
	ctx := context.Background()
	for _, agent := range []string{"support", "research", "support", "support"} {
		if _, err := client.Agents.TriggerAndWait(ctx, agent, connic.TriggerRequest{Message: "go"}, connic.WithPoll(time.Millisecond, time.Millisecond)); err != nil {
			fmt.Println(err)
			return
		}
	}

	usage, err := client.Budgets.Usage(ctx, &connic.UsageParams{From: time.Now().Add(-48 * time.Hour)})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, agent := range usage.ByAgent() {
		fmt.Println(agent.Key, agent.RunCount, agent.Cost)
	}
	fmt.Println("all", usage.Cost())
	_, err = usage.Cost().Single()
	fmt.Println(errors.Is(err, connic.ErrCurrency), err)
	// Output:
	// research 1 1.25 USD
	// support 3 0.30 EUR
	// all 0.30 EUR, 1.25 USD
	// true connic: different currencies: 0.30 EUR, 1.25 USD
}

// A budget of kind limit holds new runs when it is used up, until it is raised,
// disabled, or reset.
func ExampleBudgetsService_Update() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		in.Cost("6", connic.EUR)
		return "done", nil
	})
	client := srv.Client()
	ctx := context.Background()
	quick := connic.WithPoll(time.Millisecond, time.Millisecond)
	request := connic.TriggerRequest{Message: "go"}

	amount, err := connic.ParseDecimal("10.00")
	if err != nil {
		fmt.Println(err)
		return
	}
	budget, err := client.Budgets.Create(ctx, connic.BudgetCreate{
		Name: "a month", Kind: connic.BudgetLimit, Scope: connic.BudgetGlobal, Period: connic.BudgetMonthly, Amount: amount, Currency: connic.EUR,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		if _, err := client.Agents.TriggerAndWait(ctx, "support", request, quick); err != nil {
			fmt.Println(err)
			return
		}
	}
	if budget, err = client.Budgets.Get(ctx, budget.ID); err != nil {
		fmt.Println(err)
		return
	}
	left, _ := budget.Left()
	_, computed := budget.NextReset(time.Now())
	fmt.Printf("left: %v, the reset is computed: %v\n", left, computed)

	held, err := client.Agents.Trigger(ctx, "support", request)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(held.Status)

	raised := connic.BudgetUpdate{Amount: connic.Set(amount.Add(amount))}
	if _, err := client.Budgets.Update(ctx, budget.ID, raised); err != nil {
		fmt.Println(err)
		return
	}
	released, err := client.Runs.Wait(ctx, held.RunID, quick)
	fmt.Println(released.Status, err)
	// Output:
	// left: -2.00 EUR, the reset is computed: false
	// queued
	// completed <nil>
}
