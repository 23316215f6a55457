package connic

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestS7TolerantDecoding(t *testing.T) {
	t.Parallel()
	type inner struct {
		Name  string `json:"name"`
		Count int    `json:"count"`
	}
	type outer struct {
		inner
		Text   string            `json:"text"`
		Number json.Number       `json:"number"`
		Int    int64             `json:"int"`
		Float  float64           `json:"float"`
		Flag   bool              `json:"flag"`
		Time   Time              `json:"time"`
		List   []inner           `json:"list"`
		Map    map[string]string `json:"map"`
		Raw    json.RawMessage   `json:"raw"`
		Any    any               `json:"any"`
		Ptr    *int              `json:"ptr"`
		Plain  string
		Hidden string `json:"-"`
	}
	seven := 7
	tests := map[string]outer{
		`{"text": 12, "force": "x"}`:                                               {Text: "12"},
		`{"text": {"a":  1}}`:                                                      {Text: `{"a":  1}`},
		`{"text": ["a"], "int": 5}`:                                                {Text: `["a"]`, Int: 5},
		`{"text": true, "flag": "true"}`:                                           {Text: "true", Flag: true},
		`{"int": "12", "float": "1.5", "flag": 1}`:                                 {Int: 12, Float: 1.5, Flag: true},
		`{"int": 12.0, "float": 3}`:                                                {Int: 12, Float: 3},
		`{"int": 1.2e1}`:                                                           {Int: 12},
		`{"int": "9007199254740993"}`:                                              {Int: 9007199254740993},
		`{"int": "1", "number": "12.50"}`:                                          {Int: 1, Number: "12.50"},
		`{"int": "1", "time": "2026-11-23"}`:                                       {Int: 1, Time: Time{day}},
		`{"int": "1", "list": [{"name": 5, "count": "3"}, null]}`:                  {Int: 1, List: []inner{{"5", 3}, {}}},
		`{"int": "1", "map": {"a": 1}}`:                                            {Int: 1, Map: map[string]string{"a": "1"}},
		`{"int": "1", "raw": {"a": [1, 2]}, "any": {"b": null}}`:                   {Int: 1, Raw: json.RawMessage(`{"a": [1, 2]}`), Any: map[string]any{"b": nil}},
		`{"int": "1", "ptr": "7", "name": 1, "count": "2"}`:                        {Int: 1, Ptr: &seven, inner: inner{"1", 2}},
		`{"int": "1", "text": null, "list": null, "map": null, "Hidden": "x"}`:     {Int: 1},
		`{"int": "1", "Plain": 5}`:                                                 {Int: 1, Plain: "5"},
		"{\"int\": \"1\", \"text\": \"\\u00fc \\ud83d\\ude00\"}":                   {Int: 1, Text: "ü 😀"},
		`{"int": "1", "unknown": {"deep": [1, {"x": "y"}]}, "text": "\"quoted\""}`: {Int: 1, Text: `"quoted"`},
	}
	for body, want := range tests {
		var got outer
		if err := unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%s: %v", body, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %+v, want %+v", body, got, want)
		}
	}
	for body, field := range map[string]string{
		`{"int": 1.5}`:                            "int",
		`{"int": "many"}`:                         "int",
		`{"int": 9223372036854775808}`:            "int",
		`{"int": 1e400}`:                          "int",
		`{"float": "NaN"}`:                        "float",
		`{"float": "Infinity"}`:                   "float",
		`{"float": 1e400}`:                        "float",
		`{"flag": "maybe"}`:                       "flag",
		`{"number": "1,5"}`:                       "number",
		`{"time": "yesterday"}`:                   "time",
		`{"list": [{"count": 1}, {"count": {}}]}`: "list[1].count",
		`{"list": {"a": 1}}`:                      "list",
		`{"map": []}`:                             "map",
		`{"cost": NaN}`:                           "cost",
		`{"a": {"b": [1, {"c": Infinity}]}}`:      "a.b.c",
		`{"a": 1, "b": nul1}`:                     "b",
		`[]`:                                      "",
		`"text"`:                                  "",
	} {
		var got outer
		err := unmarshal([]byte(body), &got)
		var fe *fieldError
		if !errors.As(err, &fe) || fe.field != field {
			t.Errorf("%s: %v, want an error that names %q", body, err, field)
		}
	}
}

