package connic

import (
	"encoding"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
)

// A Filter selects knowledge by its metadata. The zero Filter selects
// everything.
//
//	connic.Where("team").Equals("sales").And(
//		connic.Where("year").AtLeast(2024),
//		connic.Where("tags").Contains("draft").Not(),
//	)
//
// Filters are values: combining them does not modify the operands. An invalid
// Filter records the reason, and a call that uses it is refused with an
// [*ArgumentError] before anything is sent; see also [Filter.Err].
//
// The vendor documents the names of the operators ($eq, $gte, $in and so on)
// but not how to combine them. A Filter follows MongoDB, the origin of the
// names: a condition is {"team": {"$eq": "sales"}}. Use [RawFilter] for
// anything else.
type Filter struct {
	text string // as JSON; empty for the zero Filter
	// field and condition hold the two parts of a single condition, both as
	// JSON, so that Not can be applied inside it.
	field, condition string
	bad              string // what is wrong, as the rest of a sentence that begins with "filter"
}

// Err returns an [*ArgumentError] if f is invalid, or nil.
func (f Filter) Err() error {
	if f.bad == "" {
		return nil
	}
	return f.argumentError("connic.Filter")
}

func (f Filter) argumentError(op string) *ArgumentError {
	return &ArgumentError{Op: op, Arg: "filter", Reason: f.bad}
}

// String returns the filter as JSON, or a description of what is wrong with it.
func (f Filter) String() string {
	switch {
	case f.bad != "":
		return "(invalid: the filter " + f.bad + ")"
	case f.text == "":
		return "{}"
	}
	return f.text
}

// MarshalJSON implements [json.Marshaler]. The zero Filter encodes as {}.
func (f Filter) MarshalJSON() ([]byte, error) {
	if f.bad != "" {
		return nil, f.Err()
	}
	return []byte(f.String()), nil
}

// UnmarshalJSON implements [json.Unmarshaler]. It accepts any object, as
// [RawFilter] does. {} and null decode to the zero Filter.
func (f *Filter) UnmarshalJSON(data []byte) error { return f.UnmarshalText(data) }

// MarshalText implements [encoding.TextMarshaler] with the JSON of the filter.
func (f Filter) MarshalText() ([]byte, error) { return f.MarshalJSON() }

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts the JSON of a
// filter.
func (f *Filter) UnmarshalText(text []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return badFilter("is not a JSON object").Err()
	}
	*f = Filter{}
	if len(members) > 0 {
		*f = RawFilter(string(text))
	}
	return nil
}

// IsZero reports whether f is the zero Filter.
func (f Filter) IsZero() bool { return f.text == "" && f.bad == "" }

// Equal reports whether f and o have the same JSON.
func (f Filter) Equal(o Filter) bool { return f.text == o.text && f.bad == o.bad }

// RawFilter returns a filter that consists of the given JSON object, for
// anything that the other functions do not cover.
func RawFilter(object string) Filter {
	trimmed := strings.TrimSpace(object)
	if !strings.HasPrefix(trimmed, "{") || !json.Valid([]byte(trimmed)) {
		return badFilter("is raw and not a JSON object")
	}
	return Filter{text: trimmed}
}

func badFilter(reason string) Filter { return Filter{bad: reason} }

// AllOf returns a filter that selects what all of the filters select. None of
// them may be the zero Filter.
func AllOf(filters ...Filter) Filter { return combine("$and", "AllOf", filters) }

// AnyOf returns a filter that selects what at least one of the filters selects.
func AnyOf(filters ...Filter) Filter { return combine("$or", "AnyOf", filters) }

// NoneOf returns a filter that selects what none of the filters selects.
func NoneOf(filters ...Filter) Filter { return combine("$nor", "NoneOf", filters) }

func combine(operator, name string, filters []Filter) Filter {
	if len(filters) == 0 {
		return badFilter("has an " + name + " of nothing")
	}
	parts := make([]string, len(filters))
	for i, f := range filters {
		switch {
		case f.bad != "":
			return badFilter(f.bad)
		case f.text == "":
			return badFilter("has a part without a condition in " + name)
		}
		parts[i] = f.text
	}
	return Filter{text: `{"` + operator + `":[` + strings.Join(parts, ",") + `]}`}
}

