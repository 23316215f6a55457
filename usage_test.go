package connic_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := spending(t, "support", "sales")
		srv.Judge("", func(_ context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
			in.Cost("0.05", "EUR")
			return nil, nil
		})
		spend(t, client, "support", "0.1 EUR")
		spend(t, client, "support", "0.2 EUR")
		spend(t, client, "sales", "1.50 USD")
		synctest.Wait()
		time.Sleep(24 * time.Hour)
		judge := fair()
		judge.TriggerMode = connic.JudgeAutomatic
		must[*connic.Judge](t)(client.Judges.Create(t.Context(), judge))
		spend(t, client, "support", "0.7 EUR")
		spend(t, client, "sales", "free")
		synctest.Wait()

		all := must[*connic.Usage](t)(client.Budgets.Usage(t.Context(), nil))
		if got := all.Cost().String(); got != "1.05 EUR, 1.50 USD" {
			t.Errorf("all cost %s", got)
		}
		if len(all.Rows) != 4 {
			t.Errorf("there are %d rows", len(all.Rows))
		}
		want := map[string]string{
			"sales": "1.50 USD 2 runs 30 tokens", "support": "1.05 EUR 3 runs 45 tokens",
			"2000-01-01": "0.3 EUR, 1.50 USD 3 runs 45 tokens", "2000-01-02": "0.75 EUR 2 runs 30 tokens",
			"env-production": "1.05 EUR, 1.50 USD 5 runs 75 tokens",
		}
		show := func(groups []connic.UsageGroup) {
			t.Helper()
			for i, g := range groups {
				got := g.Cost.String() + " " + plural(int(g.RunCount), "run") + " " + plural(int(g.TokenUsage.Total), "token")
				if got != want[g.Key] {
					t.Errorf("%q: %s, want %s", g.Key, got, want[g.Key])
				}
				if i > 0 && groups[i-1].Key >= g.Key {
					t.Errorf("%q comes before %q", groups[i-1].Key, g.Key)
				}
			}
		}
		show(all.ByAgent())
		show(all.ByDay())
		show(all.ByEnvironment())
		// The service's own grouping yields the same.
		for grouping, by := range map[connic.UsageGrouping]func(*connic.Usage) []connic.UsageGroup{
			connic.UsageByAgent: (*connic.Usage).ByAgent, connic.UsageByDay: (*connic.Usage).ByDay, connic.UsageByEnvironment: (*connic.Usage).ByEnvironment,
		} {
			usage := must[*connic.Usage](t)(client.Budgets.Usage(t.Context(), &connic.UsageParams{GroupBy: grouping}))
			show(by(usage))
			for _, row := range usage.Rows {
				if row.Date.IsZero() == (grouping == connic.UsageByDay) || (row.AgentName == "") == (grouping == connic.UsageByAgent) ||
					(row.EnvironmentID == "") == (grouping == connic.UsageByEnvironment) {
					t.Errorf("by %s there is the row %+v", grouping, row)
				}
			}
		}
		var judged connic.Decimal
		for _, row := range all.Rows {
			judged = judged.Add(row.JudgeCost)
		}
		if judged.Cmp(dec("0.05")) != 0 {
			t.Errorf("the judges cost %v", judged)
		}
		midnight := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)
		some := must[*connic.Usage](t)(client.Budgets.Usage(t.Context(), &connic.UsageParams{To: midnight, AgentName: "support", EnvironmentID: "env-production"}))
		if got := some.Cost().String(); got != "0.3 EUR" {
			t.Errorf("on the first day support cost %s", got)
		}
		some = must[*connic.Usage](t)(client.Budgets.Usage(t.Context(), &connic.UsageParams{From: midnight}))
		if got := some.Cost().String(); got != "0.75 EUR" {
			t.Errorf("on the second day all cost %s", got)
		}
	})
}

func plural(n int, word string) string {
	return strconv.Itoa(n) + " " + word + "s"
}

func TestUsageRows(t *testing.T) {
	t.Parallel()
	var many connic.Usage
	for name := range strings.SplitSeq("hgfedcbahgfedcba", "") {
		many.Rows = append(many.Rows, &connic.UsageRow{AgentName: name, Currency: "EUR", TotalCost: dec("0.1"), RunCount: 2})
	}
	keys := ""
	for _, g := range many.ByAgent() {
		keys += g.Key
		if g.Cost.String() != "0.2 EUR" || g.RunCount != 4 || len(g.Rows) != 2 {
			t.Errorf("the group is %+v", g)
		}
	}
	if keys != "abcdefgh" {
		t.Errorf("the groups are %s", keys)
	}
	row := connic.UsageRow{Currency: "EUR", InputCost: dec("0.1"), OutputCost: dec("0.2"), JudgeCost: dec("0.05")}
	if got := row.Cost().String(); got != "0.35 EUR" {
		t.Errorf("the parts add up to %s", got)
	}
	row.TotalCost = dec("0.36")
	if got := row.Cost().String(); got != "0.36 EUR" {
		t.Errorf("the total is %s", got)
	}
	none := connic.UsageRow{RunCount: 3}
	if got := none.Cost(); got != (connic.Money{}) {
		t.Errorf("a row without costs costs %v", got)
	}
}