func TestBodiesThatAreNotWhole(t *testing.T) {
	t.Parallel()
	whole := `{"id": "r1", "list": [1, 2.5, {"a": null}], "text": "a \" b", "ok": true}`
	for cut := range len(whole) {
		var v map[string]any
		if err := unmarshal([]byte(whole[:cut]), &v); !errors.Is(err, errIncomplete) {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
	}
	for _, body := range []string{"", "  \n", "<html></html>", " <!DOCTYPE html>", "<?xml version='1.0'?>"} {
		var v any
		if err := unmarshal([]byte(body), &v); !errors.Is(err, errIncomplete) {
			t.Errorf("%q: %v", body, err)
		}
	}
	for _, body := range []string{`{} {}`, `{} x`, `[1] ]`, `{"a": 1}}`, `nonsense`, `{'a': 1}`} {
		var v any
		if err := unmarshal([]byte(body), &v); err == nil || errors.Is(err, errIncomplete) {
			t.Errorf("%q: %v, want an error that another attempt does not mend", body, err)
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	body := ` { "a" : 1 ,"b":[1,{"]":"}"}], "c\"d": "x\\", "e":{} , "f" :null,"g":-1.5e3 } `
	var got []string
	if err := members([]byte(body), func(key, value []byte) error {
		got = append(got, string(key)+"="+string(value))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"a=1", `b=[1,{"]":"}"}]`, `c\"d="x\\"`, "e={}", "f=null", "g=-1.5e3"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the members are %q, want %q", got, want)
	}
	whole := strings.TrimSpace(body)
	for cut := range len(whole) {
		if err := members([]byte(whole[:cut]), func(_, _ []byte) error { return nil }); err == nil {
			t.Errorf("cut after %d bytes it passes for whole", cut)
		}
	}
	for _, bad := range []string{`{"a":1,}`, `{"a" 1}`, `{"a":}`, `{a:1}`, `{"a":1}x`, `{"a":1 "b":2}`, `[]`, ``} {
		if err := members([]byte(bad), func(_, _ []byte) error { return nil }); err == nil {
			t.Errorf("%s passes", bad)
		}
	}
	stop := errors.New("stop")
	if err := members([]byte(`{"a":1}`), func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the visitor's error is lost: %v", err)
	}
}

func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"id": "r1", "status": "completed", "output": {"a": 1}, "cost": "1.5", "created_at": "2026-11-23T10:00:00", "token_usage": {"input": 1},
		"traces": [{"span_id": "s", "parent_span_id": "s", "start_time": null}]}`))
	f.Add([]byte(`{"run_id": 17, "duration_ms": "x", "traces": null, "run_context": []}`))
	f.Add([]byte(`{"id": "r", "cost": NaN}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		run, err := decodeRun(body)
		if err != nil {
			if run != nil {
				t.Error("a run beside an error")
			}
			return
		}
		if !json.Valid(body) {
			t.Errorf("%q passes for JSON", body)
		}
		run.finished()
		_ = run.failure()
		seen := 0
		var count func([]*SpanNode)
		count = func(nodes []*SpanNode) {
			for _, n := range nodes {
				seen++
				count(n.Children)
			}
		}
		count(run.SpanTree())
		if seen != len(run.Traces) {
			t.Errorf("the tree has %d spans, want %d", seen, len(run.Traces))
		}
		if _, err := json.Marshal(run); err != nil {
			var unsupported *json.MarshalerError
			if !errors.As(err, &unsupported) {
				t.Errorf("it cannot be encoded: %v", err)
			}
		}
	})
}

