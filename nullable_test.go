package connic_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/connic-go/connic"
)

func TestNullable(t *testing.T) {
	t.Parallel()
	type body struct {
		Text   connic.Nullable[string]            `json:"text,omitzero"`
		Number connic.Nullable[float64]           `json:"number,omitzero"`
		Flag   connic.Nullable[bool]              `json:"flag,omitzero"`
		List   connic.Nullable[[]string]          `json:"list,omitzero"`
		Inner  connic.Nullable[connic.ScoreAlert] `json:"inner,omitzero"`
	}
	tests := map[string]struct {
		body body
		want string
	}{
		"absent": {body{}, `{}`},
		"null": {
			body{connic.Null[string](), connic.Null[float64](), connic.Null[bool](), connic.Null[[]string](), connic.Null[connic.ScoreAlert]()},
			`{"text":null,"number":null,"flag":null,"list":null,"inner":null}`,
		},
		"zero values": {
			body{connic.Set(""), connic.Set(0.0), connic.Set(false), connic.Set([]string{}), connic.Set(connic.ScoreAlert{})},
			`{"text":"","number":0,"flag":false,"list":[],"inner":{"threshold":0}}`,
		},
		"values": {
			body{connic.Set("a"), connic.Set(1.5), connic.Set(true), connic.Set([]string{"b"}), connic.Set(connic.ScoreAlert{Threshold: 2, Window: "1h"})},
			`{"text":"a","number":1.5,"flag":true,"list":["b"],"inner":{"threshold":2,"window":"1h"}}`,
		},
	}
	for name, test := range tests {
		got, err := json.Marshal(test.body)
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, test.want)
		}
		var back body
		if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, test.body) {
			t.Errorf("%s: %s comes back as %+v, %v", name, got, back, err)
		}
	}
	var absent connic.Nullable[int]
	null, zero := connic.Null[int](), connic.Set(0)
	for i, n := range []connic.Nullable[int]{absent, null, zero} {
		value, ok := n.Get()
		if n.IsZero() != (i == 0) || n.IsNull() != (i == 1) || ok != (i == 2) || value != 0 {
			t.Errorf("%d: IsZero %v, IsNull %v, Get %v %v", i, n.IsZero(), n.IsNull(), value, ok)
		}
		if want := []string{"absent", "null", "0"}[i]; fmt.Sprint(n) != want {
			t.Errorf("%d prints as %v", i, n)
		}
	}
	if err := json.Unmarshal([]byte(`{"text": 1}`), new(body)); err == nil {
		t.Error("a number is taken for a text")
	}
	if _, err := json.Marshal(body{Number: connic.Set(nan())}); err == nil {
		t.Error("NaN can be encoded")
	}
}

func nan() float64 {
	var zero float64
	return zero / zero
}

// A patchField is a field of an update.
type patchField struct {
	key       string // in the request
	value     any    // a Nullable that is set
	json      string // of that
	clearable bool
}

var judgeFields = map[string]patchField{
	"Name":                     {"name", connic.Set("strict"), `"strict"`, false},
	"AgentName":                {"agent_name", connic.Set("support"), `"support"`, false},
	"Model":                    {"model", connic.Set("acme/large"), `"acme/large"`, false},
	"SystemPrompt":             {"system_prompt", connic.Set(""), `""`, true},
	"IncludeAgentSystemPrompt": {"include_agent_system_prompt", connic.Set(false), `false`, true},
	"Criteria":                 {"criteria", connic.Set([]connic.Criterion{{Name: "tone", MaxScore: 5}}), `[{"name":"tone","max_score":5}]`, false},
	"TriggerMode":              {"trigger_mode", connic.Set(connic.JudgeManual), `"manual"`, false},
	"SampleRate":               {"sample_rate", connic.Set(12.5), `12.5`, true},
	"Filters":                  {"filters", connic.Set([]connic.RunFilter{}), `[]`, true},
	"FilterExpression":         {"filter_expression", connic.Set("context.vip"), `"context.vip"`, true},
	"Enabled":                  {"enabled", connic.Set(false), `false`, false},
	"ScoreAlert":               {"score_alert", connic.Set(connic.ScoreAlert{Threshold: 7, Window: 10}), `{"threshold":7,"window":10}`, true},
}

var budgetFields = map[string]patchField{
	"Name":          {"name", connic.Set("guard"), `"guard"`, false},
	"Kind":          {"kind", connic.Set(connic.BudgetAlert), `"alert"`, false},
	"Scope":         {"scope", connic.Set(connic.BudgetGlobal), `"global"`, false},
	"EnvironmentID": {"environment_id", connic.Set("e1"), `"e1"`, true},
	"AgentName":     {"agent_name", connic.Set("support"), `"support"`, true},
	"Period":        {"period", connic.Set(connic.BudgetMonthly), `"monthly"`, false},
	"Amount":        {"amount", connic.Set(dec("0.10")), `"0.10"`, false},
	"Currency":      {"currency", connic.Set(connic.USD), `"USD"`, false},
	"Enabled":       {"enabled", connic.Set(true), `true`, false},
}

// TestPatches verifies for every field of every update what is sent if it is
// absent, null or set.
func TestPatches(t *testing.T) {
	t.Parallel()
	t.Run("judges", func(t *testing.T) {
		t.Parallel()
		testPatch(t, judgeFields, func(c *connic.Client, u connic.JudgeUpdate) error {
			_, err := c.Judges.Update(t.Context(), "j1", u)
			return err
		})
	})
	t.Run("budgets", func(t *testing.T) {
		t.Parallel()
		testPatch(t, budgetFields, func(c *connic.Client, u connic.BudgetUpdate) error {
			_, err := c.Budgets.Update(t.Context(), "b1", u)
			return err
		})
	})
}

