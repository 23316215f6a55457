package lenient

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

type inner struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

type outer struct {
	inner
	Text   string            `json:"text"`
	Number json.Number       `json:"number"`
	Int    int64             `json:"int"`
	Small  int32             `json:"small"`
	Float  float64           `json:"float"`
	Flag   bool              `json:"flag"`
	Time   time.Time         `json:"time"`
	List   []inner           `json:"list"`
	Map    map[string]string `json:"map"`
	Raw    json.RawMessage   `json:"raw"`
	Any    any               `json:"any"`
	Ptr    *int              `json:"ptr"`
	Plain  string
	Hidden string `json:"-"`
}

func TestS7Tolerance(t *testing.T) {
	t.Parallel()
	seven := 7
	for body, want := range map[string]outer{
		`{"text": 12, "force": "x"}`:                                   {Text: "12"},
		`{"text": {"a":  1}}`:                                          {Text: `{"a":  1}`},
		`{"text": ["a"], "int": 5}`:                                    {Text: `["a"]`, Int: 5},
		`{"text": true, "flag": "true"}`:                               {Text: "true", Flag: true},
		`{"int": "12", "float": "1.5", "flag": 1}`:                     {Int: 12, Float: 1.5, Flag: true},
		`{"int": 12.0, "float": 3}`:                                    {Int: 12, Float: 3},
		`{"int": 1.2e1}`:                                               {Int: 12},
		`{"int": -120e-1}`:                                             {Int: -12},
		`{"int": 0.00e5}`:                                              {},
		`{"int": 12300000000000000000000e-20}`:                         {Int: 123},
		`{"int": 0.0000000000000000000012e22}`:                         {Int: 12},
		`{"int": -0.0}`:                                                {},
		`{"int": "9007199254740993"}`:                                  {Int: 9007199254740993},
		`{"int": -9223372036854775808}`:                                {Int: -9223372036854775808},
		`{"number": "12.50"}`:                                          {Number: "12.50"},
		`{"time": "2026-11-23"}`:                                       {Time: day},
		`{"time": null, "text": "x"}`:                                  {Text: "x"},
		`{"list": [{"name": 5, "count": "3"}, null]}`:                  {List: []inner{{"5", 3}, {}}},
		`{"list": []}`:                                                 {List: []inner{}},
		`{"list": [{"name": "a"}, {"name": "a"}, {"count": 1}]}`:       {List: []inner{{"a", 0}, {"a", 0}, {"", 1}}},
		`{"map": {"a": "1"}}`:                                          {Map: map[string]string{"a": "1"}},
		`{"raw": {"a": [1, 2]}, "any": {"b": null}}`:                   {Raw: json.RawMessage(`{"a": [1, 2]}`), Any: map[string]any{"b": nil}},
		`{"raw": null}`:                                                {},
		`{"ptr": "7", "name": 1, "count": "2"}`:                        {Ptr: &seven, inner: inner{"1", 2}},
		`{"text": null, "list": null, "map": null, "Hidden": "x"}`:     {},
		`{"Plain": 5}`:                                                 {Plain: "5"},
		`{"TEXT": "a", "int": "1", "nAme": "b"}`:                       {Text: "a", Int: 1, inner: inner{Name: "b"}},
		`{"te\u0078t": "a"}`:                                           {Text: "a"},
		"{\"text\": \"\\u00fc \\ud83d\\ude00\"}":                       {Text: "ü 😀"},
		"{\"text\": \"ü \xff \\ud83d\"}":                               {Text: "ü \ufffd \ufffd"},
		`{"unknown": {"deep": [1, {"x": "y"}]}, "text": "\"quoted\""}`: {Text: `"quoted"`},
		`{"text": "a", "text": "b"}`:                                   {Text: "b"},
		" {\t\"text\"\r:\n\"a\" } ":                                    {Text: "a"},
	} {
		var got outer
		if err := Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%s: %v", body, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %+v, want %+v", body, got, want)
		}
	}
}

