package connic_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestBudgetLeftAndReset(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		parsed, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	left := map[string]struct {
		budget connic.Budget
		want   string // "" if nothing is known
	}{
		"some":        {connic.Budget{Amount: dec("10"), Spent: dec("3.333"), Currency: "EUR"}, "6.667 EUR"},
		"overspent":   {connic.Budget{Amount: dec("10"), Spent: dec("10.01"), Currency: "USD"}, "-0.01 USD"},
		"nothing yet": {connic.Budget{Amount: dec("10"), Spent: dec("0"), Currency: "USD"}, "10 USD"},
		"not said":    {connic.Budget{Amount: dec("10"), Currency: "USD"}, ""},
		"no amount":   {connic.Budget{Spent: dec("10"), Currency: "USD"}, ""},
	}
	for name, test := range left {
		got, ok := test.budget.Left()
		if ok != (test.want != "") || (ok && got.String() != test.want) {
			t.Errorf("%s: %v, %v; want %q", name, got, ok, test.want)
		}
	}
	resets := []struct {
		period   connic.BudgetPeriod
		resetsAt string
		now      string
		want     string
		computed bool
	}{
		{connic.BudgetDaily, "", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z", true},
		{connic.BudgetDaily, "", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", true},
		{connic.BudgetDaily, "", "2026-11-23T23:30:00-05:00", "2026-11-25T00:00:00Z", true}, // the 24th in UTC
		{connic.BudgetMonthly, "", "2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z", true},
		{connic.BudgetMonthly, "", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z", true},
		{connic.BudgetMonthly, "", "2026-11-30T20:00:00-08:00", "2027-01-01T00:00:00Z", true}, // December in UTC
		{connic.BudgetDaily, "2026-11-23T18:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T18:00:00Z", false},
		{connic.BudgetDaily, "2026-11-23T00:00:00Z", "2026-11-23T12:00:00Z", "2026-11-24T00:00:00Z", true}, // the reported reset has passed
		{"weekly", "2026-11-29T00:00:00Z", "2026-11-23T12:00:00Z", "2026-11-29T00:00:00Z", false},
		{"weekly", "", "2026-11-23T12:00:00Z", "", false},
	}
	for _, test := range resets {
		b := connic.Budget{Period: test.period}
		if test.resetsAt != "" {
			b.ResetsAt = at(test.resetsAt)
		}
		var want time.Time
		if test.want != "" {
			want = at(test.want)
		}
		if got, computed := b.NextReset(at(test.now)); !got.Equal(want) || computed != test.computed {
			t.Errorf("%+v: %v, %v", test, got, computed)
		}
	}
}

func TestBudgetsRefuseBeforeSending(t *testing.T) {
	t.Parallel()
	var sent int
	c := must[*connic.Client](t)(connic.New("p", "cnc_budgets_test_key", connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
		return transportFunc(func(*http.Request) (*http.Response, error) {
			sent++
			return nil, errors.New("sent")
		})
	})))
	create := map[string]struct {
		spoil func(*connic.BudgetCreate)
		want  string
	}{
		"name":                  {func(r *connic.BudgetCreate) { r.Name = "" }, "name is empty"},
		"kind":                  {func(r *connic.BudgetCreate) { r.Kind = "" }, "kind is empty"},
		"scope":                 {func(r *connic.BudgetCreate) { r.Scope = "" }, "scope is empty"},
		"period":                {func(r *connic.BudgetCreate) { r.Period = " " }, "period is empty"},
		"amount not set":        {func(r *connic.BudgetCreate) { r.Amount = connic.Decimal{} }, "amount is not set"},
		"amount negative":       {func(r *connic.BudgetCreate) { r.Amount = dec("-0.01") }, "amount is less than 0"},
		"currency":              {func(r *connic.BudgetCreate) { r.Currency = "eur" }, "currency is not a code of three uppercase letters"},
		"currency empty":        {func(r *connic.BudgetCreate) { r.Currency = "" }, "currency is not a code of three uppercase letters"},
		"environment missing":   {func(r *connic.BudgetCreate) { r.Scope = connic.BudgetEnvironment }, "environment id is empty, and the scope is environment"},
		"agent missing":         {func(r *connic.BudgetCreate) { r.Scope = connic.BudgetAgent }, "agent name is empty, and the scope is agent"},
		"environment on global": {func(r *connic.BudgetCreate) { r.EnvironmentID = "e" }, "environment id is set, and the scope is global"},
		"agent on global":       {func(r *connic.BudgetCreate) { r.AgentName = "a" }, "agent name is set, and the scope is not agent"},
	}
	for name, test := range create {
		req := daily("10")
		test.spoil(&req)
		_, err := c.Budgets.Create(t.Context(), req)
		refused(t, name, err, "budgets.create", test.want)
	}
	_, err := c.Budgets.Update(t.Context(), "b", connic.BudgetUpdate{})
	refused(t, "empty", err, "budgets.update", "update is empty")
	_, err = c.Budgets.Update(t.Context(), "b", connic.BudgetUpdate{Amount: connic.Set(dec("-1"))})
	refused(t, "amount", err, "budgets.update", "amount is less than 0")
	_, err = c.Budgets.Usage(t.Context(), &connic.UsageParams{From: time.Unix(2, 0), To: time.Unix(1, 0)})
	refused(t, "usage", err, "budgets.usage", "to is before from")
	if sent != 0 {
		t.Errorf("%d requests were sent", sent)
	}
	// Unknown enum values are accepted.
	req := daily("10")
	req.Kind, req.Scope, req.Period = "throttle", "team", "weekly"
	if _, err := c.Budgets.Create(t.Context(), req); sent != 1 {
		t.Errorf("a budget with new words: %v", err)
	}
}

// daily is a daily limit for the whole project.
func daily(amount string) connic.BudgetCreate {
	return connic.BudgetCreate{
		Name: "guard", Kind: connic.BudgetLimit, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily,
		Amount: dec(amount), Currency: connic.EUR,
	}
}

// spending returns a fake whose agents cost what their message says, such as
// "0.40 EUR".
func spending(t *testing.T, agents ...string) (*connictest.Server, *connic.Client) {
	t.Helper()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	for _, name := range agents {
		srv.Agent(name, func(_ context.Context, in connictest.Input) (any, error) {
			for cost := range strings.SplitSeq(in.Message, "+") {
				if amount, currency, ok := strings.Cut(cost, " "); ok {
					in.Cost(amount, currency)
				}
			}
			in.Tokens(connic.TokenUsage{Input: 10, Output: 5})
			return "done", nil
		})
	}
	return srv, srv.Client()
}

func spend(t *testing.T, client *connic.Client, agent, cost string) string {
	t.Helper()
	return must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), agent, connic.TriggerRequest{Message: cost})).RunID
}

