// Package list decodes the pages of a list in any of the known envelopes, and
// walks through lists that change while they are read.
package list

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/lenient"
)

const (
	// maxRows limits the items of a page for which no larger limit was requested.
	// The size of the response limits them too.
	maxRows = 10_000
	// usualRows is the capacity for the items of a page, at most.
	usualRows = 100
)

// A Position is where a page begins: at a cursor or, without one, at an offset.
type Position struct {
	Offset int
	Cursor string
}

// A Page is one page of a list.
type Page[T any] struct {
	Items []*T
	// Total is the total number of items, or -1 if the service does not report
	// it.
	Total int
	// Limit and Offset are taken from the response or, failing that, from the
	// request.
	Limit, Offset int
	// NextCursor identifies the next page, if the service uses cursors.
	NextCursor string
	// More is whether there are further pages, nil if the service does not say.
	More *bool
	// Bad contains the items that could not be decoded; see [Kind.KeepBad].
	Bad []Bad[T]

	asked int    // the limit of the request
	rows  int    // of the response
	last  bool   // there is a cursor, and it is null
	sum   uint64 // of the text of items without an id
}

// A Bad item could not be decoded.
type Bad[T any] struct {
	// Item is among the items of the page. It contains what could be decoded.
	Item *T
	Err  error
}

// HasNext reports whether there are further pages, as far as this page shows.
func (p *Page[T]) HasNext() bool {
	switch {
	case p.More != nil:
		return *p.More
	case p.NextCursor != "":
		return true
	case len(p.Items) == 0:
		return false
	case p.Total >= 0:
		return p.Offset+len(p.Items) < p.Total
	default:
		return p.Limit > 0 && len(p.Items) >= p.Limit
	}
}

// Failure returns the error of an item that could not be decoded, or nil.
func (p *Page[T]) Failure(item *T) error {
	for i := range p.Bad {
		if p.Bad[i].Item == item {
			return p.Bad[i].Err
		}
	}
	return nil
}

// A Kind describes the items of a list.
type Kind[T any] struct {
	Name string          // the name that the service may use for the array
	ID   func(*T) string // "" if the item has none
	// Item decodes an item. It shares the strings that equal those of like, which
	// is the previous item or nil.
	Item func(d *lenient.Decoder, like *T) (*T, error)
	// KeepBad adds items that cannot be decoded to [Page.Bad]. By default, they
	// make the page fail.
	KeepBad bool
}

// Decode decodes a page that was requested at a position, in any of the known
// envelopes: a bare array, or an object that contains the array under one of
// several names. The limit is 0 if none was requested. A page has at most
// 10,000 items, or as many as requested.
func (k *Kind[T]) Decode(d *lenient.Decoder, at Position, limit int) (Page[T], error) {
	p := Page[T]{Items: []*T{}, Total: -1, Limit: limit, Offset: at.Offset, asked: limit}
	var err error
	if d.Peek() == '{' {
		err = k.envelope(d, &p)
	} else {
		err = k.items(d, &p)
	}
	if err = d.End(err); err != nil {
		return Page[T]{}, err
	}
	p.rows = len(p.Items)
	if p.Limit <= 0 {
		p.Limit = limit
	}
	if p.Total < p.rows {
		p.Total = -1 // it is no total
	}
	if at.Cursor != "" && p.NextCursor == "" && p.More == nil {
		p.More = new(bool) // there is no further cursor
	}
	return p, nil
}

// items decodes the array of a page. Each item is allocated separately, so
// retaining one does not retain the others.
func (k *Kind[T]) items(d *lenient.Decoder, p *Page[T]) error {
	start := d.Offset()
	p.Items, p.Bad = make([]*T, 0, min(max(p.asked, 0), usualRows)), nil
	var like *T
	err := d.Elements(func() error {
		if len(p.Items) >= max(maxRows, p.asked) {
			return errors.New("more items than requested")
		}
		if err := d.Charge(int(reflect.TypeFor[T]().Size())); err != nil {
			return err
		}
		d.Peek()
		before := *d
		item, err := k.Item(d, like)
		if err != nil {
			if !k.KeepBad {
				return err
			}
			if item, err = k.salvage(d, before, p, err); err != nil {
				return err
			}
		}
		like = item
		p.Items = append(p.Items, item)
		return nil
	})
	if err == nil && len(p.Items) > 0 && k.ID(p.Items[0]) == "" {
		p.sum = maphash.Bytes(seed, d.Since(start))
	}
	return err
}

// within adds the name of the array to the path of the error.
func (b *Bad[T]) within(name string) {
	var field *lenient.FieldError
	if errors.As(b.Err, &field) {
		field.Field = name + field.Field
	}
}

