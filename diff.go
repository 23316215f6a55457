package connic

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// Change is one field that an update would change.
type Change struct {
	Field    string          // as the service calls it: "sample_rate"
	From, To json.RawMessage // null for what is not set, and what is cleared
}

// String returns the change as "sample_rate: 20 → 50".
func (c Change) String() string { return c.Field + ": " + string(c.From) + " → " + string(c.To) }

// Diff returns what an update would change of the judge as it is here, in the
// order of the update's fields. It sends nothing: a caller that reconciles a
// judge with its own idea of it sends an update only where something differs.
func (j *Judge) Diff(u JudgeUpdate) []Change { return diff(j, u) }

// Diff returns what an update would change of the budget as it is here, in the
// order of the update's fields. Amounts are compared as numbers. It sends
// nothing.
func (b *Budget) Diff(u BudgetUpdate) []Change { return diff(b, u) }

// diff compares the fields of an update, which are Nullables, with those of the
// same name in what is to be updated.
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
		to, ok := u.Field(i).Interface().(interface {
			json.Marshaler
			IsZero() bool
		})
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

// encoded is v as JSON; null for a zero value, as the service writes it.
func encoded(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil { // a filter's value that nothing could have sent
		return json.RawMessage("null")
	}
	return raw
}

// sameJSON reports whether two values mean the same: what is empty is as good as
// null, and amounts are equal that are written in different ways.
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
