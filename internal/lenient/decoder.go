// Package lenient decodes JSON the way a client must that does not know the
// service's schemas: a number in a string, 12.0 for an integer, an object where a
// text was expected, any form of ISO 8601 are taken for what they mean, and a
// value that means nothing is an error that names its field.
//
// There is one decoder and one pass: every valid text takes the same path,
// whatever its escapes and letters. What an answer can make it do is bounded by
// the answer's size: nesting by [MaxDepth], memory by [Decoder.Budget], time by
// [Decoder.Context].
package lenient

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// MaxDepth is how deep arrays and objects may nest.
const MaxDepth = 512

// ErrIncomplete marks a body that is no whole JSON document: cut off, empty, or
// another format altogether. A gateway or a broken connection made it, and the
// next answer may well be whole.
var ErrIncomplete = errors.New("not a whole JSON document")

// ErrBudget marks a document that decodes to more memory than its size justifies.
var ErrBudget = errors.New("the document decodes to more memory than its size justifies")

// FieldError is a value that cannot be decoded.
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

// within names the field that an error comes from, from the inside out.
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

// Decoder reads one document. Its methods that read a value leave the position
// behind it.
type Decoder struct {
	// Budget is how many bytes of memory the document may decode to: by default
	// three times its size and 1 MiB.
	Budget int
	// Context, if not nil, is asked every 64 KiB. Its error ends decoding.
	Context context.Context
	// KeepRaw is a note for the decoder's user; see [Decoder.Since].
	KeepRaw bool

	data    []byte
	i       int
	depth   int
	asked   int    // where the context was last asked
	scratch []byte // of texts with escapes
}

// New returns a Decoder for a document. It does not change data, and what it
// decodes does not share memory with it.
func New(data []byte) *Decoder {
	d := new(Decoder)
	d.Reset(data)
	return d
}

// Reset begins another document.
func (d *Decoder) Reset(data []byte) {
	*d = Decoder{Budget: 3*len(data) + 1<<20, data: data, scratch: d.scratch[:0]}
}

// Unmarshal decodes a document into v, a pointer that is not nil.
func Unmarshal(data []byte, v any) error { return New(data).Decode(v) }

// Decode decodes the whole document into v, a pointer that is not nil. An object
// without a single member that v knows is an error, and so is null: there is
// nothing in it of what was asked for.
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
			err = wrong("null where an object was expected")
		}
	default:
		var known bool
		if known, err = d.object(target, p, reflect.Value{}); err == nil && !known {
			err = wrong("an object without any of the expected fields")
		}
	}
	return d.End(err)
}

// End returns err, or an error if more than white space follows. It explains what
// is wrong with a document that is no JSON.
func (d *Decoder) End(err error) error {
	if err == nil && d.space() == nil {
		err = errSyntax
	}
	return d.explain(err)
}

// Value decodes the value at the position into v, a pointer that is not nil.
func (d *Decoder) Value(v any) error {
	target := reflect.ValueOf(v).Elem()
	return planOf(target.Type()).decode(d, target)
}

// Like decodes the value at the position into v. Texts that it has in common with
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

// Len is the size of the document.
func (d *Decoder) Len() int { return len(d.data) }

// Peek returns the first byte of the value at the position, 0 at the end.
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

// Members calls visit for each member of the object at the position. Visit reads
// or skips the value. The key is valid until it does.
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

// Elements calls visit for each element of the array at the position. Visit reads
// or skips it.
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

// enter begins an array or an object.
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

// key reads a member's key and the colon behind it.
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

// interrupted asks the context from time to time.
func (d *Decoder) interrupted() error {
	const every = 64 << 10
	if d.Context == nil || d.i-d.asked < every {
		return nil
	}
	d.asked = d.i
	return d.Context.Err()
}

// Charge counts memory that the document makes its reader allocate, and fails
// when that is more than its size justifies.
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