func TestErrorsNameTheField(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{
		`{"int": 1.5}`:                            "int",
		`{"int": "many"}`:                         "int",
		`{"int": "0x10"}`:                         "int",
		`{"int": "1_0"}`:                          "int",
		`{"int": 9223372036854775808}`:            "int",
		`{"int": 1e400}`:                          "int",
		`{"int": 1e99999999999999999999}`:         "int",
		`{"int": {}}`:                             "int",
		`{"small": 2147483648}`:                   "small",
		`{"float": "NaN"}`:                        "float",
		`{"float": "Infinity"}`:                   "float",
		`{"float": "0x1p4"}`:                      "float",
		`{"float": 1e400}`:                        "float",
		`{"flag": "maybe"}`:                       "flag",
		`{"number": "1,5"}`:                       "number",
		`{"time": "yesterday"}`:                   "time",
		`{"time": "0x1p4"}`:                       "time",
		`{"time": "1_000"}`:                       "time",
		`{"list": [{"count": 1}, {"count": {}}]}`: "list[1].count",
		`{"list": {"a": 1}}`:                      "list",
		`{"list": [[]]}`:                          "list[0]",
		`{"map": []}`:                             "map",
		`{"cost": NaN}`:                           "cost",
		`{"a": {"b": [1, {"c": Infinity}]}}`:      "a",
		`{"list": [{}, {"count": nul}]}`:          "list[1].count",
		`{"a": 1, "b": nul1}`:                     "b",
		`[]`:                                      "",
		`"text"`:                                  "",
		`null`:                                    "",
		`{}`:                                      "",
		`{"unknown": 1}`:                          "",
	} {
		var got outer
		err := Unmarshal([]byte(body), &got)
		var fe *FieldError
		if !errors.As(err, &fe) || fe.Field != field {
			t.Errorf("%s: %v, want an error that names %q", body, err, field)
		}
	}
}

