package connicgen

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// An Option adds to the schema of a type.
type Option func(*reflection)

// Enum lists the values of a string type.
func Enum[T ~string](values ...T) Option {
	return func(r *reflection) {
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = string(v)
		}
		r.enums[reflect.TypeFor[T]()] = list
	}
}

// Schema returns the schema of a struct type, for an agent's output_schema. It uses
// the keywords that the vendor documents, and the order of the fields. The text of a
// tag jsonschema is the description of a field.
//
// Each field needs either the tag connic:"required" or the option omitzero in its
// tag json. A required pointer may be null. Fields of type any, []byte and
// json.RawMessage, types that contain themselves, and types that are encoded by
// methods of their own, other than to a string, are errors.
func Schema[T any](opts ...Option) ([]byte, error) {
	r := &reflection{enums: make(map[reflect.Type][]any)}
	for _, opt := range opts {
		opt(r)
	}
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("connicgen: %v is no struct, and a schema has an object at the top", t)
	}
	s := r.of(t, t.String())
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	if s.Type != "object" {
		return nil, fmt.Errorf("connicgen: %v is encoded as a string, and a schema has an object at the top", t)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("connicgen: %v: %w", t, err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// TB is the part of a testing.TB that [Golden] uses.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Golden fails the test if a schema file is not the schema of a type. If the variable
// CONNICGEN_WRITE is 1, it writes the file.
func Golden[T any](t TB, file string, opts ...Option) {
	t.Helper()
	want, err := Schema[T](opts...)
	if err != nil {
		t.Fatalf("%v", err)
		return
	}
	if os.Getenv("CONNICGEN_WRITE") == "1" {
		if err := os.WriteFile(file, want, 0o644); err != nil { //nolint:gosec // it is part of the source
			t.Fatalf("connicgen: %v", err)
			return
		}
	}
	got, err := os.ReadFile(file) //nolint:gosec // the test names it
	if err != nil {
		t.Fatalf("connicgen: %v; CONNICGEN_WRITE=1 writes the file", err)
		return
	}
	if !bytes.Equal(bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")), want) {
		t.Errorf("connicgen: %s is not the schema of %v; CONNICGEN_WRITE=1 writes it:\n%s", file, reflect.TypeFor[T](), want)
	}
}

// reflection makes the schema of a type.
type reflection struct {
	enums map[reflect.Type][]any
	open  []reflect.Type
	errs  []error
}

func (r *reflection) fail(at, format string, args ...any) *jsonschema.Schema {
	r.errs = append(r.errs, fmt.Errorf("connicgen: %s: %s", at, fmt.Sprintf(format, args...)))
	return &jsonschema.Schema{}
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func (r *reflection) of(t reflect.Type, at string) *jsonschema.Schema {
	if values, ok := r.enums[t]; ok {
		return &jsonschema.Schema{Type: "string", Enum: values}
	}
	if t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface {
		pointer := reflect.PointerTo(t)
		switch {
		case pointer.Implements(textMarshaler):
			return &jsonschema.Schema{Type: "string"}
		case pointer.Implements(marshaler):
			return r.fail(at, "%v is encoded by a method of its own, so its schema is not known", t)
		}
	}
	number := func(least, most float64) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "integer", Minimum: &least, Maximum: &most}
	}
	switch t.Kind() {
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Float32, reflect.Float64:
		return &jsonschema.Schema{Type: "number"}
	case reflect.Int, reflect.Int64:
		return &jsonschema.Schema{Type: "integer"}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		half := float64(uint64(1) << (t.Bits() - 1))
		return number(-half, half-1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint, reflect.Uint64:
		return number(0, float64(^uint64(0)>>(64-t.Bits())))
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return r.fail(at, "%v is encoded as base64, which no agent writes", t)
		}
		s := &jsonschema.Schema{Type: "array", Items: r.nullable(t.Elem(), at+"[]", t.Elem().Kind() == reflect.Pointer)}
		if t.Kind() == reflect.Array {
			s.MinItems, s.MaxItems = jsonschema.Ptr(t.Len()), jsonschema.Ptr(t.Len())
		}
		return s
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return r.fail(at, "the keys of %v are no strings", t)
		}
		return &jsonschema.Schema{Type: "object", AdditionalProperties: r.nullable(t.Elem(), at+"[]", t.Elem().Kind() == reflect.Pointer)}
	case reflect.Struct:
		return r.structure(t, at)
	case reflect.Pointer:
		return r.of(t.Elem(), at)
	default:
		return r.fail(at, "%v has no schema", t)
	}
}

// nullable returns the schema of a type, which may be null.
func (r *reflection) nullable(t reflect.Type, at string, null bool) *jsonschema.Schema {
	s := r.of(t, at)
	if null && s.Type != "" {
		s.Types, s.Type = []string{s.Type, "null"}, ""
		if s.Enum != nil {
			s.Enum = append(slices.Clone(s.Enum), nil)
		}
	}
	return s
}

func (r *reflection) structure(t reflect.Type, at string) *jsonschema.Schema {
	if slices.Contains(r.open, t) {
		return r.fail(at, "%v contains itself", t)
	}
	r.open = append(r.open, t)
	defer func() { r.open = r.open[:len(r.open)-1] }()
	s := &jsonschema.Schema{Type: "object", Properties: make(map[string]*jsonschema.Schema)}
	for _, f := range reflect.VisibleFields(t) {
		tag, _ := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || !f.IsExported() || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		where := at + "." + f.Name
		required := f.Tag.Get("connic") == "required"
		optional := slices.Contains(strings.Split(options, ","), "omitzero")
		switch {
		case required == optional:
			r.fail(where, `it needs either the tag connic:"required" or the option omitzero`)
		case s.Properties[name] != nil:
			r.fail(where, "another field is named %s too", name)
		case slices.Contains(strings.Split(options, ","), "string"):
			r.fail(where, "the option string has no schema")
		}
		property := r.nullable(f.Type, where, required && f.Type.Kind() == reflect.Pointer)
		property.Description = f.Tag.Get("jsonschema")
		s.Properties[name] = property
		s.PropertyOrder = append(s.PropertyOrder, name)
		if required {
			s.Required = append(s.Required, name)
		}
	}
	return s
}
