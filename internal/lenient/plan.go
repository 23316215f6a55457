package lenient

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"time"
)

// A plan describes how values of a type are decoded. It is created once per
// type.
type plan struct {
	decode    func(d *Decoder, v reflect.Value) error
	fields    map[string]*field // of a struct that is decoded by its fields; otherwise nil
	preset    []*field          // bools that default to true
	composite bool              // the values are objects or arrays
}

// A field is a field of a struct.
type field struct {
	name   string // the name in the JSON
	index  []int
	alias  bool // this is an alias of the field
	other  bool // the field has aliases
	preset bool // a bool that defaults to true
	plan   *plan
	text   *field // the field under its name with suffixText, or nil
}

// Struct fields are named by their json tags. The api tag says how the field is
// known, optionally followed by aliases and options:
//
//	ID      string `json:"id" api:"assumed,run_id"`
//	Enabled bool   `json:"enabled" api:"assumed,=true"`
//	Name    string `json:"name" api:"assumed,."`
//
// "=true" is the default for an absent value. "." decodes a string in place of
// the object into the field.
//
// A field that holds an object or an array is also decoded from a member that has
// its name with the suffix "_json": see [Decoder.embedded].
const (
	tagName    = "api"
	optPreset  = "=true"
	optInPlace = "."
	suffixText = "_json"
)

var plans sync.Map // reflect.Type to *plan

func planOf(t reflect.Type) *plan {
	if known, ok := plans.Load(t); ok {
		return known.(*plan)
	}
	// A recursive type finds its own plan here, and uses it once it is
	// complete.
	building := make(map[reflect.Type]*plan)
	p := build(t, building)
	for built, plan := range building {
		plans.LoadOrStore(built, plan)
	}
	return p
}

var (
	rawType         = reflect.TypeFor[json.RawMessage]()
	timeType        = reflect.TypeFor[time.Time]()
	numberType      = reflect.TypeFor[json.Number]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

func build(t reflect.Type, building map[reflect.Type]*plan) *plan {
	if known, ok := plans.Load(t); ok {
		return known.(*plan)
	}
	if known, ok := building[t]; ok {
		return known
	}
	p := new(plan)
	building[t] = p
	switch {
	case t == rawType:
		p.decode, p.composite = decodeRaw, true
	case t == timeType:
		p.decode = decodeTime
	case t == numberType:
		p.decode = decodeNumber
	case reflect.PointerTo(t).Implements(unmarshalerType) && !tagged(t):
		p.decode = decodeForeign
	default:
		p.byKind(t, building)
	}
	return p
}

func (p *plan) byKind(t reflect.Type, building map[reflect.Type]*plan) {
	switch t.Kind() {
	case reflect.String:
		p.decode = decodeString
	case reflect.Bool:
		p.decode = decodeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.decode = decodeInt
	case reflect.Float32, reflect.Float64:
		p.decode = decodeFloat
	case reflect.Pointer:
		elem := build(t.Elem(), building)
		p.composite = elem.composite
		p.decode = func(d *Decoder, v reflect.Value) error { return decodePointer(d, v, elem) }
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 { // base64
			p.decode = decodeStandard
			return
		}
		p.composite = true // before a recursive type asks
		elem := build(t.Elem(), building)
		p.decode = func(d *Decoder, v reflect.Value) error { return decodeSlice(d, v, elem) }
	case reflect.Struct:
		p.composite = true
		p.structure(t, building)
	default: // maps and interfaces, which are rare
		p.decode, p.composite = decodeStandard, true
	}
}

// tagged reports whether a struct has fields with an api tag. It is then
// decoded by its fields, whatever methods it has.
func tagged(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for _, f := range reflect.VisibleFields(t) {
		if _, ok := f.Tag.Lookup(tagName); ok {
			return true
		}
	}
	return false
}

// structure creates the plan of a struct. As in encoding/json, a shallower
// field hides a deeper one.
func (p *plan) structure(t reflect.Type, building map[reflect.Type]*plan) {
	p.fields = make(map[string]*field)
	var inPlace *field
	add := func(name string, f *field) {
		if known, ok := p.fields[name]; !ok || len(f.index) < len(known.index) {
			p.fields[name] = f
		}
	}
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
		own := field{name: name, index: f.Index, plan: build(f.Type, building)}
		_, rest, _ := strings.Cut(f.Tag.Get(tagName), ",")
		var others []string
		for option := range strings.SplitSeq(rest, ",") {
			switch option {
			case "":
			case optPreset:
				own.preset = true
				p.preset = append(p.preset, &own)
			case optInPlace:
				inPlace = &own
			default:
				others = append(others, option)
			}
		}
		if own.plan.composite {
			own.text = &field{name: name, index: f.Index, plan: own.plan}
		}
		own.other = len(others) > 0 || own.text != nil
		add(name, &own)
		for _, other := range others {
			add(other, &field{name: other, index: f.Index, alias: true, other: true, plan: own.plan, text: own.text})
		}
	}
	p.decode = func(d *Decoder, v reflect.Value) error {
		switch c := d.Peek(); {
		case c == 'n':
			return decodeNull(d, v)
		case c == '{':
			_, err := d.object(v, p, reflect.Value{})
			return err
		case inPlace != nil && c != '[':
			v.SetZero()
			return inPlace.plan.decode(d, inPlace.of(v))
		}
		return d.mismatch("not an object")
	}
}