func statusOf(t *testing.T, client *connic.Client, run string) connic.RunStatus {
	t.Helper()
	return must[*connic.Run](t)(client.Runs.Get(t.Context(), run)).Status
}

func TestBudgetsAreMadeChangedAndRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := spending(t, "support")
		req := daily("10.00")
		req.Scope, req.AgentName = connic.BudgetAgent, "support"
		made := must[*connic.Budget](t)(client.Budgets.Create(t.Context(), req))
		if made.ID == "" || !made.Enabled || made.Amount.String() != "10.00" || made.Spent.String() != "0" || made.AgentName != "support" {
			t.Errorf("the new budget is %+v", made)
		}
		if at, computed := made.NextReset(time.Now()); computed || at != time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC) {
			t.Errorf("it resets at %v, computed: %v", at, computed)
		}
		spend(t, client, "support", "2.5 EUR")
		synctest.Wait()
		got := must[*connic.Budget](t)(client.Budgets.Get(t.Context(), made.ID))
		if left, ok := got.Left(); !ok || left.String() != "7.50 EUR" {
			t.Errorf("left are %v", left)
		}
		changed := must[*connic.Budget](t)(client.Budgets.Update(t.Context(), made.ID, connic.BudgetUpdate{
			Scope: connic.Set(connic.BudgetGlobal), AgentName: connic.Null[string](), Period: connic.Set(connic.BudgetMonthly),
		}))
		if changed.AgentName != "" || changed.Scope != connic.BudgetGlobal || changed.Amount.Cmp(dec("10")) != 0 ||
			changed.ResetsAt != time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC) {
			t.Errorf("the changed budget is %+v", changed)
		}
		all := must[[]*connic.Budget](t)(connic.Collect(client.Budgets.All(t.Context(), nil), 0))
		if len(all) != 1 || all[0].Period != connic.BudgetMonthly {
			t.Errorf("All yields %+v", all)
		}
		if _, err := client.Budgets.Update(t.Context(), made.ID, connic.BudgetUpdate{Currency: connic.Set("CHF")}); !errors.Is(err, connic.ErrInvalid) {
			t.Errorf("a currency that the service does not have: %v", err)
		}
		if err := client.Budgets.Delete(t.Context(), made.ID); err != nil {
			t.Error(err)
		}
		if _, err := client.Budgets.Get(t.Context(), made.ID); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("the removed budget: %v", err)
		}
		// WithEnvironment sets the environment if the scope needs one.
		req = daily("1")
		req.Scope = connic.BudgetEnvironment
		own := must[*connic.Budget](t)(srv.Client(connic.WithEnvironment("env-test")).Budgets.Create(t.Context(), req))
		if own.EnvironmentID != "env-test" {
			t.Errorf("the environment is %q", own.EnvironmentID)
		}
	})
}

