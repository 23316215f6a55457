package typed

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type base struct {
	ID   string `json:"id" connic:"required"`
	Note string `json:"note"`
}

type item struct {
	Price  float64 `json:"price" connic:"required"`
	Count  *int64  `json:"count" connic:"required"`
	Labels []string
}

type whole struct {
	base
	Number  int64           `json:"number"`
	Small   int8            `json:"small"`
	Large   uint64          `json:"large"`
	Items   []item          `json:"items"`
	Fixed   [2]item         `json:"fixed"`
	Rates   map[string]item `json:"rates"`
	Codes   map[int]string  `json:"codes"`
	Next    *whole          `json:"next"`
	At      time.Time       `json:"at"`
	Quoted  int             `json:"quoted,string"`
	Any     any             `json:"any"`
	Raw     json.RawMessage `json:"raw"`
	Bytes   []byte          `json:"bytes"`
	Ignored string          `json:"-"`
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"id": "a", "items": [{"price": 1, "count": 2, "more": [1, {"price": null}]}], "unknown": {"id": null}}`: "",
		`{"ID": "a", "items": null, "next": null, "fixed": []}`:                                                   "",
		`{"i\u0064": "a \" \\", "raw": "}\\\"{", "small": -128, "large": 18446744073709551615}`:                   "",
		`{"id": "a", "number": 5.0, "items": [{"price": 5, "count": 5e2}], "small": 1.2e1}`:                       "",
		`{"id": "a", "items": [{"price": 5, "count": null}]}`:                                                     "",
		`{"id": "a", "next": {"id": "b", "next": {"id": "c"}}, "quoted": "7", "codes": {"7": "x"}}`:               "",
		``:                          "it is empty",
		" \t\n":                     "it is empty",
		"null":                      "it is empty",
		" null ":                    "it is empty",
		"nul":                       "it is not exactly one JSON value",
		"{} {}":                     "it is not exactly one JSON value",
		"```json\n{}\n```":          "it is not exactly one JSON value",
		"\ufeff{\"id\": \"a\"}":     "it is not exactly one JSON value",
		`{"id": "a",}`:              "it is not exactly one JSON value",
		`[]`:                        "it is a JSON array that is no typed.whole",
		`"x"`:                       "it is a JSON string that is no typed.whole",
		`{}`:                        "id is missing",
		`{"id": null}`:              "id is missing",
		`{"note": "id"}`:            "id is missing",
		`{"id": 7}`:                 "id is a JSON number that is no string",
		`{"id": "a", "small": 128}`: "small is a JSON number that is no int8",
		`{"id": "a", "small": 5.5}`: "small is a JSON number that is no int8",
		`{"id": "a", "number": 5.0, "small": true}`:                         "small is a JSON boolean that is no int8",
		`{"id": "a", "large": -1.0}`:                                        "large is a JSON number that is no uint64",
		`{"id": "a", "large": 1e99999}`:                                     "large is a JSON number that is no uint64",
		`{"id": "a", "items": [{"price": 1, "count": 1}, {"count": 1}]}`:    "items[1].price is missing",
		`{"id": "a", "items": [{"price": 1, "count": 1}, {"price": null}]}`: "items[1].price is missing",
		`{"id": "a", "items": [{"price": 1}]}`:                              "items[0].count is missing",
		`{"id": "a", "items": [null]}`:                                      "items[0] is missing",
		`{"id": "a", "fixed": [{"price": 1, "count": 1}, {}]}`:              "fixed[1].price is missing",
		`{"id": "a", "items": [{"price": "1"}]}`:                            "items[0].price is a JSON string that is no float64",
		`{"id": "a", "rates": {"the key": {}}}`:                             "rates.*.price is missing",
		`{"id": "a", "rates": {"the key": {"price": []}}}`:                  "rates.*.price is a JSON array that is no float64",
		`{"id": "a", "codes": {"the key": "x"}}`:                            "codes is a JSON object that is no map[int]string",
		`{"id": "a", "next": {"next": {"id": "b"}}}`:                        "next.id is missing",
		`{"id": "a", "next": {"id": "b", "items": [[]]}}`:                   "next.items[0] is a JSON array that is no typed.item",
		`{"id": "a", "items": {}}`:                                          "items is a JSON object that is no []typed.item",
		`{"id": "a", "rates": []}`:                                          "rates is a JSON array that is no map[string]typed.item",
		`{"id": "a", "at": "yesterday"}`:                                    "at is a JSON string that is no time.Time",
		`{"id": "a", "quoted": 7}`:                                          "quoted is a JSON number that is no int",
		`{"id": "a", "quoted": "x"}`:                                        "quoted is a JSON string that is no int",
		`{"id": "a", "bytes": "%"}`:                                         "bytes is a JSON string that is no []uint8",
		`{"id": "a", "items": [{"Labels": ["x", 7]}]}`:                      "items[0].Labels[1] is a JSON number that is no string",
	} {
		v, e := Decode[whole](text)
		got := ""
		if e != nil {
			got = e.Error()
			if !reflect.ValueOf(v).IsZero() {
				t.Errorf("%s: %+v beside an error", text, v)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestDecodeValues(t *testing.T) {
	t.Parallel()
	v, e := Decode[whole](`{"id": "a", "number": 9007199254740993, "large": 18446744073709551615, "any": [12345678901234567890, {"x": 1.50}],
		"items": [{"price": 5, "count": 5e2}], "small": -1.20e1, "raw": {"a":  5.0}}`)
	if e != nil || v.Number != 9007199254740993 || v.Large != 1<<64-1 || *v.Items[0].Count != 500 || v.Small != -12 || string(v.Raw) != `{"a":  5.0}` ||
		fmt.Sprint(v.Any) != "[12345678901234567890 map[x:1.50]]" {
		t.Errorf("%+v, %v", v, e)
	}
	type text string
	if v, e := Decode[text](` "quoted" null`); e != nil || v != ` "quoted" null` {
		t.Errorf("%q, %v", v, e)
	}
	if v, e := Decode[string](""); e != nil || v != "" {
		t.Errorf("%q, %v", v, e)
	}
	for _, e := range []*Error{
		second(Decode[*whole]("null")), second(Decode[[]item]("null")), second(Decode[map[string]item]("null")), second(Decode[any](" null")),
		second(Decode[json.RawMessage]("null")), second(Decode[*string](`"x"`)), second(Decode[int]("5.0")), second(Decode[bool]("true")),
	} {
		if e != nil {
			t.Error(e)
		}
	}
	for _, e := range []*Error{second(Decode[int]("null")), second(Decode[bool]("null")), second(Decode[[1]int]("null")), second(Decode[time.Time]("null"))} {
		if e == nil || e.Reason != Empty {
			t.Error(e)
		}
	}
	if e := second(Decode[any](`{} x`)); e == nil || e.Reason != NotJSON || e.Err == nil {
		t.Error(e)
	}
	if e := second(Decode[chan int](`7`)); e == nil || e.Reason != Mismatch {
		t.Error(e)
	}
	if e := second(Decode[[]whole](`[{"id": "a"}, {"id": "b", "items": [{"price": 1, "count": 1}, {"price": 1}]}]`)); e == nil || e.Field != "[1].items[1].count" {
		t.Error(e)
	}
}

func second[T any](_ T, e *Error) *Error { return e }

// Of fields with the same name, those count that encoding/json decodes.
func TestFieldsWithTheSameName(t *testing.T) {
	t.Parallel()
	type deep struct {
		A int `json:"a" connic:"required"`
		B int `json:"b" connic:"required"`
	}
	type other struct {
		B int `json:"b" connic:"required"`
		C int `connic:"required"`
	}
	type named struct {
		X int `json:"C" connic:"required"`
	}
	type outer struct {
		deep
		*other
		named
		A string `json:"a"`
	}
	for text, want := range map[string]string{`{}`: "C is missing", `{"C": 1}`: "", `{"a": "x", "b": "no number", "C": 1}`: "", `{"a": 1, "C": 1}`: "a is a JSON number that is no string"} {
		got := ""
		if _, e := Decode[outer](text); e != nil {
			got = e.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// More required fields than the words that mark them on the stack have bits.
func TestManyRequiredFields(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 63, 64, 127, 128, 129, 300} {
		var fields []reflect.StructField
		object := make(map[string]int)
		for i := range n {
			fields = append(fields, reflect.StructField{
				Name: fmt.Sprintf("F%d", i), Type: reflect.TypeFor[int](), Tag: reflect.StructTag(fmt.Sprintf(`json:"f%d" connic:"required"`, i)),
			})
			object[fmt.Sprintf("f%d", i)] = i
		}
		target := reflect.New(reflect.StructOf(fields)).Elem()
		p := planOf(target.Type())
		text, _ := json.Marshal(object)
		if e := p.decode(string(text), target); e != nil {
			t.Errorf("%d: %v", n, e)
		}
		for i := range n {
			name := fmt.Sprintf("f%d", i)
			delete(object, name)
			text, _ := json.Marshal(object)
			if e := p.decode(string(text), target); e == nil || e.Field != name {
				t.Errorf("%d without %s: %v", n, name, e)
			}
			object[name] = i
		}
	}
}

func TestIntegers(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"5.0": "5", "5e2": "500", "5E+2": "500", "50e-1": "5", "0.5e1": "5", "-0.0": "0", "0e999999999999": "0", "1.20e1": "12", "-1.5e1": "-15",
		"18446744073709551615.00": "18446744073709551615", "0.00000000000000000001e20": "1",
		"5": "", "5.5": "", "1e-1": "", "1e20": "", "1e99999": "", "1e9999": "", "1e-9999": "", "123e-3": "", "0.05e1": "",
	} {
		digits, ok := integer(number)
		if !ok {
			digits = ""
		}
		if digits != want {
			t.Errorf("%s is %q, want %q", number, digits, want)
		}
	}
}

// FuzzDecode compares with encoding/json and with what is found in the document.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"id": "a", "items": [{"price": 1, "count": 2}], "rates": {"x": {"price": 1, "count": null}}, "any": [1e400]}`,
		`{"id": "\"\\", "next": {"id": "b", "fixed": [null], "codes": {"1": ""}}, "small": 5.0e1, "quoted": "1"}`, `{"ID": null, "i\u0064": "x"} `, `null`, `[`, `{"":{"\\":0}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var plain whole
		failed := json.Unmarshal([]byte(text), &plain)
		v, e := Decode[whole](text)
		switch {
		case e == nil:
			if !json.Valid([]byte(text)) || strings.TrimSpace(text) == "" {
				t.Errorf("%q passes", text)
			}
			if failed == nil && v.ID != plain.ID || v.ID == "" && !strings.Contains(text, `""`) && plain.ID != "" {
				t.Errorf("%q: %+v, and encoding/json has %+v", text, v, plain)
			}
		case !reflect.ValueOf(v).IsZero():
			t.Errorf("%q: a value beside %v", text, e)
		case e.Reason == NotJSON && json.Valid([]byte(text)), e.Reason == Missing && failed != nil && !strings.ContainsAny(text, ".eE"):
			t.Errorf("%q: %v, %v", text, e, failed)
		case e.Reason == Mismatch && failed == nil:
			t.Errorf("%q: %v, and encoding/json accepts it", text, e)
		case e.Reason == Mismatch && e.Kind == "":
			t.Errorf("%q: the place is not found: %v", text, e.Err)
		}
		if e == nil || e.Reason == Missing {
			// What the pass finds missing is missing in the document as a map.
			var top map[string]any
			_ = json.Unmarshal([]byte(text), &top)
			present := false
			for key, value := range top {
				present = present || strings.EqualFold(key, "id") && value != nil
			}
			if !present && e == nil && !strings.Contains(text, "null") {
				t.Errorf("%q has no id: %v", text, e)
			}
		}
	})
}