func testPatch[U any](t *testing.T, fields map[string]patchField, update func(*connic.Client, U) error) {
	t.Helper()
	var sent []string
	c := must[*connic.Client](t)(connic.New("p", "cnc_nullable_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{
		Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			sent = append(sent, r.Method+" "+string(body))
			return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(`{"id": "` + path.Base(r.URL.Path) + `"}`))}, err
		}),
	})))
	// with returns an update with a single field that is not absent.
	with := func(name string, value reflect.Value) (u U) {
		reflect.ValueOf(&u).Elem().FieldByName(name).Set(value)
		return u
	}
	of := reflect.TypeFor[U]()
	if of.NumField() != len(fields) {
		t.Errorf("%s has %d fields, %d are tested", of, of.NumField(), len(fields))
	}
	var all U
	for i := range of.NumField() {
		name := of.Field(i).Name
		field, ok := fields[name]
		if !ok {
			t.Errorf("%s.%s is not tested", of, name)
			continue
		}
		reflect.ValueOf(&all).Elem().Field(i).Set(reflect.ValueOf(field.value))

		sent = nil
		err := update(c, with(name, reflect.ValueOf(field.value)))
		if want := "PATCH {" + `"` + field.key + `":` + field.json + "}"; err != nil || len(sent) != 1 || sent[0] != want {
			t.Errorf("%s set: %v, %v; want %s", name, sent, err, want)
		}

		sent = nil
		null := reflect.New(of.Field(i).Type)
		if err := json.Unmarshal([]byte("null"), null.Interface()); err != nil {
			t.Fatal(err)
		}
		err = update(c, with(name, null.Elem()))
		if field.clearable {
			if want := `PATCH {"` + field.key + `":null}`; err != nil || len(sent) != 1 || sent[0] != want {
				t.Errorf("%s null: %v, %v; want %s", name, sent, err, want)
			}
			continue
		}
		var argument *connic.ArgumentError
		if !errors.As(err, &argument) || argument.Reason != "cannot be cleared" || argument.Arg != strings.ReplaceAll(field.key, "_", " ") || len(sent) != 0 {
			t.Errorf("%s null: %v, %v; want it to be refused", name, sent, err)
		}
	}
	// The other fields were absent all the time. Now all of them together:
	sent = nil
	if u, ok := any(&all).(*connic.JudgeUpdate); ok {
		u.TriggerMode = connic.Set(connic.JudgeAutomatic) // required by the sample rate
	}
	if err := update(c, all); err != nil || len(sent) != 1 {
		t.Fatalf("all fields set: %v, %v", sent, err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(strings.TrimPrefix(sent[0], "PATCH ")), &keys); err != nil || len(keys) != len(fields) {
		t.Errorf("all fields set: %s has %d keys, want %d (%v)", sent[0], len(keys), len(fields), err)
	}
	var none U
	sent = nil
	if err := update(c, none); err == nil || !strings.Contains(err.Error(), "changes nothing") || len(sent) != 0 {
		t.Errorf("no field set: %v, %v", sent, err)
	}
}

// TestPatchesInTheFake verifies that absent fields remain and null fields are
// cleared.
func TestPatchesInTheFake(t *testing.T) {
	t.Parallel()
	srv, client := judged(t)
	srv.Agent("sales", nil)
	full := fair()
	full.SystemPrompt, full.IncludeAgentSystemPrompt, full.FilterExpression = "Be fair.", connic.Set(true), "context.vip"
	full.TriggerMode, full.SampleRate = connic.JudgeAutomatic, 40
	full.Filters = []connic.RunFilter{{Field: "status", Operator: connic.FilterExists}}
	full.ScoreAlert = &connic.ScoreAlert{Threshold: 1}
	judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), full))
	before := *judge
	after := must[*connic.Judge](t)(client.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{Name: connic.Set("other")}))
	before.Name, before.UpdatedAt = "other", after.UpdatedAt
	if !reflect.DeepEqual(&before, after) {
		t.Errorf("a new name changed more: %+v, want %+v", after, before)
	}
	after = must[*connic.Judge](t)(client.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{
		SystemPrompt: connic.Null[string](), IncludeAgentSystemPrompt: connic.Null[bool](), FilterExpression: connic.Null[string](),
		Filters: connic.Null[[]connic.RunFilter](), ScoreAlert: connic.Null[connic.ScoreAlert](), TriggerMode: connic.Set(connic.JudgeManual),
		SampleRate: connic.Null[float64](),
	}))
	if after.SystemPrompt != "" || after.IncludeAgentSystemPrompt || after.FilterExpression != "" || len(after.Filters) != 0 ||
		after.ScoreAlert != nil || after.SampleRate != 0 || after.Name != "other" || len(after.Criteria) != 2 {
		t.Errorf("the cleared judge is %+v", after)
	}
	// The fake does not rely on the client's own checks.
	err := client.Do(t.Context(), http.MethodPatch, "/judges/"+judge.ID, nil, map[string]any{"name": nil}, nil)
	if !errors.Is(err, connic.ErrInvalid) || !strings.Contains(err.Error(), "body.name") {
		t.Errorf("clearing a name: %v", err)
	}
	err = client.Do(t.Context(), http.MethodPatch, "/judges/"+judge.ID, nil, map[string]any{"colour": "red"}, nil)
	if !errors.Is(err, connic.ErrInvalid) || !strings.Contains(err.Error(), "body.colour") {
		t.Errorf("an unknown key: %v", err)
	}
}
