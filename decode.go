package connic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Response bodies are decoded in two steps. The first is the standard decoder
// into a wire type, whose fields are plain, or read several forms at no greater
// cost. Only when that fails because a value has another type than expected (a
// number in a string, 12.0 for an integer, an object for a text) does the second,
// tolerant step decode the body once more, field by field.

// decodeJSON decodes one JSON document into v, strictly.
func decodeJSON(data []byte, v any) error { return json.Unmarshal(data, v) }

// unmarshal decodes one JSON document into v, tolerantly. Its error is a
// *fieldError where it can name the field.
func unmarshal(data []byte, v any) error {
	err := decodeJSON(data, v)
	if err == nil {
		return nil
	}
	if !json.Valid(data) {
		return locate(data, err)
	}
	value := reflect.ValueOf(v).Elem()
	value.SetZero() // what the first step left there
	return tolerate(data, value, "")
}

// fieldError is a value that could not be decoded.
type fieldError struct {
	field string // dotted path; empty for the document itself
	err   error
}

func (e *fieldError) Error() string {
	if e.field == "" {
		return e.err.Error()
	}
	return e.field + ": " + e.err.Error()
}

func (e *fieldError) Unwrap() error { return e.err }

// errIncomplete marks a body that is no JSON document: cut off, empty, or
// another format altogether. A gateway or a broken connection made it, and the
// next answer may well be whole.
var errIncomplete = errors.New("not a whole JSON document")

// locate explains why a document is not JSON.
func locate(data []byte, err error) error {
	if err == nil {
		err = errors.New("invalid JSON")
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 {
		return fmt.Errorf("%w: the body is empty", errIncomplete)
	}
	if trimmed[0] == '<' {
		return fmt.Errorf("%w: the body is HTML or XML", errIncomplete)
	}
	path, cause := walk(data)
	if errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", errIncomplete, err)
	}
	return &fieldError{field: path, err: err}
}

// maxDepth is how deep encoding/json decodes.
const maxDepth = 10_000

// walk reads a broken document up to where it breaks. It returns the path of the
// value it was reading, and why it could not go on.
func walk(data []byte) (path string, err error) {
	type level struct {
		key           string
		object, isKey bool
	}
	var levels []level
	for decoder := json.NewDecoder(bytes.NewReader(data)); ; {
		var token json.Token
		if token, err = decoder.Token(); err != nil {
			break
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				if len(levels) == maxDepth {
					return "", errors.New("too deep")
				}
				levels = append(levels, level{object: t == '{', isKey: t == '{'})
				continue
			}
			levels = levels[:len(levels)-1]
		case string:
			if top := len(levels) - 1; top >= 0 && levels[top].isKey {
				levels[top].key, levels[top].isKey = t, false
				continue
			}
		}
		if len(levels) == 0 {
			return "", errors.New("more follows the document")
		}
		top := &levels[len(levels)-1]
		top.isKey = top.object
	}
	for _, l := range levels {
		if l.object && !l.isKey {
			path = join(path, l.key)
		}
	}
	return path, err
}

var (
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	numberType      = reflect.TypeFor[json.Number]()
)

// tolerate decodes valid JSON into v, converting between JSON types where that
// loses nothing.
func tolerate(data []byte, v reflect.Value, path string) error {
	data = bytes.TrimSpace(data)
	if string(data) == "null" {
		v.SetZero()
		return nil
	}
	fail := func(err error) error { return &fieldError{field: path, err: err} }
	if v.CanAddr() && v.Addr().Type().Implements(unmarshalerType) {
		if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(data); err != nil {
			return fail(err)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return tolerate(data, v.Elem(), path)
	case reflect.Struct:
		return tolerateStruct(data, v, path)
	case reflect.Slice:
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			return fail(errors.New("not an array"))
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i, item := range items {
			if err := tolerate(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil {
			return fail(errors.New("not an object"))
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(members)))
		for key, member := range members {
			value := reflect.New(v.Type().Elem()).Elem()
			if err := tolerate(member, value, join(path, key)); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
		}
		return nil
	case reflect.String:
		text := scalar(data)
		if v.Type() == numberType {
			if _, err := ParseDecimal(text); err != nil {
				return fail(errors.New("not a number"))
			}
		}
		v.SetString(text)
		return nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		n, err := integer(scalar(data))
		if err != nil || v.OverflowInt(n) {
			return fail(errors.New("not an integer of 64 bits"))
		}
		v.SetInt(n)
		return nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(scalar(data), 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fail(errors.New("not a number"))
		}
		v.SetFloat(f)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(strings.ToLower(scalar(data)))
		if err != nil {
			return fail(errors.New("neither true nor false"))
		}
		v.SetBool(b)
		return nil
	default:
		if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
			return fail(err)
		}
		return nil
	}
}

func tolerateStruct(data []byte, v reflect.Value, path string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return &fieldError{field: path, err: errors.New("not an object")}
	}
	for name, index := range jsonFields(v.Type()) {
		member, ok := members[name]
		if !ok {
			continue
		}
		if err := tolerate(member, v.FieldByIndex(index), join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// scalar returns the content of a JSON string, and the JSON text of anything
// else.
func scalar(data []byte) string {
	if data[0] == '"' {
		var s string
		if json.Unmarshal(data, &s) == nil {
			return s
		}
	}
	return string(data)
}

// integer parses an integer, also one written as 12.0 or 1.2e1.
func integer(s string) (int64, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	d, err := ParseDecimal(s)
	if err != nil {
		return 0, err
	}
	coefficient, exponent := d.parts()
	if exponent < 0 {
		divisor := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-exponent)), nil)
		remainder := new(big.Int)
		if coefficient.QuoRem(coefficient, divisor, remainder); remainder.Sign() != 0 {
			return 0, strconv.ErrSyntax
		}
	} else {
		coefficient.Mul(coefficient, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(exponent)), nil))
	}
	if !coefficient.IsInt64() {
		return 0, strconv.ErrRange
	}
	return coefficient.Int64(), nil
}

