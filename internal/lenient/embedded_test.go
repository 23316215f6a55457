package lenient

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

type stored struct {
	Raw    json.RawMessage   `json:"raw"`
	List   []inner           `json:"list" api:"assumed,items"`
	Names  []string          `json:"names"`
	Map    map[string]string `json:"map"`
	Object inner             `json:"object"`
	Ptr    *inner            `json:"ptr"`
	Actor  actor             `json:"actor"`
	Whole  *stored           `json:"whole"`
	Text   string            `json:"text"`
	Own    string            `json:"own_json"`
}

// A field that holds an object or a list may come under its name with "_json", as
// JSON or as a string that contains it.
func TestEmbeddedJSON(t *testing.T) {
	t.Parallel()
	const one, text = `{"name": "a", "count": 1}`, `"{\"name\": \"a\", \"count\": 1}"`
	for body, want := range map[string]stored{
		`{"raw_json": ` + one + `}`:                                 {Raw: json.RawMessage(one)},
		`{"raw_json": ` + text + `}`:                                {Raw: json.RawMessage(one)},
		`{"raw_json": " [1,\u00202] "}`:                             {Raw: json.RawMessage(`[1, 2]`)},
		`{"raw_json": "plain"}`:                                     {Raw: json.RawMessage(`"plain"`)},
		`{"list_json": [` + one + `]}`:                              {List: []inner{{"a", 1}}},
		`{"list_json": "[` + text[1:len(text)-1] + `]"}`:            {List: []inner{{"a", 1}}},
		`{"items_json": "[{}]"}`:                                    {List: []inner{{}}},
		`{"names_json": "[\"a\", 5]"}`:                              {Names: []string{"a", "5"}},
		`{"map_json": "{\"a\": \"b\"}"}`:                            {Map: map[string]string{"a": "b"}},
		`{"object_json": ` + text + `}`:                             {Object: inner{"a", 1}},
		`{"ptr_json": ` + text + `}`:                                {Ptr: &inner{"a", 1}},
		`{"Ptr_JSON": ` + one + `}`:                                 {Ptr: &inner{"a", 1}},
		`{"actor_json": "ada"}`:                                     {Actor: actor{Name: "ada"}},
		`{"actor_json": "{\"name\": \"ada\"}"}`:                     {Actor: actor{Name: "ada"}},
		`{"whole_json": "{\"raw_json\": \"[\\\"\\\\u00fc\\\"]\"}"}`: {Whole: &stored{Raw: json.RawMessage(`["\u00fc"]`)}},
		// The field's own name takes precedence, wherever it is.
		`{"list": [` + one + `], "list_json": "[{}, {}]"}`: {List: []inner{{"a", 1}}},
		`{"list_json": "[{}, {}]", "list": [` + one + `]}`: {List: []inner{{"a", 1}}},
		`{"list_json": "[{}]", "list": null}`:              {List: []inner{{}}},
		`{"list": [], "list_json": "[{}]"}`:                {List: []inner{}},
		`{"object_json": ` + text + `, "object": {}}`:      {Object: inner{"a", 1}},
		// What is nothing of the kind is an unknown member.
		`{"text": "x", "text_json": "{}", "_json": [], "json": []}`:          {Text: "x"},
		`{"own_json": "{\"a\": 1}", "own_json_json": []}`:                    {Own: `{"a": 1}`},
		`{"text": "x", "raw_json": null, "list_json": "", "map_json": " "}`:  {Text: "x"},
		`{"text": "x", "list_json": "null", "list_json": "[{}]"}`:            {Text: "x", List: []inner{{}}},
		`{"text": "x", "list_json": {"a": [1, {"b": 2}]}}`:                   {Text: "x"},
		`{"list_json": [{"count": 1}, {"count": "many"}], "text": "x"}`:      {Text: "x"},
		`{"list_json": "[{\"count\": 1}, {", "text": "x"}`:                   {Text: "x"},
		`{"list_json": "[1] 2", "ptr_json": "{\"name\"}", "text": "x"}`:      {Text: "x"},
		`{"list_json": "garbage", "list": [` + one + `], "ptr_json": false}`: {List: []inner{{"a", 1}}},
	} {
		var got stored
		if err := Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%s: %v", body, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %+v, want %+v", body, got, want)
		}
	}
	deep := `{"raw_json": ` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + "}"
	for body, want := range map[string]error{
		`{"list_json": "garbage"}`:                ErrOther,
		`{"text": "x", "list_json": [{"count": `:  ErrIncomplete,
		`{"text": "x", "list_json": "[{}`:         ErrIncomplete,
		`{"text": "x", "list_json": [{"a": nul}]`: errSyntax,
		deep: errDepth,
	} {
		if err := Unmarshal([]byte(body), new(stored)); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", body, err, want)
		}
	}
}

// The depth and the memory of a string of JSON are those of the document.
func TestEmbeddedJSONIsBounded(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", MaxDepth-2) + strings.Repeat("]", MaxDepth-2)
	var got stored
	if err := Unmarshal([]byte(`{"text": "x", "whole_json": "{\"raw\": `+deep+`}"}`), &got); err != nil || got.Whole == nil {
		t.Error(err, got.Whole)
	}
	got = stored{}
	if err := Unmarshal([]byte(`{"text": "x", "whole_json": "{\"raw\": [`+deep+`]}"}`), &got); err != nil || got.Whole != nil {
		t.Error("one level more", err)
	}
	items := "[{}" + strings.Repeat(",{}", 100_000) + "]"
	for _, body := range []string{`{"list_json": "` + items + `"}`, `{"list_json": ` + items + `}`} {
		d := New([]byte(body))
		d.Budget = 1 << 20
		if err := d.Decode(new(stored)); !errors.Is(err, ErrBudget) {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := New([]byte(`{"list_json": "` + items + `"}`))
	d.Context = ctx
	if err := d.Decode(new(stored)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