func TestLimitHoldsRuns(t *testing.T) {
	t.Parallel()
	release := map[string]func(t *testing.T, client *connic.Client, id string){
		"raised": func(t *testing.T, client *connic.Client, id string) {
			t.Helper()
			must[*connic.Budget](t)(client.Budgets.Update(t.Context(), id, connic.BudgetUpdate{Amount: connic.Set(dec("20"))}))
		},
		"disabled": func(t *testing.T, client *connic.Client, id string) {
			t.Helper()
			must[*connic.Budget](t)(client.Budgets.Update(t.Context(), id, connic.BudgetUpdate{Enabled: connic.Set(false)}))
		},
		"made an alert": func(t *testing.T, client *connic.Client, id string) {
			t.Helper()
			must[*connic.Budget](t)(client.Budgets.Update(t.Context(), id, connic.BudgetUpdate{Kind: connic.Set(connic.BudgetAlert)}))
		},
		"removed": func(t *testing.T, client *connic.Client, id string) {
			t.Helper()
			if err := client.Budgets.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		},
		"midnight": func(t *testing.T, _ *connic.Client, _ string) {
			t.Helper()
			midnight := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)
			time.Sleep(time.Until(midnight))
		},
	}
	for name, let := range release {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, client := spending(t, "support", "sales")
				budget := must[*connic.Budget](t)(client.Budgets.Create(t.Context(), daily("10")))
				first := spend(t, client, "support", "9.99 EUR")
				synctest.Wait()
				second := spend(t, client, "sales", "0.01 EUR+0.50 EUR") // exceeds the budget, since it was admitted
				synctest.Wait()
				held := spend(t, client, "support", "1 EUR")
				time.Sleep(time.Hour)
				for id, want := range map[string]connic.RunStatus{first: connic.RunCompleted, second: connic.RunCompleted, held: connic.RunQueued} {
					if got := statusOf(t, client, id); got != want {
						t.Errorf("%s is %s, want %s", id, got, want)
					}
				}
				if left, _ := must[*connic.Budget](t)(client.Budgets.Get(t.Context(), budget.ID)).Left(); left.String() != "-0.50 EUR" {
					t.Errorf("left are %v", left)
				}
				let(t, client, budget.ID)
				synctest.Wait()
				if got := statusOf(t, client, held); got != connic.RunCompleted {
					t.Errorf("the held run is %s", got)
				}
			})
		})
	}
}

