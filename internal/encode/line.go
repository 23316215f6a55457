package encode

import (
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/connic-go/connic/internal/mask"
)

// maxText is the maximum length of a text in a line, in characters.
const maxText = 100

// named are the last words of the names of fields whose texts identify
// something. What other fields contain may be the text of people, and is not
// shown.
var named = map[string]bool{
	"id": true, "ids": true, "name": true, "namespace": true, "kind": true, "type": true, "scope": true, "period": true, "status": true, "mode": true,
	"phase": true, "operator": true, "action": true, "model": true, "version": true, "currency": true, "amount": true, "to": true, "field": true,
}

// Line returns a line that says what v is: its type, followed by those fields
// that identify, count or measure. It implements [fmt.Stringer].
func Line(v any) string {
	var b strings.Builder
	name, _, _ := strings.Cut(reflect.TypeOf(v).Name(), "[")
	b.WriteString(name)
	for _, a := range attrs(reflect.ValueOf(v)) {
		text := a.Value.String()
		if a.Value.Kind() == slog.KindTime {
			text = a.Value.Time().Format(time.RFC3339Nano)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }) {
			text = strconv.Quote(text)
		}
		b.WriteString(" " + a.Key + "=" + text)
	}
	return b.String()
}

// LogValue returns the fields of [Line] as a group. It implements
// [slog.LogValuer]. V is a struct, or a pointer to one, which may be nil.
func LogValue(v any) slog.Value {
	s := reflect.ValueOf(v)
	if s.Kind() == reflect.Pointer && s.IsNil() {
		return slog.Value{}
	}
	return slog.GroupValue(attrs(reflect.Indirect(s))...)
}

// attrs returns the fields of a struct that a line shows.
func attrs(s reflect.Value) (shown []slog.Attr) {
	for _, f := range reflect.VisibleFields(s.Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || name == "-" {
			continue
		}
		if name == "" {
			name = snake(f.Name)
		}
		field, err := s.FieldByIndexErr(f.Index)
		if err != nil || field.IsZero() {
			continue
		}
		if value, ok := shownValue(field, name); ok {
			shown = append(shown, slog.Attr{Key: name, Value: value})
		}
	}
	return shown
}

// shownValue returns the value of a field if a line shows it.
func shownValue(field reflect.Value, name string) (value slog.Value, ok bool) {
	text := func(s string) (slog.Value, bool) {
		return slog.StringValue(mask.Line(s, maxText)), named[name[strings.LastIndexByte(name, '_')+1:]]
	}
	if field.Kind() == reflect.Interface { // any content
		return value, false
	}
	switch v := field.Interface().(type) {
	case time.Time:
		return slog.TimeValue(v.UTC()), true
	case json.RawMessage:
		return value, false
	case interface {
		driver.Valuer
		encoding.TextMarshaler
	}: // a scalar
		column, err := v.Value()
		switch c := column.(type) {
		case string:
			if _, optional := v.(interface{ IsNull() bool }); optional {
				return text(c)
			}
			return slog.StringValue(c), err == nil
		case nil:
			return value, false
		}
		return slog.AnyValue(column), err == nil
	case interface{ Known() bool }: // one of a few words
		return slog.StringValue(mask.Line(field.String(), maxText)), true
	}
	switch {
	case field.Kind() == reflect.String:
		return text(field.String())
	case field.Kind() == reflect.Bool:
		return slog.BoolValue(field.Bool()), true
	case field.CanInt():
		return slog.Int64Value(field.Int()), true
	case field.CanFloat():
		return slog.Float64Value(field.Float()), true
	case field.Kind() == reflect.Slice && field.Type().Elem().Kind() != reflect.Uint8:
		return slog.IntValue(field.Len()), true
	}
	return value, false
}

// snake returns the name of a field without a JSON name as if it had one.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := unicode.IsUpper(r)
		if upper && i > 0 && (!unicode.IsUpper(rune(name[i-1])) || i+1 < len(name) && unicode.IsLower(rune(name[i+1]))) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