func TestGoldenRunCutAtEveryByte(t *testing.T) {
	t.Parallel()
	whole := `{"id":"r1","status":"completed","output":"hello","traces":[{"span_id":"s1","metadata_json":"{}"}],"cost":0.5}`
	if _, err := decodeRun([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if run, err := decodeRun([]byte(whole[:cut])); err == nil {
			t.Errorf("F2: cut after %d bytes it passes for %+v", cut, run)
		}
	}
	page := `{"items":[` + whole + `,` + whole + `],"total":2,"has_more":false}`
	l := listing[Run, runWire]{name: "runs", quick: quickRuns, unwrap: (*runWire).run, id: func(r *Run) string { return r.ID }}
	for cut := range len(page) {
		if p, err := l.decode([]byte(page[:cut])); err == nil {
			t.Errorf("F2: a page cut after %d bytes passes for %+v", cut, p)
		}
	}
	trigger := `{"agent_name":"support","run_id":"r1","status":"queued"}`
	for cut := range len(trigger) {
		if r, err := decodeTrigger([]byte(trigger[:cut])); err == nil {
			t.Errorf("F2: a trigger's answer cut after %d bytes passes for %+v", cut, r)
		}
		known := cut >= len(`{"agent_name":"support","run_id":"r1"`)
		r, _ := salvageTrigger([]byte(trigger[:cut])).(*TriggerResult)
		if (r != nil) != known || (known && r.RunID != "r1") {
			t.Errorf("cut after %d bytes, %+v is salvaged", cut, r)
		}
	}
}

func TestSalvageOfOtherForms(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"id":"r1","x":`:                  "r1",
		`{"run":{"id":"r2"},"x":`:          "r2",
		`{"run":{"run_id":"r3"}`:           "r3",
		`{"run_ids":["r4"],"status":"q`:    "r4",
		`{"run_ids":["r4"`:                 "",
		`{"run_ids":["r4","r5"],"status":`: "",
		`{"run":{"id":"r2"`:                "",
		`{"status":"queued","ru`:           "",
		`[`:                                "",
		`<html>`:                           "",
		``:                                 "",
	} {
		r, _ := salvageTrigger([]byte(body)).(*TriggerResult)
		got := ""
		if r != nil {
			got = r.RunID
		}
		if got != want {
			t.Errorf("%s yields %q, want %q", body, got, want)
		}
	}
}

func TestSpanTree(t *testing.T) {
	t.Parallel()
	span := func(id, parent string, order int) Span { return Span{ID: id, ParentID: parent, Order: order} }
	var render func(nodes []*SpanNode) string
	render = func(nodes []*SpanNode) string {
		var parts []string
		for _, n := range nodes {
			s := n.ID
			if len(n.Children) > 0 {
				s += "(" + render(n.Children) + ")"
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, " ")
	}
	late := span("late", "a", 1)
	late.StartTime = Time{day.AddDate(0, 0, 1)}
	soon := span("soon", "a", 1)
	soon.StartTime = Time{day}
	tests := map[string][]Span{
		"":                   nil,
		"a(b(d) c)":          {span("c", "a", 2), span("d", "b", 0), span("b", "a", 1), span("a", "", 0)},
		"x y":                {span("y", "gone", 1), span("x", "lost", 0)},
		"a(first soon late)": {late, soon, span("first", "a", 0), span("a", "", 0)},
		"self":               {span("self", "self", 0)},
		"b(a(c))":            {span("a", "b", 0), span("b", "a", 0), span("c", "a", 0)},
		"twin twin(kid)":     {span("kid", "twin", 0), span("twin", "", 1), span("twin", "", 0)},
		" ":                  {span("", "", 0), span("", "", 1)},
	}
	for want, spans := range tests {
		if got := render((&Run{Traces: spans}).SpanTree()); got != want {
			t.Errorf("%v became %q, want %q", spans, got, want)
		}
	}
	deep := make([]Span, 20_000)
	for i := range deep {
		deep[i] = span(fmt.Sprint(i), fmt.Sprint(i+1), 0)
	}
	if roots := (&Run{Traces: deep}).SpanTree(); len(roots) != 1 || roots[0].ID != "19999" {
		t.Errorf("a chain has %d roots", len(roots))
	}
}