// salvage skips an item that cannot be decoded because of a value in it, and
// decodes its other members. Any other error is that of the page.
func (k *Kind[T]) salvage(d *lenient.Decoder, before lenient.Decoder, p *Page[T], cause error) (*T, error) {
	var field *lenient.FieldError
	if !errors.As(cause, &field) || errors.Is(cause, lenient.ErrBudget) {
		return nil, cause
	}
	if d.Context != nil && d.Context.Err() != nil {
		return nil, d.Context.Err()
	}
	before.Budget = d.Budget
	*d = before // at the depth of the array
	start := d.Offset()
	if err := d.Skip(); err != nil {
		return nil, err
	}
	item, err := k.rest(d, d.Since(start))
	if err != nil {
		return nil, err
	}
	dot := "."
	if field.Field == "" || field.Field[0] == '[' {
		dot = ""
	}
	field.Field = fmt.Sprintf("[%d]%s%s", len(p.Items), dot, field.Field)
	p.Bad = append(p.Bad, Bad[T]{item, cause})
	return item, nil
}

// rest decodes those members of an object that can be decoded, at the expense
// of d.
func (k *Kind[T]) rest(d *lenient.Decoder, text []byte) (*T, error) {
	decoder := func(text []byte) *lenient.Decoder {
		own := lenient.New(text)
		own.Budget = d.Budget
		return own
	}
	members, scratch := decoder(text), new(T)
	good, one := []byte{'{'}, []byte(nil)
	_ = members.Members(func(key []byte) error {
		name, err := json.Marshal(string(key))
		if err != nil {
			return err
		}
		members.Peek()
		start := members.Offset()
		if err := members.Skip(); err != nil {
			return err
		}
		one = append(append(append(append(one[:0], '{'), name...), ':'), members.Since(start)...)
		if decoder(append(one, '}')).Value(scratch) == nil {
			if len(good) > 1 {
				good = append(good, ',')
			}
			good = append(good, one[1:]...)
		}
		return nil
	})
	rest := decoder(append(good, '}'))
	item, err := k.Item(rest, nil)
	d.Budget = rest.Budget
	if err != nil && !errors.Is(err, lenient.ErrBudget) {
		item, err = new(T), nil
	}
	return item, err
}

// envelope decodes the array and the members around it.
func (k *Kind[T]) envelope(d *lenient.Decoder, p *Page[T]) error {
	names := [...]string{k.Name, "items", "data", "results"}
	best := math.MaxInt // the rank of the array decoded so far
	page, pages := -1, -1
	err := d.Members(func(key []byte) error {
		switch string(key) {
		case "total":
			return optional(d, &p.Total)
		case "limit":
			return optional(d, &p.Limit)
		case "offset":
			return optional(d, &p.Offset)
		case "page":
			return optional(d, &page)
		case "pages":
			return optional(d, &pages)
		case "has_more":
			return optional(d, &p.More)
		case "next_cursor":
			err := optional(d, &p.NextCursor)
			p.last = p.NextCursor == ""
			return err
		case "next":
			return p.next(d)
		}
		rank := slices.Index(names[:], string(key))
		switch first := d.Peek(); {
		case rank < 0:
		case rank < best && first == '[':
			best = rank
			err := k.items(d, p)
			for i := range p.Bad {
				p.Bad[i].within(names[rank])
			}
			return err
		case first == 'n' && best == math.MaxInt:
			best = len(names) // an empty list, unless another name holds an array
		}
		return d.Skip()
	})
	switch {
	case err != nil:
		return err
	case best == math.MaxInt:
		return fmt.Errorf("the response contains no list: neither %s nor items, data or results", k.Name)
	case p.More == nil && page >= 0 && pages >= 0:
		more := page < pages
		p.More = &more
	}
	return nil
}

// optional decodes a value, unless it is null.
func optional(d *lenient.Decoder, v any) error {
	if d.Peek() == 'n' {
		return d.Skip()
	}
	return d.Value(v)
}

// next decodes a "next" member that is a cursor, a URL or null. A URL is never
// followed; it only indicates that there is more.
func (p *Page[T]) next(d *lenient.Decoder) error {
	var next string
	if err := d.Value(&next); err != nil {
		return err
	}
	switch {
	case next == "" && p.More == nil && p.NextCursor == "":
		p.More = new(bool)
	case strings.Contains(next, "/") || strings.Contains(next, "?"):
		more := true
		p.More = &more
	case next != "":
		p.NextCursor = next
	}
	return nil
}
