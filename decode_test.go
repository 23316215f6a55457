package connic

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/list"
)

func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"id": "r1", "status": "completed", "output": {"a": 1}, "cost": "1.5", "created_at": "2026-11-23T10:00:00", "token_usage": {"input": 1},
		"traces": [{"span_id": "s", "parent_span_id": "s", "start_time": null}]}`))
	f.Add([]byte(`{"run_id": 17, "duration_ms": "x", "traces": null, "run_context": []}`))
	f.Add([]byte(`{"id": "r", "cost": NaN}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		run, err := decodeRun(lenient.New(body))
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
	if _, err := decodeRun(lenient.New([]byte(whole))); err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if run, err := decodeRun(lenient.New([]byte(whole[:cut]))); err == nil {
			t.Errorf("F2: cut after %d bytes it passes for %+v", cut, run)
		}
	}
	page := `{"items":[` + whole + `,` + whole + `],"total":2,"has_more":false}`
	runs := list.Kind[Run]{Name: "runs", ID: func(r *Run) string { return r.ID }, Item: decodeItem[Run]}
	for cut := range len(page) {
		if p, err := runs.Decode(lenient.New([]byte(page[:cut])), list.Position{}, 0); err == nil {
			t.Errorf("F2: a page cut after %d bytes passes for %+v", cut, p)
		}
	}
	trigger := `{"agent_name":"support","run_id":"r1","status":"queued"}`
	for cut := range len(trigger) {
		if r, err := decodeTrigger(lenient.New([]byte(trigger[:cut]))); err == nil {
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

// Every field of a response that holds an object or a list is also understood
// under its name with "_json", as JSON and as a string that contains it.
func TestEmbeddedJSONOfEveryType(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, v := range []json.Unmarshaler{
		&Agent{}, &TriggerResult{}, &Run{}, &Span{}, &TokenUsage{}, &Entry{}, &Match{}, &Namespace{}, &Job{}, &Ingestion{}, &Judge{}, &RunFilter{},
		&ScoreAlert{}, &Evaluation{}, &Budget{}, &UsageRow{}, &AuditEntry{}, &Actor{}, &Deployment{}, &Project{}, &Environment{}, &TestRun{},
		&TestCase{}, &DevSession{}, &DevUpload{}, &BridgeRoute{},
	} {
		of := reflect.TypeOf(v).Elem()
		for _, f := range reflect.VisibleFields(of) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			value, ok := compositeJSON(f.Type)
			if name == "" || name == "-" || !ok {
				continue
			}
			tried++
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			want := decodedField(t, of, f, `{"`+name+`": `+value+`}`)
			for _, given := range []string{value, string(text)} {
				body := `{"` + name + `_json": ` + given + `}`
				if got := decodedField(t, of, f, body); !reflect.DeepEqual(got, want) || reflect.ValueOf(got).IsZero() {
					t.Errorf("%s: %s became %+v, want %+v", of, body, got, want)
				}
			}
		}
	}
	if tried < 10 {
		t.Errorf("%d fields hold an object or a list", tried)
	}
}

// compositeJSON returns an object or a list for a field of a type that holds one.
func compositeJSON(of reflect.Type) (string, bool) {
	switch {
	case of == reflect.TypeFor[json.RawMessage]():
		return `{"a":"b"}`, true
	case of.Kind() == reflect.Pointer:
		return compositeJSON(of.Elem())
	case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.String:
		return `["x"]`, true
	case of.Kind() == reflect.Slice:
		element, ok := compositeJSON(of.Elem())
		return "[" + element + "]", ok
	case of.Kind() != reflect.Struct:
		return "", false
	}
	for _, f := range reflect.VisibleFields(of) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && f.Tag.Get("api") != "" {
			return `{"` + name + `":"7"}`, true
		}
	}
	return "", false
}

// decodedField returns the field f of what a body decodes to.
func decodedField(t *testing.T, of reflect.Type, f reflect.StructField, body string) any {
	t.Helper()
	v := reflect.New(of)
	if err := json.Unmarshal([]byte(body), v.Interface()); err != nil {
		t.Errorf("%s: %s: %v", of, body, err)
	}
	return v.Elem().FieldByIndex(f.Index).Interface()
}
