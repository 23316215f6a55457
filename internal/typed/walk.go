package typed

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// walk is a pass over a text that is known to be valid JSON, along the plan of the
// type that it decodes to.
type walk struct {
	text string
	i    int
	// leaf, if not nil, is called for each value that is not passed through.
	// Otherwise the pass looks for the absence of required fields.
	leaf func(p *plan, from, to int) *Error
}

// value passes the value at the position.
func (w *walk) value(p *plan) *Error {
	w.space()
	if w.leaf == nil && !p.required {
		w.skip()
		return nil
	}
	switch c := w.text[w.i]; {
	case c == '{' && p.fields != nil:
		return w.object(p)
	case c == '{' && p.of.Kind() == reflect.Map && p.elem != nil:
		return w.table(p)
	case c == '[' && p.of.Kind() != reflect.Map && p.elem != nil:
		return w.list(p)
	}
	from := w.i
	w.skip()
	if w.leaf == nil {
		return nil
	}
	return w.leaf(p, from, w.i)
}

func (w *walk) object(p *plan) *Error {
	var few [2]uint64
	seen := few[:]
	if p.marks/64 >= len(few) {
		seen = make([]uint64, p.marks/64+1)
	}
	next := 0
	for w.i++; w.more('}'); {
		key := w.key()
		f := p.find(key, &next)
		switch {
		case f == nil:
			w.skip()
			continue
		case f.mark > 0 && w.leaf == nil:
			if w.text[w.i] == 'n' && !f.nilable {
				return &Error{Reason: Missing, Field: f.name}
			}
			seen[f.mark/64] |= 1 << (f.mark % 64)
		}
		if e := w.value(f.plan); e != nil {
			return e.within(f.name)
		}
	}
	if w.leaf != nil || p.marks == 0 {
		return nil
	}
	for _, f := range p.order {
		if f.mark > 0 && seen[f.mark/64]&(1<<(f.mark%64)) == 0 {
			return &Error{Reason: Missing, Field: f.name}
		}
	}
	return nil
}

// table passes an object that decodes to a map.
func (w *walk) table(p *plan) *Error {
	from := w.i
	for w.i++; w.more('}'); {
		w.key()
		if e := w.element(p); e != nil {
			return e.within("*")
		}
	}
	if w.leaf != nil && p.of.Key().Kind() != reflect.String {
		return w.leaf(p, from, w.i) // its keys may not fit
	}
	return nil
}

func (w *walk) list(p *plan) *Error {
	w.i++
	for i := 0; w.more(']'); i++ {
		if e := w.element(p); e != nil {
			return e.within("[" + strconv.Itoa(i) + "]")
		}
	}
	return nil
}

func (w *walk) element(p *plan) *Error {
	if p.hollow && w.leaf == nil && w.text[w.i] == 'n' {
		return &Error{Reason: Missing}
	}
	return w.value(p.elem)
}

// more moves to the next member or element, or past the end.
func (w *walk) more(end byte) bool {
	w.space()
	if w.text[w.i] == ',' {
		w.i++
		w.space()
	}
	if w.text[w.i] == end {
		w.i++
		return false
	}
	return true
}

func (w *walk) space() {
	for {
		switch w.text[w.i] {
		case ' ', '\t', '\r', '\n':
			w.i++
		default:
			return
		}
	}
}

// key passes a key and moves to the value.
func (w *walk) key() string {
	from := w.i
	w.skipString()
	key := w.text[from+1 : w.i-1]
	if strings.IndexByte(key, '\\') >= 0 {
		key = unescaped(w.text[from:w.i])
	}
	w.space()
	w.i++ // the colon
	w.space()
	return key
}

func unescaped(quoted string) (key string) {
	_ = json.Unmarshal([]byte(quoted), &key) // it is valid
	return key
}

func (w *walk) skipString() {
	for w.i++; ; w.i++ {
		w.i += strings.IndexByte(w.text[w.i:], '"')
		back := w.i
		for w.text[back-1] == '\\' {
			back--
		}
		if (w.i-back)%2 == 0 {
			w.i++
			return
		}
	}
}

// skip passes a value. It does not recurse.
func (w *walk) skip() {
	for depth := 0; w.i < len(w.text); {
		switch w.text[w.i] {
		case '"':
			w.skipString()
		case '{', '[':
			depth++
			w.i++
			continue
		case '}', ']':
			depth--
			w.i++
		case ' ', '\t', '\r', '\n', ',', ':':
			w.i++
			continue
		default:
			for w.i < len(w.text) && w.text[w.i] > ' ' && w.text[w.i] != ',' && w.text[w.i]|0x20 != '}' {
				w.i++ // a number or a literal has no ']' or '}' within, which differ by that bit
			}
		}
		if depth == 0 {
			return
		}
	}
}
