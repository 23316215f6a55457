package connic

import (
	"bytes"
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/encode"
)

// Nullable is a field of an update that can be absent, null or set. A PATCH
// treats the three differently: it leaves an absent field unchanged and clears
// a field that is null.
//
//	connic.JudgeUpdate{
//		SampleRate: connic.Set(20.0),                  // change this
//		ScoreAlert: connic.Null[connic.ScoreAlert](), // clear it
//	} // and leave everything else unchanged
//
// The zero Nullable is absent. In your own types, use the omitzero option, as
// in `json:"limit,omitzero"`; without it an absent value is encoded as null.
type Nullable[T any] struct {
	value T
	state nullState
}

type nullState uint8

const (
	isAbsent nullState = iota
	isNull
	isSet
)

// Set returns a Nullable that is set to value. A zero value, such as an empty
// string, 0 or false, is a value like any other.
func Set[T any](value T) Nullable[T] { return Nullable[T]{value, isSet} }

// Null returns a Nullable that clears the field.
func Null[T any]() Nullable[T] { return Nullable[T]{state: isNull} }

// IsZero reports whether n is absent. It implements the omitzero option of
// encoding/json.
func (n Nullable[T]) IsZero() bool { return n.state == isAbsent }

// IsNull reports whether n is null. An absent value is not null.
func (n Nullable[T]) IsNull() bool { return n.state == isNull }

// Get returns the value and whether n is set.
func (n Nullable[T]) Get() (value T, ok bool) { return n.value, n.state == isSet }

// String returns the value as formatted by package fmt, or "null" or "absent".
func (n Nullable[T]) String() string {
	switch n.state {
	case isSet:
		return fmt.Sprint(n.value)
	case isNull:
		return "null"
	default:
		return "absent"
	}
}

// MarshalJSON implements [json.Marshaler].
func (n Nullable[T]) MarshalJSON() ([]byte, error) {
	if n.state != isSet {
		return []byte("null"), nil
	}
	return json.Marshal(n.value)
}

// UnmarshalJSON implements [json.Unmarshaler]. It is not called for a missing
// key, so the Nullable stays absent.
func (n *Nullable[T]) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*n = Null[T]()
		return nil
	}
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	*n = Set(value)
	return nil
}

// Equal reports whether n and o are both absent, both null, or set to values
// that are equal.
func (n Nullable[T]) Equal(o Nullable[T]) bool {
	if n.state != isSet || o.state != isSet {
		return n.state == o.state
	}
	if v, ok := any(n.value).(interface{ Equal(T) bool }); ok {
		return v.Equal(o.value)
	}
	return reflect.DeepEqual(n.value, o.value)
}

// MarshalText implements [encoding.TextMarshaler]. The text is empty if n is
// absent, and "null" if it is null. Otherwise it is the text of the value or, if
// that is empty, null, or begins with a quote, and for values without a text,
// its JSON.
func (n Nullable[T]) MarshalText() ([]byte, error) {
	switch v := any(n.value).(type) {
	case encoding.TextMarshaler:
		if n.state == isSet {
			text, err := v.MarshalText()
			if plainText(text) || err != nil {
				return text, err
			}
		}
	default:
		if s := reflect.ValueOf(v); n.state == isSet && s.Kind() == reflect.String && plainText([]byte(s.String())) {
			return []byte(s.String()), nil
		}
	}
	if n.state == isAbsent {
		return nil, nil
	}
	return n.MarshalJSON()
}

// plainText reports whether a text means itself, as the text of a Nullable.
func plainText(text []byte) bool {
	return len(text) > 0 && text[0] != '"' && string(text) != "null"
}

// UnmarshalText implements [encoding.TextUnmarshaler]: see MarshalText.
func (n *Nullable[T]) UnmarshalText(text []byte) error {
	switch {
	case len(text) == 0:
		*n = Nullable[T]{}
		return nil
	case !plainText(text):
		return n.UnmarshalJSON(text)
	}
	var value T
	if err := encode.Scan(text, &value); err != nil {
		return err
	}
	*n = Set(value)
	return nil
}

// MarshalYAML returns the value for a YAML package: null unless n is set.
func (n Nullable[T]) MarshalYAML() (any, error) { return encode.YAML(n) }

// UnmarshalYAML decodes a value for a YAML package. Some do not call it for
// null.
func (n *Nullable[T]) UnmarshalYAML(unmarshal func(any) error) error {
	return encode.FromYAML(unmarshal, n)
}

// Value implements [driver.Valuer]. It is NULL unless n is set.
func (n Nullable[T]) Value() (driver.Value, error) {
	if n.state != isSet {
		return nil, nil
	}
	if v, ok := any(n.value).(driver.Valuer); ok {
		return v.Value()
	}
	return encode.Value(n.value)
}

