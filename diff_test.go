package connic_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
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
	filtered := new(connic.Judge)
	if err := json.Unmarshal([]byte(`{"name":"1.0","model":"2.00","filters":[{"field":"context.id","operator":"equals","value":9007199254740993}],`+
		`"score_alert":{"threshold":2.50,"window":{"b":1e21,"a":[12345678901234567890,0.5,"x"]}}}`), filtered); err != nil {
		t.Fatal(err)
	}
	filter := func(value any) connic.JudgeUpdate {
		return connic.JudgeUpdate{Filters: connic.Set([]connic.RunFilter{{Field: "context.id", Operator: connic.FilterEquals, Value: value}})}
	}
	alert := func(window any) connic.JudgeUpdate {
		return connic.JudgeUpdate{ScoreAlert: connic.Set(connic.ScoreAlert{Threshold: 2.5, Window: window})}
	}
	entry := &connic.Entry{EntryID: "guide", Namespace: "docs", Content: "a text", Metadata: json.RawMessage(`"{\"a\": 1.0, \"b\": [\"x\"]}"`)}
	upload := func(content string, metadata map[string]any) connic.TextUpload {
		return connic.TextUpload{EntryID: "guide", Content: content, Metadata: metadata}
	}
	stable := connic.TextUpload{Content: "other", Namespace: "docs", StableID: true}
	stored := &connic.Entry{EntryID: "d4", Namespace: "docs"}
	cleared := connic.JudgeUpdate{
		SystemPrompt: connic.Null[string](), IncludeAgentSystemPrompt: connic.Null[bool](), SampleRate: connic.Null[float64](),
		Filters: connic.Null[[]connic.RunFilter](), FilterExpression: connic.Null[string](), ScoreAlert: connic.Null[connic.ScoreAlert](),
	}
	for name, test := range map[string]struct {
		got  []connic.Change
		want string
	}{
		"the same entry":       {entry.Diff(upload("a text", map[string]any{"b": []string{"x"}, "a": 1})), "[]"},
		"another text":         {entry.Diff(upload("a test", map[string]any{"b": []string{"x"}, "a": 1})), `[content: "a text" → "a test"]`},
		"other metadata":       {entry.Diff(upload("a text", map[string]any{"a": 2})), `[metadata: {"a":1.0,"b":["x"]} → {"a":2}]`},
		"no metadata":          {entry.Diff(upload("a text", nil)), `[metadata: {"a":1.0,"b":["x"]} → null]`},
		"an empty entry":       {new(connic.Entry).Diff(upload("a text", map[string]any{})), `[content: null → "a text"]`},
		"another stable id":    {stored.Diff(stable), `[content: null → "other"]`},
		"all of a budget":      {new(connic.Budget).Diff(daily("0").AsUpdate()), `[name: null → "guard" kind: null → "limit" scope: null → "global" period: null → "daily" amount: null → "0" currency: null → "EUR"]`},
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
		"all cleared already":  {new(connic.Judge).Diff(cleared), "[]"},
		"cleared false":        {new(connic.Judge).Diff(connic.JudgeUpdate{IncludeAgentSystemPrompt: connic.Set(false)}), "[]"},
		"unset":                {new(connic.Judge).Diff(connic.JudgeUpdate{SampleRate: connic.Set(20.0), SystemPrompt: connic.Set("s")}), `[system_prompt: null → "s" sample_rate: null → 20]`},
		"unset of a budget":    {new(connic.Budget).Diff(connic.BudgetUpdate{AgentName: connic.Set("s"), Amount: connic.Set(connic.MustDecimal("0")), Enabled: connic.Set(true)}), `[agent_name: null → "s" amount: null → "0" enabled: false → true]`},
		"another name":         {filtered.Diff(connic.JudgeUpdate{Name: connic.Set("1"), Model: connic.Set("2.0")}), `[name: "1.0" → "1" model: "2.00" → "2.0"]`},
		"another budget":       {(&connic.Budget{Name: "2.0"}).Diff(connic.BudgetUpdate{Name: connic.Set("2.00")}), `[name: "2.0" → "2.00"]`},
		"a long id":            {filtered.Diff(filter(int64(9007199254740993))), "[]"},
		"another long id":      {filtered.Diff(filter(int64(9007199254740992))), `[filters: [{"field":"context.id","operator":"equals","value":9007199254740993}] → [{"field":"context.id","operator":"equals","value":9007199254740992}]]`},
		"its text":             {filtered.Diff(filter("9007199254740993")), `[filters: [{"field":"context.id","operator":"equals","value":9007199254740993}] → [{"field":"context.id","operator":"equals","value":"9007199254740993"}]]`},
		"any JSON":             {filtered.Diff(alert(json.RawMessage(`{"a":[12345678901234567890, 5e-1, "x"], "b": 1000000000000000000000}`))), "[]"},
		"other JSON":           {filtered.Diff(alert("1h")), `[score_alert: {"threshold":2.5,"window":{"a":[12345678901234567890,0.5,"x"],"b":1e+21}} → {"threshold":2.5,"window":"1h"}]`},
		"a text like a number": {budget.Diff(connic.BudgetUpdate{Name: connic.Set("12.5")}), `[name: "all" → "12.5"]`},
	} {
		if got := fmt.Sprint(test.got); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	// What was read is written back unchanged, and of the usual type.
	var update connic.JudgeUpdate
	const text = `{"filters":[{"field":"a","operator":"equals","value":1142857142857142857},{"field":"b","operator":"equals","value":[1,0.1,-0,1e3]}]}`
	if err := json.Unmarshal([]byte(text), &update); err != nil {
		t.Fatal(err)
	}
	if raw, err := json.Marshal(update); err != nil || string(raw) != `{"filters":[{"field":"a","operator":"equals","value":1142857142857142857},{"field":"b","operator":"equals","value":[1,0.1,-0,1000]}]}` {
		t.Errorf("%s, %v", raw, err)
	}
	if filters, _ := update.Filters.Get(); !reflect.DeepEqual(filters[1].Value, []any{1.0, 0.1, math.Copysign(0, -1), 1000.0}) {
		t.Errorf("%#v", filters[1].Value)
	}
	if raw, err := json.Marshal(judge.Diff(connic.JudgeUpdate{Name: connic.Set("t")})); err != nil || string(raw) != `[{"field":"name","from":"tone","to":"t"}]` {
		t.Errorf("as JSON it is %s, %v", raw, err)
	}
}
