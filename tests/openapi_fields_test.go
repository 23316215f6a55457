package tests

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fieldCheck compares Go types with the schemas of the document, which are made
// from the source and not from the types.
type fieldCheck struct {
	t    *testing.T
	doc  *openapi3.T
	seen map[string]bool // components
}

// TestDocumentHasEveryFieldAndNothingElse goes from the methods of the client to
// their types, and compares these with the document both ways.
func TestDocumentHasEveryFieldAndNothingElse(t *testing.T) {
	t.Parallel()
	c := fieldCheck{t, apiDocument(t, baseURL), map[string]bool{"Error": true}}
	for path, item := range c.doc.Paths.Map() {
		for method, op := range item.Operations() {
			names, ok := op.Extensions["x-go"].([]any)
			require.True(t, ok, "%s %s", method, path)
			answered := false
			if op.Security != nil && len(*op.Security) == 0 {
				// A login is a function, whose types are its own.
				s := op.Responses.Value("2XX").Value.Content["application/json"].Schema
				assert.NotEmpty(t, s.Value.Properties, op.OperationID)
				c.seen[strings.TrimPrefix(s.Ref, "#/components/schemas/")] = true
				continue
			}
			for at, name := range names {
				m := methodOf(t, name.(string))
				for i := range m.NumIn() {
					if at == 0 { // the others are made of it
						c.input(op, m.In(i))
					}
				}
				if of := answerOf(m.Out(0)); of != nil && !answered {
					c.answer(op, of)
					answered = true
				}
			}
			// What is not read has no schema. One value has a schema in place.
			if content := op.Responses.Value("2XX").Value.Content; !answered && content != nil {
				m := methodOf(t, names[0].(string))
				assert.Contains(t, []reflect.Kind{reflect.String, reflect.Bool, reflect.Slice}, m.Out(0).Kind(), op.OperationID)
				c.single(content["application/json"].Schema, m.Out(0), op.OperationID)
			} else {
				assert.Equal(t, answered, content != nil, op.OperationID)
			}
		}
	}
	for name := range c.doc.Components.Schemas {
		assert.True(t, c.seen[name], "%s is no type of any operation", name)
	}
}

// single compares an answer that has one member.
func (c fieldCheck) single(s *openapi3.SchemaRef, of reflect.Type, where string) {
	if s.Ref != "" {
		c.seen[strings.TrimPrefix(s.Ref, "#/components/schemas/")] = true
	}
	assert.Len(c.t, s.Value.Properties, 1, where)
	for _, p := range s.Value.Properties {
		c.value(p, of, where, true)
	}
}

// methodOf finds a method by its name, "Runs.Get".
func methodOf(t *testing.T, name string) reflect.Type {
	t.Helper()
	service, method, _ := strings.Cut(name, ".")
	field, ok := reflect.TypeFor[connic.Client]().FieldByName(service)
	require.True(t, ok, name)
	m, ok := field.Type.MethodByName(method)
	require.True(t, ok, name)
	return m.Type
}

// answerOf is the type that an operation answers with: what a pointer leads to, or
// the items of a page. Iterators are made of other methods' answers.
func answerOf(out reflect.Type) reflect.Type {
	if out.Kind() != reflect.Pointer {
		return nil
	}
	if out == reflect.TypeFor[*connic.Usage]() {
		return reflect.TypeFor[connic.UsageRow]()
	}
	if items, ok := out.Elem().FieldByName("Items"); ok {
		return items.Type.Elem().Elem()
	}
	return out.Elem()
}

// answer compares the schema of an answer.
func (c fieldCheck) answer(op *openapi3.Operation, of reflect.Type) {
	response := op.Responses.Value("2XX")
	if !assert.NotNil(c.t, response, op.OperationID) || !assert.NotNil(c.t, response.Value.Content["application/json"], op.OperationID) {
		return
	}
	s := response.Value.Content["application/json"].Schema
	if _, list := s.Value.Extensions["x-list"]; list {
		for name, array := range s.Value.AnyOf[1].Value.Properties {
			if array.Value.Items != nil {
				assert.Equal(c.t, s.Value.AnyOf[0].Value.Items.Ref, array.Value.Items.Ref, "%s: %s", op.OperationID, name)
			}
		}
		s = s.Value.AnyOf[0].Value.Items
	} else if s.Ref == "" {
		s = s.Value.AnyOf[0]
	}
	assert.Equal(c.t, "#/components/schemas/"+of.Name(), s.Ref, op.OperationID)
	c.object(s, of, true)
}

// input compares what a method takes with the keys and parameters of its
// operation.
func (c fieldCheck) input(op *openapi3.Operation, of reflect.Type) {
	if op.RequestBody == nil {
		return
	}
	if of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct { // sent as the only key
		for _, media := range op.RequestBody.Value.Content {
			c.seen[strings.TrimPrefix(media.Schema.Ref, "#/components/schemas/")] = true
			for _, p := range media.Schema.Value.Properties {
				c.value(p, of, op.OperationID, false)
			}
		}
		return
	}
	if of.Kind() != reflect.Struct {
		return
	}
	for _, media := range op.RequestBody.Value.Content {
		if media.Schema.Ref == "#/components/schemas/"+of.Name() {
			c.object(media.Schema, of, false)
			return
		}
		if files := media.Schema.Value.Properties["files"]; files != nil && of == reflect.TypeFor[connic.TriggerRequest]() {
			c.object(files.Value.Items, reflect.TypeFor[connic.File](), false)
		}
		for name := range jsonFields(of) {
			assert.Contains(c.t, media.Schema.Value.Properties, name, "%s: %s", op.OperationID, of)
		}
	}
}

