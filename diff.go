package connic

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// A Change is one field that an update would change.
type Change struct {
	Field    string          // the JSON name, such as "sample_rate"
	From, To json.RawMessage // null if unset or cleared
}

// String returns the change as "sample_rate: 20 → 50".
func (c Change) String() string { return c.Field + ": " + string(c.From) + " → " + string(c.To) }

// Diff returns the changes that an update would make to j, in the order of the
// fields of [JudgeUpdate]. It sends no request. Use it to send an update only
// if something differs.
func (j *Judge) Diff(u JudgeUpdate) []Change { return diff(j, u) }

// Diff returns the changes that an update would make to b, in the order of the
// fields of [BudgetUpdate]. Amounts are compared as numbers. It sends no
// request.
func (b *Budget) Diff(u BudgetUpdate) []Change { return diff(b, u) }

// diff compares the fields of an update, which are Nullables, with the fields
// of the same name in the current value.
func diff(current, update any) []Change {
	have := make(map[string]reflect.Value)
	v := reflect.Indirect(reflect.ValueOf(current))
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && f.IsExported() {
			have[name] = v.FieldByIndex(f.Index)
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
		c := Change{Field: name, From: encoded(have[name].Interface()), To: encoded(to)}
		if !sameJSON(c.From, c.To) {
			changes = append(changes, c)
		}
	}
	return changes
}

// encoded returns v as JSON, and null for a zero value, as the service does.
func encoded(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil { // a filter value that could not have been sent
		return json.RawMessage("null")
	}
	return raw
}

// sameJSON reports whether two values are equivalent. Empty values equal null,
// and amounts are compared as numbers.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) || empty(a) && empty(b) {
		return true
	}
	var x, y Decimal
	if a[0] == '"' && x.UnmarshalJSON(a) == nil && y.UnmarshalJSON(b) == nil {
		return x.Cmp(y) == 0
	}
	return false
}

func empty(raw json.RawMessage) bool {
	switch string(raw) {
	case "null", `""`, "[]", "{}":
		return true
	}
	return false
}
