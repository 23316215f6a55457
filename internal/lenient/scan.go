package lenient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// Errors of the scanner. Decoder.explain adds the position to them.
var (
	errEnd    = errors.New("the document is truncated")
	errSyntax = errors.New("invalid JSON")
	errDepth  = fmt.Errorf("nested deeper than %d levels", MaxDepth)
)

// space moves to the next byte that is not white space. It fails at the end.
func (d *Decoder) space() error {
	for d.i < len(d.data) {
		switch d.data[d.i] {
		case ' ', '\t', '\r', '\n':
			d.i++
		default:
			return nil
		}
	}
	return errEnd
}

// Skip skips the value at the position. It is as strict about the grammar as
// encoding/json, and does not recurse.
func (d *Decoder) Skip() error {
	var object [MaxDepth/64 + 1]uint64 // one bit per level, set for an object
	bottom := d.depth
	for {
		if err := d.space(); err != nil {
			return err
		}
		open := false
		switch c := d.data[d.i]; {
		case c == '{' || c == '[':
			if err := d.enter(); err != nil {
				return err
			}
			object[d.depth/64] &^= 1 << (d.depth % 64)
			if c == '{' {
				object[d.depth/64] |= 1 << (d.depth % 64)
			}
			open = true
		case c == '"':
			if err := d.skipText(); err != nil {
				return err
			}
		case c == '-' || isDigit(c):
			if err := d.number(); err != nil {
				return err
			}
		default:
			if err := d.literal(); err != nil {
				return err
			}
		}
		// Close the arrays and objects that end here, and find the next value.
		for {
			if d.depth == bottom {
				return nil
			}
			isObject := object[d.depth/64]&(1<<(d.depth%64)) != 0
			end := byte(']')
			if isObject {
				end = '}'
			}
			more, err := d.more(end, open)
			if err != nil {
				return err
			}
			open = false
			if !more {
				continue
			}
			if isObject {
				if d.data[d.i] != '"' {
					return errSyntax
				}
				if err := d.skipText(); err != nil {
					return err
				}
				if err := d.space(); err != nil {
					return err
				}
				if d.data[d.i] != ':' {
					return errSyntax
				}
				d.i++
			}
			break
		}
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number moves past a number.
func (d *Decoder) number() error {
	n := numberLen(d.data[d.i:])
	switch {
	case n > 0:
		d.i += n
		return nil
	case n == 0:
		return errEnd
	default:
		return errSyntax
	}
}

// numberLen returns the length of the JSON number at the start of b. It returns
// 0 if b ends before the number is complete, and -1 if there is no valid
// number.
func numberLen(b []byte) int {
	i := 0
	digits := func() bool {
		start := i
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		return i > start
	}
	none := func() int {
		if i == len(b) {
			return 0
		}
		return -1
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return none()
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return none()
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return none()
		}
	}
	return i
}

// isNumber reports whether b is exactly one JSON number.
func isNumber(b []byte) bool { return len(b) > 0 && numberLen(b) == len(b) }

var literals = [...]string{"true", "false", "null"}

// literal moves past true, false or null.
func (d *Decoder) literal() error {
	rest := d.data[d.i:]
	for _, word := range literals {
		if word[0] != rest[0] {
			continue
		}
		if len(rest) >= len(word) && string(rest[:len(word)]) == word {
			d.i += len(word)
			return nil
		}
		if len(rest) < len(word) && string(rest) == word[:len(rest)] {
			return errEnd
		}
	}
	return errSyntax
}

// plain returns the length of the prefix of a string that needs no decoding: up
// to a quote, a backslash, a control character or, if ascii is set, a byte
// outside ASCII. It examines eight bytes at a time.
func plain(b []byte, ascii bool) int {
	const (
		ones = 0x0101010101010101
		tops = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// The top bit of each byte that is less than 0x20, is a quote or a
		// backslash, or has its top bit set. A borrow can only mark too many
		// bytes.
		mark := (x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash
		if ascii {
			mark |= x
		}
		if mark&tops != 0 {
			break
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' || ascii && c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// skipText moves past a string.
func (d *Decoder) skipText() error {
	for d.i++; ; {
		d.i += plain(d.data[d.i:], false)
		if d.i >= len(d.data) {
			return errEnd
		}
		switch d.data[d.i] {
		case '"':
			d.i++
			return nil
		case '\\':
			if _, size, err := d.escape(); err != nil {
				return err
			} else {
				d.i += size
			}
		default:
			return errSyntax
		}
	}
}

// text decodes a string. The result is valid until the next call.
func (d *Decoder) text() ([]byte, error) {
	start := d.i + 1
	i := start + plain(d.data[start:], true)
	if i < len(d.data) && d.data[i] == '"' { // the common case
		d.i = i + 1
		return d.data[start:i], nil
	}
	d.i = start
	if err := d.plainText(start); err != nil {
		return nil, err
	}
	if d.data[d.i] == '"' {
		b := d.data[start:d.i]
		d.i++
		return valid(b), nil
	}
	return d.escaped(start)
}

// valid returns b with invalid UTF-8 replaced as encoding/json does.
func valid(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		out = utf8.AppendRune(out, r)
		b = b[size:]
	}
	return out
}

// plainText moves to the quote or backslash that ends the undecoded prefix.
func (d *Decoder) plainText(from int) error {
	d.i = from + plain(d.data[from:], false)
	switch {
	case d.i >= len(d.data):
		return errEnd
	case d.data[d.i] < ' ':
		return errSyntax
	}
	return nil
}

// escaped decodes the rest of a string, from its first escape, which is at the
// position.
func (d *Decoder) escaped(start int) ([]byte, error) {
	out := d.scratch[:0]
	out = append(out, d.data[start:d.i]...)
	for d.data[d.i] == '\\' {
		r, size, err := d.escape()
		if err != nil {
			return nil, err
		}
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
		} else {
			out = utf8.AppendRune(out, r)
		}
		from := d.i + size
		if err := d.plainText(from); err != nil {
			return nil, err
		}
		out = append(out, d.data[from:d.i]...)
	}
	d.i++
	d.scratch = out[:0]
	if cap(out) > 64<<10 {
		d.scratch = nil // the string may be as long as the document
	}
	return valid(out), nil
}

// escape decodes the escape at the position. A surrogate pair is a single
// escape.
func (d *Decoder) escape() (r rune, size int, err error) {
	b := d.data[d.i:]
	if len(b) < 2 {
		return 0, 0, errEnd
	}
	switch c := b[1]; c {
	case '"', '\\', '/':
		return rune(c), 2, nil
	case 'b':
		return '\b', 2, nil
	case 'f':
		return '\f', 2, nil
	case 'n':
		return '\n', 2, nil
	case 'r':
		return '\r', 2, nil
	case 't':
		return '\t', 2, nil
	case 'u':
	default:
		return 0, 0, errSyntax
	}
	r, err = hex4(b[2:])
	if err != nil || !utf16.IsSurrogate(r) {
		return r, 6, err
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if low, err := hex4(b[8:]); err == nil {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12, nil
			}
		}
	}
	return utf8.RuneError, 6, nil
}

func hex4(b []byte) (rune, error) {
	var r rune
	for i := range 4 {
		if i >= len(b) {
			return 0, errEnd
		}
		c := b[i]
		switch {
		case isDigit(c):
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, errSyntax
		}
		r = r<<4 | rune(c)
	}
	return r, nil
}

// explain turns an error of the scanner into one with its position.
func (d *Decoder) explain(err error) error {
	switch {
	case errors.Is(err, errEnd):
		if len(bytes.TrimSpace(d.data)) == 0 {
			return fmt.Errorf("%w: the body is empty", ErrIncomplete)
		}
		return fmt.Errorf("%w: it is truncated", ErrIncomplete)
	case errors.Is(err, errSyntax):
		if trimmed := bytes.TrimSpace(d.data); len(trimmed) > 0 && trimmed[0] == '<' {
			return fmt.Errorf("%w: the body is HTML or XML", ErrIncomplete)
		}
		return d.within(err, "")
	case errors.Is(err, errDepth):
		return &FieldError{Err: err}
	}
	return err
}