// jsonFields are the fields that have a name on the wire.
func jsonFields(of reflect.Type) map[string]reflect.StructField {
	fields := make(map[string]reflect.StructField)
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			fields[name] = f
		}
	}
	return fields
}

func (c fieldCheck) object(s *openapi3.SchemaRef, of reflect.Type, answer bool) {
	name := strings.TrimPrefix(s.Ref, "#/components/schemas/")
	if c.seen[name] {
		return
	}
	c.seen[name] = true
	fields := jsonFields(of)
	for property, schema := range s.Value.Properties {
		if _, alias := schema.Value.Extensions["x-alias-of"]; alias {
			assert.NotContains(c.t, fields, property, "an alias of %s", of)
			continue
		}
		f, ok := fields[property]
		if !assert.True(c.t, ok, "%s has no field for %s", of, property) {
			continue
		}
		delete(fields, property)
		assert.Equal(c.t, of.Name()+"."+f.Name, schema.Value.Extensions["x-go"])
		c.value(schema, f.Type, of.Name()+"."+f.Name, answer)
	}
	assert.Empty(c.t, fields, "%s is not whole in the document", of)
}

// value compares the type of a value.
func (c fieldCheck) value(s *openapi3.SchemaRef, of reflect.Type, where string, answer bool) {
	types := s.Value.Type.Slice()
	if strings.HasPrefix(of.Name(), "Nullable[") { // the type is what Get returns
		get, _ := of.MethodByName("Get")
		assert.Equal(c.t, c.clears(where, s), nullable(s), "%s can be cleared", where)
		of = get.Type.Out(0)
	} else if answer && of.Kind() != reflect.Interface && of != reflect.TypeFor[json.RawMessage]() {
		assert.True(c.t, nullable(s), "%s may be null", where)
	}
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	var want string
	switch {
	case of == reflect.TypeFor[time.Time](), of == reflect.TypeFor[connic.Time]():
		assert.Contains(c.t, []string{"date-time", "date"}, s.Value.Format, where)
		want = "string"
	case of == reflect.TypeFor[connic.Decimal]():
		assert.Equal(c.t, "decimal", s.Value.Format, where)
		want = "string"
	case of == reflect.TypeFor[json.RawMessage](), of.Kind() == reflect.Interface:
		assert.Len(c.t, types, 6, "%s is any value", where)
		return
	case of == reflect.TypeFor[[]byte]():
		want = "string"
	case of.Kind() == reflect.Struct:
		if s.Ref == "" && len(s.Value.AnyOf) == 2 {
			s = s.Value.AnyOf[0]
		}
		assert.True(c.t, strings.HasPrefix(s.Ref, "#/components/schemas/"+of.Name()), "%s: %s", where, s.Ref)
		c.object(s, of, answer)
		return
	default:
		want = map[reflect.Kind]string{
			reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer",
			reflect.Float64: "number", reflect.Slice: "array", reflect.Map: "object",
		}[of.Kind()]
	}
	if assert.NotEmpty(c.t, want, "%s: %s", where, of) {
		assert.Contains(c.t, types, want, where)
	}
	if of.Kind() == reflect.Slice && of != reflect.TypeFor[[]byte]() {
		c.value(s.Value.Items, of.Elem(), where, false)
	}
}

// clears asks the client whether null is sent for a key of a change.
func (c fieldCheck) clears(where string, s *openapi3.SchemaRef) bool {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client()
	of, name, _ := strings.Cut(where, ".")
	var key string
	for property, schema := range c.doc.Components.Schemas[of].Value.Properties {
		if schema.Value == s.Value {
			key = property
		}
	}
	cleared := `{"` + key + `": null}`
	var err error
	switch of {
	case "JudgeUpdate":
		var u connic.JudgeUpdate
		require.NoError(c.t, json.Unmarshal([]byte(cleared), &u))
		_, err = client.Judges.Update(c.t.Context(), "j", u)
	case "BudgetUpdate":
		var u connic.BudgetUpdate
		require.NoError(c.t, json.Unmarshal([]byte(cleared), &u))
		_, err = client.Budgets.Update(c.t.Context(), "b", u)
	case "ConnectorUpdate":
		var u connic.ConnectorUpdate
		require.NoError(c.t, json.Unmarshal([]byte(cleared), &u))
		_, err = client.Connectors.Update(c.t.Context(), "c", u)
	case "JudgeCreate":
		create := connic.JudgeCreate{Name: "j", AgentName: "a", Model: "m/n", Criteria: []connic.Criterion{{Name: "c", MaxScore: 1}}}
		require.NoError(c.t, json.Unmarshal([]byte(cleared), &create))
		_, err = client.Judges.Create(c.t.Context(), create)
	case "BudgetCreate":
		amount, _ := connic.ParseDecimal("1")
		create := connic.BudgetCreate{
			Name: "b", Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily, Amount: amount, Currency: connic.EUR,
		}
		require.NoError(c.t, json.Unmarshal([]byte(cleared), &create))
		_, err = client.Budgets.Create(c.t.Context(), create)
	default:
		c.t.Errorf("%s: it is not known how to clear %s", where, name)
	}
	var refused *connic.ArgumentError
	return !errors.As(err, &refused)
}

func nullable(s *openapi3.SchemaRef) bool {
	if slices.Contains(s.Value.Type.Slice(), "null") {
		return true
	}
	return slices.ContainsFunc(s.Value.AnyOf, func(one *openapi3.SchemaRef) bool { return slices.Contains(one.Value.Type.Slice(), "null") })
}
