package encode

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

type word string

func (w word) Known() bool { return w == "good" }

type scalar struct{ text string }

func (n scalar) MarshalText() ([]byte, error)  { return []byte(n.text), nil }
func (n *scalar) UnmarshalText(b []byte) error { n.text = string(b); return nil }
func (n scalar) Value() (driver.Value, error)  { return n.text, nil }

type Embedded struct {
	RunID string `json:"run_id"`
}

type item struct {
	ID       string          `json:"id"`
	Name     string          `json:"name,omitzero"`
	Text     string          `json:"text,omitzero"` // what people write
	Status   word            `json:"status,omitzero"`
	Size     int64           `json:"size,omitzero"`
	Rate     float64         `json:"rate,omitzero"`
	Done     bool            `json:"done,omitzero"`
	Amount   *scalar         `json:"amount,omitzero"`
	Scalar   scalar          `json:"scalar,omitzero"`
	Created  time.Time       `json:"created_at,omitzero"`
	Tags     []string        `json:"tags,omitzero"`
	Data     []byte          `json:"data,omitzero"`
	Raw      json.RawMessage `json:"raw,omitzero"`
	Any      any             `json:"type,omitzero"`
	AgentID  string
	Hidden   string `json:"-"`
	internal string //nolint:unused // a field that no form may touch
	*Embedded
}

func TestLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	full := item{
		ID: "a b", Name: strings.Repeat("é", maxText+50), Text: "private", Status: "good", Size: 5, Rate: 0.5, Done: true, Scalar: scalar{"1.50"},
		Created: at, Tags: []string{"x", "y"}, Data: []byte("private"), Raw: json.RawMessage(`"private"`), Any: word("private"), AgentID: "line\nend",
		Hidden: "private", Embedded: &Embedded{"r"},
	}
	line := Line(full)
	for _, want := range []string{
		`item id="a b" name=é`, " status=good size=5 rate=0.5 done=true scalar=1.50 created_at=2026-01-02T02:04:05.000000006Z tags=2 ", ` agent_id="line`, " run_id=r",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%s, want %s", line, want)
		}
	}
	if strings.Contains(line, "private") || strings.ContainsAny(line, "\r\n") || len(line) > 600 {
		t.Error(line)
	}
	if got := Line(item{}); got != "item" {
		t.Error(got)
	}
	if got := LogValue((*item)(nil)); !got.Equal(slog.Value{}) {
		t.Error(got)
	}
	if got := LogValue(&item{ID: "a"}); len(got.Group()) != 1 || got.Group()[0].String() != "id=a" {
		t.Error(got)
	}
}

func TestSnake(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"ID": "id", "RunID": "run_id", "HTTPStatus": "http_status", "A": "a", "": "", "DurationMS": "duration_ms"} {
		if got := snake(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestYAML(t *testing.T) {
	t.Parallel()
	got, err := YAML(map[string]any{"i": int64(math.MaxInt64), "u": uint64(math.MaxUint64), "f": 1.5, "huge": json.Number("1e999"), "list": []any{1, nil}})
	want := map[string]any{"i": int64(math.MaxInt64), "u": uint64(math.MaxUint64), "f": 1.5, "huge": "1e999", "list": []any{int64(1), nil}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%#v, %v", got, err)
	}
	if _, err := YAML(math.NaN()); err == nil {
		t.Error("NaN has a form")
	}
	var v item
	err = FromYAML(func(to any) error {
		*to.(*any) = map[any]any{"id": "a", "tags": []any{"x"}, 5: map[any]any{true: 1}}
		return nil
	}, &v)
	if err != nil || v.ID != "a" || len(v.Tags) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	broken := errors.New("broken")
	if err := FromYAML(func(any) error { return broken }, &v); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// What Value writes, Scan reads, as a text, as bytes, and as a database may
// convert it.
func TestColumns(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		v      any
		column driver.Value
	}{
		{"text", "text"},
		{"", ""},
		{word("good"), "good"},
		{true, true},
		{int8(-5), int64(-5)},
		{0.5, 0.5},
		{at, at},
		{time.Time{}, nil},
		{scalar{"1.50"}, "1.50"},
		{item{ID: "a", Size: 1 << 60}, `{"id":"a","size":1152921504606846976,"AgentID":""}`},
		{[]string{"a"}, `["a"]`},
		{uint64(math.MaxUint64), "18446744073709551615"},
	} {
		column, err := Value(test.v)
		if err != nil || column != test.column {
			t.Errorf("%T: %v, %v, want %v", test.v, column, err, test.column)
		}
		columns := []any{column}
		if text, ok := column.(string); ok {
			columns = append(columns, []byte(text))
		}
		for _, column := range columns {
			target := reflect.New(reflect.TypeOf(test.v))
			if err := Scan(column, target.Interface()); err != nil || !reflect.DeepEqual(target.Elem().Interface(), test.v) {
				t.Errorf("%T of %v: %v, %v", test.v, column, target.Elem(), err)
			}
		}
	}
	if column, err := Value((*item)(nil)); column != nil || err != nil {
		t.Errorf("%v, %v", column, err)
	}
}

func TestScanRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		column, v any
		want      string
	}{
		{"private", new(item), "the column is no encode.item: it is not JSON"},
		{`{"size": "private"}`, new(item), "cannot unmarshal"},
		{"private", new(bool), "no bool"},
		{int64(300), new(int8), "no int8"},
		{struct{}{}, new(string), "a column of the type struct {} cannot be a string"},
	} {
		if err := Scan(test.column, test.v); err == nil || !strings.Contains(err.Error(), test.want) || !reflect.ValueOf(test.v).Elem().IsZero() {
			t.Errorf("%v, %v, want %s", test.v, err, test.want)
		}
	}
	v := item{ID: "a"}
	if err := Scan(nil, &v); err != nil || v.ID != "" {
		t.Errorf("%+v, %v", v, err)
	}
}
