// Package lenient decodes JSON for a client that does not know the schemas of
// the service. A number in a string, 12.0 for an integer, an object in place of
// a string, and any form of ISO 8601 are accepted for what they mean. A value
// without a meaning is an error that names its field.
//
// There is a single decoder with a single pass: every valid text takes the same
// path, whatever its escapes and letters. The effort that a response can cause
// is bounded by its size: nesting by [MaxDepth], memory by [Decoder.Budget],
// time by [Decoder.Context].
package lenient

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// MaxDepth is how deep arrays and objects may nest.
const MaxDepth = 512

// ErrIncomplete marks a body that is not a complete JSON document: truncated,
// empty, or in another format. It was caused by a gateway or a broken
// connection, and the next response may well be complete.
var ErrIncomplete = errors.New("not a complete JSON document")

// ErrOther marks a complete document that is not the one that was asked for,
// such as the error of a gateway.
var ErrOther = errors.New("another document than the one requested")

// ErrBudget marks a document that decodes to more memory than its size justifies.
var ErrBudget = errors.New("the document decodes to more memory than its size justifies")

// A FieldError is a value that cannot be decoded.
type FieldError struct {
	Field string // dotted path, "items[3].cost"; empty for the document itself
	Err   error
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Err.Error()
	}
	return e.Field + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// within adds the name of a field to an error, from the inside out.
func (d *Decoder) within(err error, name string) error {
	if err == errSyntax { //nolint:errorlint // the scanner's own, and not wrapped
		return &FieldError{Field: name, Err: fmt.Errorf("%w at byte %d", errSyntax, d.i)}
	}
	field, ok := err.(*FieldError) //nolint:errorlint // made here, and not wrapped
	switch {
	case !ok:
	case field.Field == "" || name == "":
		field.Field = name + field.Field
	case field.Field[0] == '[':
		field.Field = name + field.Field
	default:
		field.Field = name + "." + field.Field
	}
	return err
}

func wrong(what string) error { return &FieldError{Err: errors.New(what)} }

// A Decoder decodes one document. Methods that decode a value advance the
// position past it.
type Decoder struct {
	// Budget is the number of bytes of memory that the document may decode to.
	// The default is three times its size plus 1 MiB.
	Budget int
	// Context, if not nil, is checked every 64 KiB. Its error ends decoding.
	Context context.Context
	// KeepRaw is a flag for the user of the Decoder; see [Decoder.Since].
	KeepRaw bool

	data    []byte
	i       int
	depth   int
	asked   int    // where the context was last checked
	scratch []byte // for strings with escapes
}

// New returns a Decoder for a document. It does not modify data, and decoded
// values do not share memory with it.
func New(data []byte) *Decoder {
	d := new(Decoder)
	d.Reset(data)
	return d
}

// Reset starts another document.
func (d *Decoder) Reset(data []byte) {
	*d = Decoder{Budget: 3*len(data) + 1<<20, data: data, scratch: d.scratch[:0]}
}

// Unmarshal decodes a document into v, a non-nil pointer.
func Unmarshal(data []byte, v any) error { return New(data).Decode(v) }

// Decode decodes the whole document into v, a non-nil pointer. null, and an
// object without a single member known to v, are errors, because they contain
// nothing that was asked for.
func (d *Decoder) Decode(v any) error {
	target := reflect.ValueOf(v).Elem()
	p := planOf(target.Type())
	err := d.space()
	switch {
	case err != nil:
	case p.fields == nil:
		err = p.decode(d, target)
	case d.data[d.i] == 'n':
		if err = d.Skip(); err == nil {
			err = &FieldError{Err: fmt.Errorf("%w: null", ErrOther)}
		}
	default:
		var known bool
		if known, err = d.object(target, p, reflect.Value{}); err == nil && !known {
			err = &FieldError{Err: fmt.Errorf("%w: it has none of the expected fields", ErrOther)}
		}
	}
	return d.End(err)
}

// End returns err, or an error if anything but white space follows. It explains
// what is wrong with a document that is not JSON.
func (d *Decoder) End(err error) error {
	if err == nil && d.space() == nil {
		err = errSyntax
	}
	return d.explain(err)
}

// Value decodes the value at the position into v, a non-nil pointer.
func (d *Decoder) Value(v any) error {
	target := reflect.ValueOf(v).Elem()
	return planOf(target.Type()).decode(d, target)
}