var fieldCache sync.Map // reflect.Type -> map[string][]int

// jsonFields maps the JSON names of a struct to its fields. As in encoding/json,
// a shallower field hides a deeper one.
func jsonFields(t reflect.Type) map[string][]int {
	if cached, ok := fieldCache.Load(t); ok {
		return cached.(map[string][]int)
	}
	fields := make(map[string][]int)
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("json")
		if !f.IsExported() || (f.Anonymous && !ok) {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if known, ok := fields[name]; !ok || len(f.Index) < len(known) {
			fields[name] = f.Index
		}
	}
	fieldCache.Store(t, fields)
	return fields
}

// members calls visit for each member of a JSON object, without decoding values:
// they are parts of data, and not checked. Keys must be plain.
func members(data []byte, visit func(key, value []byte) error) error {
	broken := func() error {
		return locate(data, json.Unmarshal(data, new(json.RawMessage)))
	}
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return broken()
	}
	for i = skipSpace(data, i+1); i < len(data) && data[i] == '"'; {
		end, ok := skipValue(data, i)
		if !ok || !json.Valid(data[i:end]) {
			return broken()
		}
		key := data[i+1 : end-1]
		if i = skipSpace(data, end); i >= len(data) || data[i] != ':' {
			return broken()
		}
		i = skipSpace(data, i+1)
		if end, ok = skipValue(data, i); !ok {
			return broken()
		}
		if err := visit(key, data[i:end]); err != nil {
			return err
		}
		i = skipSpace(data, end)
		if i < len(data) && data[i] == ',' {
			if i = skipSpace(data, i+1); i >= len(data) || data[i] != '"' {
				return broken()
			}
			continue
		}
		break
	}
	if i >= len(data) || data[i] != '}' || skipSpace(data, i+1) != len(data) {
		return broken()
	}
	return nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\r' || data[i] == '\n') {
		i++
	}
	return i
}

// skipValue returns the index after the JSON value that begins at i. It finds
// the end of correct values; what it says of incorrect ones means nothing, but
// it stays within data.
func skipValue(data []byte, i int) (end int, ok bool) {
	if i >= len(data) {
		return i, false
	}
	switch data[i] {
	case '"':
		return skipString(data, i)
	case '{', '[':
		for depth := 0; i < len(data); i++ {
			switch data[i] {
			case '"':
				if end, ok = skipString(data, i); !ok {
					return end, false
				}
				i = end - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1, true
				}
			}
		}
		return i, false
	default:
		start := i
		for i < len(data) && data[i] != ',' && data[i] != '}' && data[i] != ']' && data[i] > ' ' {
			i++
		}
		return i, i > start
	}
}

// skipString returns the index after the string that begins at i. Most of a body
// is text, so it looks for the quote that may end it.
func skipString(data []byte, i int) (end int, ok bool) {
	for i++; ; {
		quote := bytes.IndexByte(data[i:], '"')
		if quote < 0 {
			return len(data), false
		}
		// It is escaped if an odd number of backslashes stands before it.
		end = i + quote
		escapes := 0
		for end-escapes > i && data[end-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return end + 1, true
		}
		i = end + 1
	}
}
