// Package encode gives the exported data types the forms that other packages
// ask for by method: YAML, a column of a database, a line of a log. Each form
// follows from the JSON of the type; generate writes the methods.
package encode

import (
	"bytes"
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// YAML returns the JSON of v as maps, lists and scalars, which every YAML
// package can encode. It implements MarshalYAML.
func YAML(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var form any
	if err := d.Decode(&form); err != nil {
		return nil, err
	}
	return numbers(form), nil
}

// numbers replaces the numbers in a JSON value by integers if they are some, and
// by floats otherwise.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = numbers(value)
		}
	case []any:
		for i, value := range v {
			v[i] = numbers(value)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String() // beyond float64
	}
	return v
}

// FromYAML decodes what unmarshal decodes into v, a non-nil pointer, as JSON. It
// implements UnmarshalYAML.
func FromYAML(unmarshal func(any) error, v any) error {
	var form any
	if err := unmarshal(&form); err != nil {
		return err
	}
	raw, err := json.Marshal(keyed(form))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// keyed replaces maps whose keys are not all strings.
func keyed(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[fmt.Sprint(key)] = keyed(value)
		}
		return m
	case map[string]any:
		for key, value := range v {
			v[key] = keyed(value)
		}
	case []any:
		for i, value := range v {
			v[i] = keyed(value)
		}
	}
	return v
}

// Value returns v as a column: NULL if v is absent, a scalar as such, the text
// of what has one, and JSON otherwise. It implements [driver.Valuer].
func Value(v any) (driver.Value, error) {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
		return nil, nil
	}
	if absent, ok := v.(interface{ IsZero() bool }); ok && absent.IsZero() {
		return nil, nil
	}
	switch v := v.(type) {
	case time.Time:
		return v, nil
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		return string(text), err
	}
	switch r := reflect.ValueOf(v); {
	case r.Kind() == reflect.String:
		return r.String(), nil
	case r.Kind() == reflect.Bool:
		return r.Bool(), nil
	case r.CanInt():
		return r.Int(), nil
	case r.CanFloat():
		return r.Float(), nil
	}
	raw, err := json.Marshal(v)
	return string(raw), err
}

// Scan sets v, a non-nil pointer, to a column that [Value] has written, or to
// what a database makes of it. NULL is the zero value. It implements Scan of
// database/sql.
func Scan(column, v any) error {
	target := reflect.ValueOf(v).Elem()
	target.SetZero()
	var text string
	switch c := column.(type) {
	case nil:
		return nil
	case string:
		text = c
	case []byte:
		text = string(c)
	case int64:
		text = strconv.FormatInt(c, 10)
	case float64:
		text = strconv.FormatFloat(c, 'f', -1, 64)
	case bool:
		text = strconv.FormatBool(c)
	case time.Time:
		if at, ok := v.(*time.Time); ok {
			*at = c
			return nil
		}
		text = c.Format(time.RFC3339Nano)
	default:
		return fmt.Errorf("connic: a column of the type %T cannot be a %s", column, target.Type())
	}
	err := scanText(text, v, target)
	if err != nil {
		target.SetZero()
		return fmt.Errorf("connic: the column is no %s: %w", target.Type(), err)
	}
	return nil
}

func scanText(text string, v any, target reflect.Value) error {
	if u, ok := v.(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch target.Kind() {
	case reflect.String:
		target.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		target.SetBool(b)
		return err
	default:
	}
	err := json.Unmarshal([]byte(text), v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return errors.New("it is not JSON")
	}
	return err
}