func (f *field) of(v reflect.Value) reflect.Value {
	if len(f.index) == 1 {
		return v.Field(f.index[0])
	}
	return v.FieldByIndex(f.index)
}

// find returns the field for a key, ignoring case, or nil.
func (p *plan) find(key []byte) *field {
	if f, ok := p.fields[string(key)]; ok {
		return f
	}
	for _, c := range key {
		if c >= 'A' && c <= 'Z' || c >= 0x80 {
			for name, f := range p.fields {
				if len(name) == len(key) && strings.EqualFold(name, string(key)) {
					return f
				}
			}
			return nil
		}
	}
	return nil
}

// findText returns the field for a key with suffixText, or nil.
func (p *plan) findText(key []byte) *field {
	n := len(key) - len(suffixText)
	if n <= 0 || !strings.EqualFold(string(key[n:]), suffixText) {
		return nil
	}
	if f := p.find(key[:n]); f != nil {
		return f.text
	}
	return nil
}

// object decodes an object into a struct. It reports whether any member was a
// known field. like is another value of the same type, or invalid.
func (d *Decoder) object(v reflect.Value, p *plan, like reflect.Value) (known bool, err error) {
	if d.Peek() != '{' {
		return false, d.mismatch("not an object")
	}
	if err := d.enter(); err != nil {
		return false, err
	}
	for _, f := range p.preset {
		f.of(v).SetBool(true)
	}
	for first := true; ; first = false {
		if more, err := d.more('}', first); !more {
			return known, err
		}
		at := d.i
		key, err := d.key()
		if err != nil {
			return known, err
		}
		if f := p.find(key); f != nil {
			known = true
			err = d.member(f, v, like)
		} else {
			var used bool
			used, err = d.embedded(p.findText(key), v)
			known = known || used
		}
		if err != nil {
			return known, d.within(err, d.keyAt(at))
		}
	}
}

// embedded decodes a field from the member that has its name with suffixText: JSON,
// or a string that contains it. Nobody has said that the member is this field. It
// yields to what the field's own name contains, and is skipped like an unknown
// member if it cannot be decoded. f is nil for an unknown member.
func (d *Decoder) embedded(f *field, v reflect.Value) (used bool, err error) {
	if f == nil {
		return false, d.Skip()
	}
	target := f.of(v)
	if d.Peek() == 'n' || !target.IsZero() {
		return false, d.Skip()
	}
	start, depth, budget := d.i, d.depth, d.Budget
	err = d.embeddedValue(f.plan, target)
	if err == nil || errors.Is(err, ErrBudget) || d.Context != nil && d.Context.Err() != nil {
		return !target.IsZero(), err
	}
	target.SetZero()
	d.i, d.depth, d.Budget = start, depth, budget
	return false, d.Skip() // finds what is wrong with the document itself
}

func (d *Decoder) embeddedValue(p *plan, target reflect.Value) error {
	if d.Peek() != '"' {
		return p.decode(d, target)
	}
	start := d.i
	text, err := d.text()
	if err != nil {
		return err
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] != '{' && text[0] != '[' {
		if string(text) == "null" || len(text) == 0 {
			return nil
		}
		d.i = start
		return p.decode(d, target)
	}
	// The text may be a copy in d.scratch, which counts as long as it is in use.
	in := Decoder{Budget: d.Budget - len(text), Context: d.Context, data: text, depth: d.depth}
	err = in.End(p.decode(&in, target))
	d.Budget = in.Budget + len(text)
	return err
}

// member decodes the value of a field.
func (d *Decoder) member(f *field, v, like reflect.Value) error {
	target := f.of(v)
	if f.preset && d.Peek() == 'n' {
		return d.Skip()
	}
	if like.IsValid() && target.Kind() == reflect.String && d.Peek() == '"' {
		return d.shared(target, f.of(like))
	}
	if !f.other || target.IsZero() {
		return f.plan.decode(d, target)
	}
	// The field was already set by an alias. Its own name takes precedence, and
	// so does a value over null.
	value := reflect.New(target.Type()).Elem()
	if err := f.plan.decode(d, value); err != nil {
		return err
	}
	if !f.alias && !value.IsZero() {
		target.Set(value)
	}
	return nil
}