// Scan implements [sql.Scanner]. NULL becomes null.
func (n *Nullable[T]) Scan(column any) error {
	if column == nil {
		*n = Null[T]()
		return nil
	}
	var value T
	*n = Nullable[T]{}
	if err := encode.Scan(column, &value); err != nil {
		return err
	}
	*n = Set(value)
	return nil
}

// patch validates an update before it is sent.
type patch struct {
	op    string
	set   bool // at least one field is set or null
	first *ArgumentError
}

// refuse records a complaint, unless there is one already.
func (p *patch) refuse(arg, reason string) {
	if p.first == nil {
		p.first = &ArgumentError{Op: p.op, Arg: arg, Reason: reason}
	}
}

// err returns the first complaint, or one that nothing is changed.
func (p *patch) err() error {
	if p.first == nil && !p.set {
		p.refuse("update", "is empty: it changes nothing")
	}
	if p.first == nil {
		return nil
	}
	return p.first
}

// given returns value as a Nullable that is absent if value is zero.
func given[T comparable](value T) Nullable[T] {
	var zero T
	if value == zero {
		return Nullable[T]{}
	}
	return Set(value)
}

// orNull returns value as a Nullable that is null if value is zero.
func orNull[T comparable](value T) Nullable[T] {
	if n := given(value); !n.IsZero() {
		return n
	}
	return Null[T]()
}

// change checks one field of an update. check returns what is wrong with a
// value, or "".
func change[T any](p *patch, arg string, n Nullable[T], clearable bool, check func(T) string) {
	p.set = p.set || !n.IsZero()
	if n.IsNull() && !clearable {
		p.refuse(arg, "cannot be cleared")
	}
	if value, ok := n.Get(); ok && check != nil {
		if reason := check(value); reason != "" {
			p.refuse(arg, reason)
		}
	}
}

// A Change is one field that an update would change.
type Change struct {
	Field string          `json:"field"` // the JSON name, such as "sample_rate"
	From  json.RawMessage `json:"from"`  // null if unset
	To    json.RawMessage `json:"to"`    // null if cleared
}

// String returns the change as "sample_rate: 20 → 50".
func (c Change) String() string { return c.Field + ": " + string(c.From) + " → " + string(c.To) }

// diff compares the fields of an update, which are Nullables, with the fields
// of the same name in the current value.
func diff(current, update any) []Change {
	have := make(map[string]reflect.Value)
	unset := make(map[string]bool) // zero, which stands for nothing
	v := reflect.Indirect(reflect.ValueOf(current))
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name, options, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && f.IsExported() {
			have[name] = v.FieldByIndex(f.Index)
			unset[name] = have[name].IsZero() && (options != "" || f.Type.Kind() == reflect.String)
		}
	}
	var changes []Change
	u := reflect.ValueOf(update)
	for i := range u.NumField() {
		to, ok := reflect.TypeAssert[interface {
			json.Marshaler
			IsZero() bool
		}](u.Field(i))
		if !ok || to.IsZero() {
			continue
		}
		name, _, _ := strings.Cut(u.Type().Field(i).Tag.Get("json"), ",")
		from := have[name].Interface()
		c := Change{Field: name, From: encoded(from), To: encoded(to)}
		_, amount := from.(Decimal)
		same := sameJSON(c.From, c.To, amount)
		if unset[name] {
			c.From = json.RawMessage("null")
			same = same && !amount || empty(c.To)
		}
		if !same {
			changes = append(changes, c)
		}
	}
	return changes
}

// encoded returns v as JSON.
func encoded(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil { // a filter value that could not have been sent
		return json.RawMessage("null")
	}
	return raw
}

// sameJSON reports whether two values are equivalent. Empty values equal null.
// Numbers are compared as such, and so is text if it is an amount.
func sameJSON(a, b json.RawMessage, amount bool) bool {
	if bytes.Equal(a, b) || empty(a) && empty(b) {
		return true
	}
	if amount {
		return sameNumber(string(a), string(b))
	}
	return sameValue(generic(a), generic(b))
}

// generic returns a value as encoding/json decodes it, with exact numbers.
func generic(raw json.RawMessage) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&v) // it was just encoded
	return v
}

func sameValue(a, b any) bool {
	switch x := a.(type) {
	case json.Number:
		y, ok := b.(json.Number)
		return ok && sameNumber(x.String(), y.String())
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, sameValue)
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, sameValue)
	}
	return a == b // both are strings, booleans or nil, or differ in their types
}

func sameNumber(a, b string) bool {
	var x, y Decimal
	if x.UnmarshalJSON([]byte(a)) != nil || y.UnmarshalJSON([]byte(b)) != nil {
		return a == b
	}
	return x.Cmp(y) == 0
}

func empty(raw json.RawMessage) bool {
	switch string(raw) {
	case "null", `""`, "[]", "{}":
		return true
	}
	return false
}
