package typed

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// A plan is what a pass over a text needs of a type. Pointers have the plan of
// what they point to.
type plan struct {
	of       reflect.Type
	fields   map[string]*field // of a struct
	order    []*field          // those, as they are declared
	marks    int               // how many of them are required
	elem     *plan             // of an array, a slice or a map
	hollow   bool              // elem is a struct with a required field, and null leaves it zero
	integer  bool              // it is of an integer kind
	quoted   bool              // its JSON is within a string
	required bool              // it or something within has a required field
	dynamic  bool              // it or something within is an interface
}

// A field is a field of a struct, by the rules of encoding/json.
type field struct {
	name     string
	plan     *plan
	mark     int // from 1; 0 if it is not required
	nilable  bool
	depth    int
	explicit bool // the name is that of the tag
	clashes  bool // another field has the same right to the name
}

// Tag is the struct tag of this package, and Required its value for a field that
// must be present.
const (
	Tag      = "connic"
	Required = "required"
)

var plans sync.Map // reflect.Type to *plan

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func planOf(t reflect.Type) *plan {
	if known, ok := plans.Load(t); ok {
		return known.(*plan)
	}
	b := builder{}
	p := b.build(t)
	for _, part := range b {
		part.required = part.reaches(make(map[*plan]bool), func(p *plan) bool { return p.marks > 0 })
		part.dynamic = part.reaches(make(map[*plan]bool), func(p *plan) bool { return p.of.Kind() == reflect.Interface })
	}
	for _, part := range b {
		part.hollow = part.elem != nil && part.elem.marks > 0 && !nilable(part.of.Elem())
	}
	known, _ := plans.LoadOrStore(t, p)
	return known.(*plan)
}

// builder holds the plans of a type and of those within it.
type builder map[reflect.Type]*plan

func (b builder) build(t reflect.Type) *plan {
	for t.Kind() == reflect.Pointer && !decodesItself(t) && t.Name() == "" {
		t = t.Elem()
	}
	if known, ok := b[t]; ok {
		return known
	}
	p := &plan{of: t}
	b[t] = p
	if decodesItself(t) {
		return p
	}
	switch t.Kind() {
	case reflect.Struct:
		b.structure(p)
	case reflect.Slice, reflect.Array, reflect.Map:
		p.elem = b.build(t.Elem())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		p.integer = true
	default: // a value by itself
	}
	return p
}

// decodesItself reports whether a type has its own way to decode.
func decodesItself(t reflect.Type) bool {
	for _, t := range []reflect.Type{t, reflect.PointerTo(t)} {
		if t.Kind() != reflect.Interface && (t.Implements(unmarshaler) || t.Implements(textUnmarshaler)) {
			return true
		}
	}
	return false
}

// nilable reports whether null has a representation in a type.
func nilable(t reflect.Type) bool {
	k := t.Kind()
	return k == reflect.Pointer || k == reflect.Slice || k == reflect.Map || k == reflect.Interface
}

// structure finds the fields of a struct. Of several with the same name, the
// shallowest counts; of those, the only one with a name in its tag.
func (b builder) structure(p *plan) {
	p.fields = make(map[string]*field)
	b.collect(p, p.of, 0, make(map[reflect.Type]bool))
	kept := p.order[:0]
	for _, f := range p.order {
		if p.fields[f.name] != f || f.clashes {
			continue
		}
		if f.mark > 0 {
			p.marks++
			f.mark = p.marks
		}
		kept = append(kept, f)
	}
	p.order = kept
	for name, f := range p.fields {
		if f.clashes {
			delete(p.fields, name)
		}
	}
}

func (b builder) collect(p *plan, t reflect.Type, depth int, within map[reflect.Type]bool) {
	if within[t] {
		return
	}
	within[t] = true
	defer delete(within, t)
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer && inner.Name() == "" {
			inner = inner.Elem()
		}
		embedded := f.Anonymous && inner.Kind() == reflect.Struct
		if f.Tag.Get("json") == "-" || !f.IsExported() && !embedded {
			continue
		}
		if embedded && name == "" {
			b.collect(p, inner, depth+1, within)
			continue
		}
		if !f.IsExported() {
			continue
		}
		own := &field{name: name, nilable: nilable(f.Type), depth: depth, explicit: name != "", plan: b.build(f.Type)}
		if name == "" {
			own.name = f.Name
		}
		if f.Tag.Get(Tag) == Required {
			own.mark = 1
		}
		if scalar(inner) && hasOption(options, "string") {
			own.plan = &plan{of: inner, quoted: true}
		}
		p.order = append(p.order, own)
		switch other := p.fields[own.name]; {
		case other == nil, own.depth < other.depth, own.depth == other.depth && own.explicit && !other.explicit:
			p.fields[own.name] = own
		case own.depth == other.depth && own.explicit == other.explicit:
			other.clashes = true
		}
	}
}

func scalar(t reflect.Type) bool {
	k := t.Kind()
	return k == reflect.String || k >= reflect.Bool && k <= reflect.Float64
}

func hasOption(options, name string) bool {
	for option := range strings.SplitSeq(options, ",") {
		if option == name {
			return true
		}
	}
	return false
}

// reaches reports whether the plan or one within it is of some kind.
func (p *plan) reaches(seen map[*plan]bool, is func(*plan) bool) bool {
	if p == nil || seen[p] {
		return false
	}
	seen[p] = true
	if is(p) || p.elem.reaches(seen, is) {
		return true
	}
	for _, f := range p.order {
		if f.plan.reaches(seen, is) {
			return true
		}
	}
	return false
}

// find returns the field for a key, or nil. The one at next in the order is tried
// first. As in encoding/json, case is ignored if no field has the key itself.
func (p *plan) find(key string, next *int) *field {
	if *next < len(p.order) && p.order[*next].name == key {
		*next++
		return p.order[*next-1]
	}
	f := p.fields[key]
	if f == nil {
		for _, other := range p.order {
			if strings.EqualFold(other.name, key) {
				return other
			}
		}
		return nil
	}
	for i, other := range p.order {
		if other == f {
			*next = i + 1
		}
	}
	return f
}