// And returns a filter that selects what f and all of the others select.
func (f Filter) And(others ...Filter) Filter { return f.with(AllOf, others) }

// Or returns a filter that selects what f or at least one of the others
// selects.
func (f Filter) Or(others ...Filter) Filter { return f.with(AnyOf, others) }

func (f Filter) with(combine func(...Filter) Filter, others []Filter) Filter {
	all := make([]Filter, 0, len(others)+1)
	return combine(append(append(all, f), others...)...)
}

// Not returns a filter that selects what f does not select, including entries
// without the field.
func (f Filter) Not() Filter {
	if f.bad == "" && f.field != "" {
		return Filter{text: "{" + f.field + `:{"$not":` + f.condition + "}}"}
	}
	return combine("$nor", "Not", []Filter{f})
}

// A Field is a metadata field, to which a condition is applied. See [Where].
type Field struct{ name string }

// Where returns the metadata field with the given name. Use dots to refer to
// nested objects, as in "author.name".
//
// The value of a condition may be a string, a number, a boolean, nil for null,
// a time (encoded as a string in UTC, such as "2026-11-23T10:00:00Z"), or any
// type that encodes to a JSON string, number or boolean. Any other value makes
// the filter invalid.
func Where(field string) Field { return Field{field} }

// Equals selects entries whose field equals the value, or is a list that
// contains it.
func (w Field) Equals(value any) Filter { return w.compare("$eq", value, false) }

// NotEquals selects entries whose field does not equal the value, including
// entries without the field.
func (w Field) NotEquals(value any) Filter { return w.compare("$ne", value, false) }

// GreaterThan selects entries whose field is greater than the value, which is a
// number or a string.
func (w Field) GreaterThan(value any) Filter { return w.compare("$gt", value, true) }

// AtLeast selects entries whose field is greater than or equal to the value,
// which is a number or a string.
func (w Field) AtLeast(value any) Filter { return w.compare("$gte", value, true) }

// LessThan selects entries whose field is less than the value, which is a
// number or a string.
func (w Field) LessThan(value any) Filter { return w.compare("$lt", value, true) }

// AtMost selects entries whose field is less than or equal to the value, which
// is a number or a string.
func (w Field) AtMost(value any) Filter { return w.compare("$lte", value, true) }

// In selects entries whose field equals one of the values. A single slice
// argument stands for its elements.
func (w Field) In(values ...any) Filter { return w.list("$in", values) }

// NotIn selects entries whose field equals none of the values, including
// entries without the field. A single slice argument stands for its elements.
func (w Field) NotIn(values ...any) Filter { return w.list("$nin", values) }

// Exists selects entries that have the field.
func (w Field) Exists() Filter { return w.condition("$exists", "true") }

// Missing selects entries that lack the field.
func (w Field) Missing() Filter { return w.condition("$exists", "false") }

// Contains selects entries whose field is a string that contains the value, or
// a list that contains it as an element.
func (w Field) Contains(value any) Filter { return w.compare("$contains", value, false) }

// Matches selects entries whose field is a string that matches the regular
// expression. The expression is validated with package regexp; the dialect of
// the service is not documented. Use [RawFilter] for an expression that package
// regexp does not accept.
func (w Field) Matches(expression string) Filter {
	if expression == "" {
		return w.bad("a regular expression that is empty")
	}
	if _, err := regexp.Compile(expression); err != nil || !utf8.ValidString(expression) {
		return w.bad("a regular expression that is invalid")
	}
	return w.compare("$regex", expression, false)
}

// AnyElement selects entries whose field is a list with at least one element
// that f selects. The fields of f are those of the element. For lists of
// strings or numbers, use a [RawFilter] such as {"$gte": 80, "$lt": 85}.
func (w Field) AnyElement(f Filter) Filter {
	if f.bad != "" {
		return badFilter(f.bad)
	}
	if f.text == "" {
		return w.bad("an AnyElement without a condition")
	}
	return w.condition("$elemMatch", f.text)
}

