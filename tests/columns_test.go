package tests

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// memory is a database of a single column, which it returns as convert makes it.
type memory struct {
	convert func(driver.Value) driver.Value
	column  driver.Value
}

func (m *memory) Connect(context.Context) (driver.Conn, error) { return m, nil }
func (m *memory) Driver() driver.Driver                        { return nil }
func (m *memory) Prepare(query string) (driver.Stmt, error)    { return statement{m, query}, nil }
func (*memory) Close() error                                   { return nil }
func (*memory) Begin() (driver.Tx, error)                      { return nil, driver.ErrSkip }
func (s statement) Close() error                               { return nil }
func (s statement) NumInput() int                              { return strings.Count(s.query, "?") }

func (s statement) Exec(args []driver.Value) (driver.Result, error) {
	s.column = args[0]
	return driver.RowsAffected(1), nil
}

func (s statement) Query([]driver.Value) (driver.Rows, error) { return &rows{memory: s.memory}, nil }
func (r *rows) Columns() []string                             { return []string{"value"} }
func (r *rows) Close() error                                  { return nil }

type statement struct {
	*memory
	query string
}

type rows struct {
	*memory
	read bool
}

func (r *rows) Next(to []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	to[0] = r.convert(r.column)
	return nil
}

// asIs and the others are what databases return for a column.
func asIs(v driver.Value) driver.Value { return v }

func asBytes(v driver.Value) driver.Value {
	if s, ok := v.(string); ok {
		return []byte(s)
	}
	return v
}

// asInteger returns booleans as SQLite does.
func asInteger(v driver.Value) driver.Value {
	if b, ok := v.(bool); ok && b {
		return int64(1)
	}
	return asBytes(v)
}

// TestColumns writes every type to a database, and reads it back.
func TestColumns(t *testing.T) {
	t.Parallel()
	none := of[connic.RunFilter]() // its field Value takes the name of the method
	walk(t, func(t *testing.T, d reflect.Type) {
		valued := reflect.PointerTo(d).Implements(of[driver.Valuer]())
		if d.Kind() == reflect.Slice || d.Kind() == reflect.Struct && (!hasJSON(d) && !valued || d == none) {
			return // parameters, and lists, which are stored with what has them
		}
		for name, convert := range map[string]func(driver.Value) driver.Value{"as is": asIs, "as bytes": asBytes, "as integer": asInteger} {
			db := sql.OpenDB(&memory{convert: convert})
			_, err := db.ExecContext(t.Context(), "insert ?", sample(d).Interface())
			if secret(d) {
				if err == nil || !strings.Contains(err.Error(), "convert it to a string") {
					t.Errorf("a secret is stored: %v", err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if isError(d) {
				var text string
				if err := db.QueryRowContext(t.Context(), "select").Scan(&text); err != nil || !strings.HasPrefix(text, "connic: ") {
					t.Errorf("%s: %q, %v", name, text, err)
				}
				continue
			}
			back := reflect.New(d)
			if err := db.QueryRowContext(t.Context(), "select").Scan(back.Interface()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			equal(t, name, back, sample(d))
			if d.Kind() != reflect.Struct {
				continue
			}
			// NULL, by a nil pointer, replaces what was there.
			if _, err := db.ExecContext(t.Context(), "insert ?", reflect.Zero(reflect.PointerTo(d)).Interface()); err != nil {
				t.Fatal(err)
			}
			back = sample(d)
			if err := db.QueryRowContext(t.Context(), "select").Scan(back.Interface()); err != nil {
				t.Fatal(err)
			}
			want := reflect.New(d)
			if optional, ok := reflect.TypeAssert[interface{ UnmarshalJSON([]byte) error }](want); ok && strings.HasPrefix(d.Name(), "Nullable") {
				if err := optional.UnmarshalJSON([]byte("null")); err != nil {
					t.Fatal(err)
				}
			}
			equal(t, "NULL", back, want)
		}
	})
}

// TestColumnsOfNumbers reads amounts that a database has made numbers, and what
// cannot be read.
func TestColumnsOfNumbers(t *testing.T) {
	t.Parallel()
	read := func(column driver.Value, into any) error {
		db := sql.OpenDB(&memory{convert: func(driver.Value) driver.Value { return column }})
		return db.QueryRowContext(t.Context(), "select").Scan(into)
	}
	for column, want := range map[driver.Value]string{12.5: "12.5", int64(12): "12", "1e-7": "1e-7", 1e-7: "0.0000001", "0.10": "0.10"} {
		var d connic.Decimal
		if err := read(column, &d); err != nil || d.String() != want {
			t.Errorf("%v is %s, %v", column, d, err)
		}
	}
	var at connic.Time
	for _, column := range []driver.Value{moment, "2026-11-23 10:00:00.123+00:00", moment.UnixMilli()} {
		if err := read(column, &at); err != nil || !at.Equal(moment) {
			t.Errorf("%v is %v, %v", column, at, err)
		}
	}
	var optional connic.Nullable[time.Time]
	if err := read(moment, &optional); err != nil || !optional.Equal(connic.Set(moment)) {
		t.Errorf("%v, %v", optional, err)
	}
	for _, bad := range []struct {
		column driver.Value
		into   any
	}{
		{"many", new(connic.Decimal)},
		{true, new(connic.Decimal)},
		{moment, new(connic.Decimal)},
		{"[", new(connic.Run)},
		{int64(5), new(connic.Run)},
		{"x", new(connic.Nullable[bool])},
		{"{", new(connector.Delivery)},
		{"12.50 EUR2", new(connic.Money)},
		{`{"a":`, new(connic.Filter)},
	} {
		if err := read(bad.column, bad.into); err == nil || !strings.Contains(err.Error(), "connic: the column is no ") || !reflect.ValueOf(bad.into).Elem().IsZero() {
			t.Errorf("%v: %v, %v", bad.column, bad.into, err)
		}
	}
	var text string
	db := sql.OpenDB(&memory{convert: asIs})
	if _, err := db.ExecContext(t.Context(), "insert ?", connic.Decimal{}); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRowContext(t.Context(), "select").Scan(&text); err == nil {
		t.Errorf("an absent amount is stored as %q", text)
	}
}
