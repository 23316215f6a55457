package leaktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"sync"
)

// A Record collects what a program shows. Its zero value is empty, and it is safe
// for concurrent use.
type Record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (r *Record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// String returns what was collected.
func (r *Record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// Print writes values as every verb, encoder and logger does. It writes an error
// also joined and wrapped, and so all errors that it wraps.
func (r *Record) Print(values ...any) {
	for _, v := range values {
		r.print(v)
		err, _ := v.(error)
		if err == nil {
			continue
		}
		r.print(errors.Join(errors.New("first"), err))
		r.print(fmt.Errorf("wrapped: %w", err))
		switch inner := err.(type) { //nolint:errorlint // it goes from error to error itself
		case interface{ Unwrap() error }:
			r.Print(inner.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range inner.Unwrap() {
				r.Print(e)
			}
		}
	}
}

// addresses are numbers that are as long as an address in memory. They are left
// out, since the half of a short secret may occur in one by chance.
var addresses = regexp.MustCompile(`\b(0x)?([0-9a-f]{10,13}|[0-9]{14,15})\b`)

func (r *Record) print(v any) {
	_, _ = r.Write(addresses.ReplaceAll(fmt.Appendf(nil, "%v %+v %#v %q %s %x %d\n", v, v, v, v, v, v, v), nil))
	if encoded, err := json.Marshal(v); err == nil {
		_, _ = r.Write(encoded)
	}
	for _, logger := range r.Loggers() {
		logger.Error("shown", "value", v)
	}
}

// Loggers returns loggers that write to r, with and without JSON.
func (r *Record) Loggers() []*slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{} // its digits may be those of a secret
		}
		return a
	}}
	return []*slog.Logger{slog.New(slog.NewTextHandler(r, opts)), slog.New(slog.NewJSONHandler(r, opts))}
}

// Reach writes every string that reflection can reach from v, like programs that
// print values with all their unexported fields. It leaves out what pointers to
// the given types lead to.
func (r *Record) Reach(v any, except ...reflect.Type) {
	walker{r, except, make(map[uintptr]bool)}.walk(reflect.ValueOf(v), 0)
}

type walker struct {
	io.Writer
	except []reflect.Type
	seen   map[uintptr]bool
}

func (w walker) walk(v reflect.Value, depth int) {
	if !v.IsValid() || depth > 30 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		_, _ = fmt.Fprintf(w, "%s\n", v.String())
	case reflect.Pointer:
		if v.IsNil() || w.seen[v.Pointer()] {
			return
		}
		w.seen[v.Pointer()] = true
		if !slices.Contains(w.except, v.Type().Elem()) {
			w.walk(v.Elem(), depth+1)
		}
	case reflect.Interface:
		w.walk(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(v.Field(i), depth+1)
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			w.walk(key, depth+1)
			w.walk(value, depth+1)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
			_, _ = fmt.Fprintf(w, "%s\n", v.Bytes())
			return
		}
		for i := range v.Len() {
			w.walk(v.Index(i), depth+1)
		}
	default:
	}
}