func (w Field) bad(what string) Filter {
	return badFilter("has for the field " + strconv.Quote(w.name) + " " + what)
}

// condition returns the filter for an operator and its JSON operand.
func (w Field) condition(operator, operand string) Filter {
	switch {
	case w.name == "":
		return badFilter("has a condition whose field is empty")
	case !utf8.ValidString(w.name) || strings.ContainsFunc(w.name, isControl):
		return badFilter("has a condition whose field has a control character or is not valid UTF-8")
	}
	for segment := range strings.SplitSeq(w.name, ".") {
		switch {
		case segment == "":
			return w.bad("a name with an empty part between dots")
		case segment[0] == '$':
			return w.bad("a name that begins with $, as operators do")
		}
	}
	field, err := json.Marshal(w.name)
	if err != nil {
		return w.bad("a name that cannot be encoded")
	}
	c := `{"` + operator + `":` + operand + `}`
	return Filter{text: "{" + string(field) + ":" + c + "}", field: string(field), condition: c}
}

func (w Field) compare(operator string, value any, ordered bool) Filter {
	text, err := filterValue(value)
	if err != nil {
		return w.bad(err.Error())
	}
	if ordered && (text == "null" || text == "true" || text == "false") {
		return w.bad("a comparison with null or a boolean, which have no order")
	}
	return w.condition(operator, text)
}

func (w Field) list(operator string, values []any) Filter {
	if len(values) == 1 {
		if slice := reflect.ValueOf(values[0]); slice.Kind() == reflect.Slice && slice.Type().Elem().Kind() != reflect.Uint8 {
			values = make([]any, slice.Len())
			for i := range values {
				values[i] = slice.Index(i).Interface()
			}
		}
	}
	if len(values) == 0 {
		return w.bad("a list of values that is empty")
	}
	texts := make([]string, len(values))
	for i, value := range values {
		var err error
		if texts[i], err = filterValue(value); err != nil {
			return w.bad(err.Error())
		}
	}
	return w.condition(operator, "["+strings.Join(texts, ",")+"]")
}

// filterValue encodes the value of a condition. Its error completes a sentence.
func filterValue(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "null", nil
	case Decimal: // a number here, although it encodes as a string
		return decimalOf(v.parts()).String(), nil
	case Time:
		value = v.UTC().Format(time.RFC3339Nano)
	case time.Time:
		value = v.UTC().Format(time.RFC3339Nano)
	}
	v := reflect.ValueOf(value)
	_, isJSON := value.(json.Marshaler)
	_, isText := value.(encoding.TextMarshaler)
	switch kind := v.Kind(); {
	case (kind == reflect.Pointer || kind == reflect.Map || kind == reflect.Slice) && v.IsNil():
		return "", errors.New("a nil pointer, map or slice")
	case isJSON || isText:
	case kind == reflect.Float32 || kind == reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return "", errors.New("a number that is NaN or infinite")
		}
	case kind == reflect.String:
		if !utf8.ValidString(v.String()) {
			return "", errors.New("a text that is not valid UTF-8")
		}
	case kind == reflect.Bool || v.CanInt() || v.CanUint():
	default:
		return "", errors.New("a value of the type " + v.Type().String() + ", which is neither text nor number nor boolean nor time")
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return "", errors.New("a value of the type " + v.Type().String() + " that cannot be encoded as JSON")
	}
	if raw[0] == '{' || raw[0] == '[' {
		return "", errors.New("a value of the type " + v.Type().String() + ", which encodes to an object or a list")
	}
	return string(raw), nil
}

func isControl(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) }

// checkFilter returns the filter in the form in which it is sent, or nil if
// there is none.
func checkFilter(op api.Op, f Filter) (json.RawMessage, error) {
	switch {
	case f.bad != "":
		return nil, f.argumentError(api.Table[op].Name)
	case f.text == "":
		return nil, nil
	}
	return json.RawMessage(f.text), nil
}