// Like decodes the value at the position into v. Strings equal to those of
// like, a pointer of the same type or nil, share memory with it.
func (d *Decoder) Like(v, like any) error {
	target := reflect.ValueOf(v).Elem()
	p := planOf(target.Type())
	if p.fields == nil || d.Peek() != '{' {
		return p.decode(d, target)
	}
	_, err := d.object(target, p, reflect.ValueOf(like).Elem())
	return err
}

// Len returns the size of the document.
func (d *Decoder) Len() int { return len(d.data) }

// Peek returns the first byte of the value at the position, or 0 at the end.
func (d *Decoder) Peek() byte {
	if d.space() != nil {
		return 0
	}
	return d.data[d.i]
}

// Offset returns the position.
func (d *Decoder) Offset() int { return d.i }

// Since returns the part of the document between offset and the position. It
// shares memory with the document.
func (d *Decoder) Since(offset int) []byte { return d.data[offset:d.i] }

// Seek moves the position to an offset that [Decoder.Offset] returned.
func (d *Decoder) Seek(offset int) { d.i = offset }

// Members calls visit for each member of the object at the position. visit
// decodes or skips the value. The key is valid until then.
func (d *Decoder) Members(visit func(key []byte) error) error {
	if d.Peek() != '{' {
		return d.mismatch("not an object")
	}
	if err := d.enter(); err != nil {
		return err
	}
	for first := true; ; first = false {
		if more, err := d.more('}', first); !more {
			return err
		}
		at := d.i
		key, err := d.key()
		if err != nil {
			return err
		}
		if err := visit(key); err != nil {
			return d.within(err, d.keyAt(at))
		}
	}
}

// Elements calls visit for each element of the array at the position. visit
// decodes or skips it.
func (d *Decoder) Elements(visit func() error) error {
	if d.Peek() != '[' {
		return d.mismatch("not an array")
	}
	if err := d.enter(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if more, err := d.more(']', i == 0); !more {
			return err
		}
		if err := visit(); err != nil {
			return d.within(err, fmt.Sprintf("[%d]", i))
		}
	}
}

// enter starts an array or an object.
func (d *Decoder) enter() error {
	if d.depth++; d.depth > MaxDepth {
		return errDepth
	}
	d.i++
	return nil
}

// more reports whether another element or member follows, and moves to it.
func (d *Decoder) more(end byte, first bool) (bool, error) {
	if err := d.space(); err != nil {
		return false, err
	}
	if d.data[d.i] == end {
		d.i++
		d.depth--
		return false, nil
	}
	if !first {
		if d.data[d.i] != ',' {
			return false, errSyntax
		}
		d.i++
		if err := d.space(); err != nil {
			return false, err
		}
		if d.data[d.i] == end {
			return false, errSyntax
		}
	}
	err := d.interrupted()
	return err == nil, err
}

// key reads the key of a member and the colon after it.
func (d *Decoder) key() ([]byte, error) {
	if d.data[d.i] != '"' {
		return nil, errSyntax
	}
	key, err := d.text()
	if err != nil {
		return nil, err
	}
	if err := d.space(); err != nil {
		return nil, err
	}
	if d.data[d.i] != ':' {
		return nil, errSyntax
	}
	d.i++
	return key, nil
}

// keyAt returns the key that was read at an offset, for errors.
func (d *Decoder) keyAt(offset int) string {
	at := d.i
	d.i = offset
	key, _ := d.key()
	d.i = at
	return string(key)
}

// interrupted checks the context from time to time.
func (d *Decoder) interrupted() error {
	const every = 64 << 10
	if d.Context == nil || d.i-d.asked < every {
		return nil
	}
	d.asked = d.i
	return d.Context.Err()
}

// Charge accounts for memory allocated because of the document, and fails if it
// is more than the size of the document justifies.
func (d *Decoder) Charge(bytes int) error {
	if d.Budget -= bytes; d.Budget < 0 {
		return &FieldError{Err: ErrBudget}
	}
	return nil
}

// mismatch skips a value that has the wrong type.
func (d *Decoder) mismatch(what string) error {
	if err := d.Skip(); err != nil {
		return err
	}
	return wrong(what)
}