func TestBudgetsCountTheirScopeCurrencyAndPeriod(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*connic.BudgetCreate)
		cost   string
		agent  string
		later  time.Duration
		want   string // spent
	}{
		"global":                {nil, "3 EUR", "support", 0, "3"},
		"other currency":        {nil, "3 USD", "support", 0, "0"},
		"agent":                 {func(r *connic.BudgetCreate) { r.Scope, r.AgentName = connic.BudgetAgent, "support" }, "3 EUR", "support", 0, "3"},
		"other agent":           {func(r *connic.BudgetCreate) { r.Scope, r.AgentName = connic.BudgetAgent, "sales" }, "3 EUR", "support", 0, "0"},
		"environment":           {func(r *connic.BudgetCreate) { r.Scope, r.EnvironmentID = connic.BudgetEnvironment, "env-production" }, "3 EUR", "support", 0, "3"},
		"other environment":     {func(r *connic.BudgetCreate) { r.Scope, r.EnvironmentID = connic.BudgetEnvironment, "env-test" }, "3 EUR", "support", 0, "0"},
		"before midnight":       {nil, "3 EUR", "support", 24*time.Hour - time.Second, "3"},
		"after midnight":        {nil, "3 EUR", "support", 24 * time.Hour, "0"},
		"end of the month":      {func(r *connic.BudgetCreate) { r.Period = connic.BudgetMonthly }, "3 EUR", "support", 31*24*time.Hour - time.Second, "3"},
		"the first of the next": {func(r *connic.BudgetCreate) { r.Period = connic.BudgetMonthly }, "3 EUR", "support", 31 * 24 * time.Hour, "0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, client := spending(t, "support", "sales")
				req := daily("100")
				if test.change != nil {
					test.change(&req)
				}
				budget := must[*connic.Budget](t)(client.Budgets.Create(t.Context(), req))
				run := spend(t, client, test.agent, test.cost)
				synctest.Wait()
				if err := client.Runs.Delete(t.Context(), run); err != nil { // spent amounts remain
					t.Error(err)
				}
				time.Sleep(test.later)
				if got := must[*connic.Budget](t)(client.Budgets.Get(t.Context(), budget.ID)); got.Spent.String() != test.want {
					t.Errorf("%v are spent, want %s", got.Spent, test.want)
				}
			})
		})
	}
}

func TestAHeldRunCanBeCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, client := spending(t, "support")
		must[*connic.Budget](t)(client.Budgets.Create(t.Context(), daily("0")))
		held := spend(t, client, "support", "1 EUR")
		synctest.Wait()
		if err := client.Runs.Cancel(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		run := must[*connic.Run](t)(client.Runs.Get(t.Context(), held))
		if run.Status != connic.RunCancelled || run.EndedAt.IsZero() || !run.StartedAt.IsZero() || !run.Cost.IsZero() {
			t.Errorf("the cancelled run is %+v", run)
		}
	})
}

func TestAlertBudgetsNotify(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := spending(t, "support")
		req := daily("1")
		req.Kind = connic.BudgetAlert
		budget := must[*connic.Budget](t)(client.Budgets.Create(t.Context(), req))
		spend(t, client, "support", "0.75 EUR")
		synctest.Wait()
		if n := srv.Notices(); len(n) != 0 {
			t.Errorf("there are notices: %+v", n)
		}
		for range 3 { // once in a period
			spend(t, client, "support", "0.25 EUR")
			synctest.Wait()
		}
		notices := srv.Notices()
		if len(notices) != 1 || notices[0].Kind != "budget" || notices[0].ID != budget.ID || notices[0].Text != "1.00 of 1 EUR are spent" {
			t.Errorf("the notices are %+v", notices)
		}
		time.Sleep(24 * time.Hour)
		run := spend(t, client, "support", "1 EUR")
		synctest.Wait()
		if n := srv.Notices(); len(n) != 2 || statusOf(t, client, run) != connic.RunCompleted {
			t.Errorf("on the next day there are %d notices", len(n))
		}
	})
}