func TestDocumentsThatAreNotWhole(t *testing.T) {
	t.Parallel()
	whole := `{"id": "r1", "list": [{"count": 2}, {"a": null}], "text": "a \" \u00fc b", "flag": true, "float": -1.5e+3}`
	for cut := range len(whole) {
		var v outer
		if err := Unmarshal([]byte(whole[:cut]), &v); !errors.Is(err, ErrIncomplete) {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
		if err := Unmarshal([]byte(whole[:cut]+"  "), &v); err == nil {
			t.Errorf("cut after %d bytes and followed by blanks it passes", cut)
		}
	}
	for _, body := range []string{"", "  \n", "<html></html>", " <!DOCTYPE html>", "<?xml version='1.0'?>"} {
		var v outer
		if err := Unmarshal([]byte(body), &v); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%q: %v", body, err)
		}
	}
	for _, body := range []string{
		`{} {}`, `{} x`, `[1] ]`, `{"a": 1}}`, `nonsense`, `{'a': 1}`, `{"a":1,}`, `{"a" 1}`, `{"a":}`, `{a:1}`, `{"a":1 "b":2}`, `{,}`,
		`[1,]`, `[,1]`, `[1 2]`, `{"a":01}`, `{"a":1.}`, `{"a":+1}`, `{"a":.5}`, `{"a":0x1}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\t\"}",
		"{\"text\":\"\x00\"}", `{"a":tru}`, `{"a":[}`, `{"a":{]}`,
	} {
		var v outer
		if err := Unmarshal([]byte(body), &v); err == nil || errors.Is(err, ErrIncomplete) {
			t.Errorf("%q: %v, want an error that another attempt does not mend", body, err)
		}
		if err := New([]byte(body)).End(New([]byte(body)).Skip()); err == nil {
			t.Errorf("%q is skipped", body)
		}
	}
}

type resource struct {
	ID      string `json:"id" api:"assumed,run_id"`
	Count   int    `json:"count" api:"assumed,count_all,n"`
	Enabled bool   `json:"enabled" api:"observed,=true"`
	Actor   actor  `json:"actor" api:"assumed"`
}

type actor struct {
	Name string `json:"name" api:"assumed,."`
	Mail string `json:"mail" api:"assumed"`
}

// UnmarshalJSON shows that a tagged type is decoded by its fields.
func (*resource) UnmarshalJSON([]byte) error { return errors.New("the method was called") }

func TestTags(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]resource{
		`{"id":"a"}`:     {ID: "a", Enabled: true},
		`{"run_id":"a"}`: {ID: "a", Enabled: true},
		`{"id":"a","run_id":"b","enabled":false}`:               {ID: "a"},
		`{"run_id":"b","id":"a","enabled":"false"}`:             {ID: "a"},
		`{"run_id":"b","id":null,"enabled":null}`:               {ID: "b", Enabled: true},
		`{"run_id":"b","id":""}`:                                {ID: "b", Enabled: true},
		`{"count":0,"n":"5"}`:                                   {Count: 5, Enabled: true},
		`{"n":5,"count":0}`:                                     {Count: 5, Enabled: true},
		`{"count_all":4,"count":3}`:                             {Count: 3, Enabled: true},
		`{"actor":"ada"}`:                                       {Enabled: true, Actor: actor{Name: "ada"}},
		`{"actor":7}`:                                           {Enabled: true, Actor: actor{Name: "7"}},
		`{"actor":null,"id":"a"}`:                               {ID: "a", Enabled: true},
		`{"actor":{"name":"ada","mail":"a@b"},"Enabled":false}`: {Actor: actor{"ada", "a@b"}},
	} {
		var got resource
		if err := Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%s: %v", body, err)
		} else if got != want {
			t.Errorf("%s became %+v, want %+v", body, got, want)
		}
	}
	var got resource
	if err := Unmarshal([]byte(`{"actor":[]}`), &got); err == nil {
		t.Errorf("an array became %+v", got)
	}
}

func TestLikeSharesOnlyEqualTexts(t *testing.T) {
	t.Parallel()
	bodies := []string{
		`{"id":"a","actor":{"name":"ada"}}`, `{"id":"a"}`, `{"id":"b"}`, `{"count":1}`, `{"id":null}`, `{"run_id":"b"}`, `{"id":5}`,
	}
	d := New([]byte("[" + strings.Join(bodies, ",") + "]"))
	var last *resource
	i := 0
	if err := d.End(d.Elements(func() error {
		item, before := new(resource), last
		if before == nil {
			before = item
		}
		if err := d.Like(item, before); err != nil {
			return err
		}
		var want resource
		if err := Unmarshal([]byte(bodies[i]), &want); err != nil {
			return err
		}
		if *item != want {
			t.Errorf("%s became %+v, want %+v", bodies[i], *item, want)
		}
		last = item
		i++
		return nil
	})); err != nil || i != len(bodies) {
		t.Fatal(i, err)
	}
}

// TestHostileDocuments bounds what a document can make the decoder do.
func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	nested := func(open, middle, end string, n int) string {
		return strings.Repeat(open, n) + middle + strings.Repeat(end, n)
	}
	type list struct {
		Items []outer `json:"items"`
	}
	for name, body := range map[string]string{
		"arrays":        nested("[", "", "]", 100_000),
		"objects":       nested(`{"a":`, "1", "}", 100_000),
		"unknown":       `{"items":[],"x":` + nested("[", "", "]", MaxDepth+1) + `}`,
		"empty objects": `{"items":[` + strings.Repeat("{},", 1<<20) + `{}]}`,
		"nulls":         `{"items":[` + strings.Repeat("null,", 1<<20) + `null]}`,
	} {
		var v list
		d := New([]byte(body))
		if err := d.Decode(&v); err == nil || errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v", name, err)
		}
		if size := cap(v.Items) * int(reflect.TypeFor[outer]().Size()); size > 3*len(body)+1<<20 {
			t.Errorf("%s: %d bytes became %d", name, len(body), size)
		}
	}
	for n, ok := range map[int]bool{MaxDepth - 1: true, MaxDepth: false} {
		var v list
		body := `{"items":[],"x":` + nested("[", "", "]", n) + `}`
		if err := Unmarshal([]byte(body), &v); (err == nil) != ok {
			t.Errorf("%d levels: %v", n, err)
		}
	}
	d := New([]byte(`{"items":[` + strings.Repeat(`{"text":"a"},`, 20_000) + `{}]}`))
	d.Budget = 1 << 30
	d.Context = &ending{Context: context.Background(), after: 2}
	if err := d.Decode(new(list)); !errors.Is(err, context.Canceled) || d.Offset() > 3*64<<10 {
		t.Errorf("interrupted at %d: %v", d.Offset(), err)
	}
}

// ending is a context that ends when it is asked so often.
type ending struct {
	context.Context
	after int
}

func (e *ending) Err() error {
	if e.after--; e.after > 0 {
		return nil
	}
	return context.Canceled
}

// TestDecodedMemoryIsItsOwn changes the document after it was decoded.
func TestDecodedMemoryIsItsOwn(t *testing.T) {
	t.Parallel()
	body := []byte(`{"text":"plain","number":12,"raw":{"a":1},"list":[{"name":"n"}],"name":"esc\n"}`)
	var got outer
	if err := Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = 'x'
	}
	if got.Text != "plain" || got.Number != "12" || string(got.Raw) != `{"a":1}` || got.List[0].Name != "n" || got.Name != "esc\n" {
		t.Errorf("it changed to %+v", got)
	}
}

// plainDoc has fields of which encoding/json knows all forms that it takes.
type plainDoc struct {
	Text  string          `json:"text"`
	Int   int64           `json:"int"`
	Float float64         `json:"float"`
	Flag  bool            `json:"flag"`
	List  []plainDoc      `json:"list"`
	Raw   json.RawMessage `json:"raw"`
	Ptr   *string         `json:"ptr"`
}

// FuzzDecode compares the decoder with encoding/json: what that decodes into
// plain fields, this decodes to the same, and what that finds no JSON, this
// refuses.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"text":"a\u00fc\ud83d\ude00 \\ \" \n","int":-12,"float":1.5e3,"flag":true,"list":[{"text":"x"},null,{"list":[]}],"raw":[1,{"a":null}],"ptr":null}`,
		`{"TEXT":"ü","unknown":{"a":[1,2,{"b":"c"}]},"ptr":"p"}`, `[]`, `{"text":5}`, `{"int":1.0}`, `{"a":"\ud800"}`, "{\"text\":\"\xff\"}", `{"float":-0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := New(data)
		if err := d.End(d.Skip()); (err == nil) != json.Valid(data) && !errors.Is(err, errDepth) {
			t.Fatalf("%q: %v, but valid: %v", data, err, json.Valid(data))
		}
		var want, got plainDoc
		theirs := json.Unmarshal(data, &want)
		d = New(data)
		d.Budget = 1 << 30
		err := d.End(d.Value(&got))
		if err == nil && !json.Valid(data) {
			t.Fatalf("%q passes for JSON", data)
		}
		if theirs != nil {
			return
		}
		if err != nil {
			if errors.Is(err, errDepth) {
				return
			}
			t.Fatalf("%q: %v", data, err)
		}
		if strings.Count(string(data), `"`) > 0 && repeats(data) {
			return // encoding/json merges what stands there twice
		}
		clear := func(p *plainDoc) {
			var walk func(p *plainDoc)
			walk = func(p *plainDoc) {
				if string(p.Raw) == "null" {
					p.Raw = nil
				}
				for i := range p.List {
					walk(&p.List[i])
				}
			}
			walk(p)
		}
		clear(&want)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q became\n%+v, not\n%+v", data, got, want)
		}
	})
}

// repeats reports whether some object of a document has a key twice, in whatever
// case.
func repeats(data []byte) bool {
	d := New(data)
	var value func() bool
	value = func() bool {
		twice := false
		switch d.Peek() {
		case '{':
			seen := map[string]bool{}
			_ = d.Members(func(key []byte) error {
				name := strings.ToLower(strings.ToUpper(string(key)))
				twice = twice || seen[name]
				seen[name] = true
				twice = value() || twice
				return nil
			})
		case '[':
			_ = d.Elements(func() error { twice = value() || twice; return nil })
		default:
			_ = d.Skip()
		}
		return twice
	}
	return value()
}
