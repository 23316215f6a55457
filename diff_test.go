package connic_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/connic-go/connic"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	judge := &connic.Judge{
		Name: "tone", AgentName: "support", SampleRate: 20, Enabled: true, SystemPrompt: "Be fair",
		Criteria: []connic.Criterion{{Name: "clear", MaxScore: 5}},
	}
	budget := &connic.Budget{Name: "all", Amount: connic.MustDecimal("12.50"), Currency: "EUR"}
	for name, test := range map[string]struct {
		got  []connic.Change
		want string
	}{
		"nothing":              {judge.Diff(connic.JudgeUpdate{}), "[]"},
		"the same":             {judge.Diff(connic.JudgeUpdate{Name: connic.Set("tone"), SampleRate: connic.Set(20.0), Enabled: connic.Set(true)}), "[]"},
		"a value":              {judge.Diff(connic.JudgeUpdate{SampleRate: connic.Set(50.0)}), "[sample_rate: 20 → 50]"},
		"false":                {judge.Diff(connic.JudgeUpdate{Enabled: connic.Set(false)}), "[enabled: true → false]"},
		"cleared":              {judge.Diff(connic.JudgeUpdate{SystemPrompt: connic.Null[string]()}), `[system_prompt: "Be fair" → null]`},
		"cleared already":      {judge.Diff(connic.JudgeUpdate{FilterExpression: connic.Null[string](), Filters: connic.Set([]connic.RunFilter{})}), "[]"},
		"the same list":        {judge.Diff(connic.JudgeUpdate{Criteria: connic.Set([]connic.Criterion{{Name: "clear", MaxScore: 5}})}), "[]"},
		"another list":         {judge.Diff(connic.JudgeUpdate{Criteria: connic.Set([]connic.Criterion{{Name: "clear", MaxScore: 6}})}), `[criteria: [{"name":"clear","max_score":5}] → [{"name":"clear","max_score":6}]]`},
		"two":                  {judge.Diff(connic.JudgeUpdate{Name: connic.Set("t"), AgentName: connic.Set("s")}), `[name: "tone" → "t" agent_name: "support" → "s"]`},
		"the same amount":      {budget.Diff(connic.BudgetUpdate{Amount: connic.Set(connic.MustDecimal("12.5"))}), "[]"},
		"another amount":       {budget.Diff(connic.BudgetUpdate{Amount: connic.Set(connic.MustDecimal("13"))}), `[amount: "12.50" → "13"]`},
		"a text like a number": {budget.Diff(connic.BudgetUpdate{Name: connic.Set("12.5")}), `[name: "all" → "12.5"]`},
	} {
		if got := fmt.Sprint(test.got); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	if raw, err := json.Marshal(judge.Diff(connic.JudgeUpdate{Name: connic.Set("t")})); err != nil || string(raw) != `[{"Field":"name","From":"tone","To":"t"}]` {
		t.Errorf("as JSON it is %s, %v", raw, err)
	}
}
