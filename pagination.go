package connic

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"reflect"
	"strings"

	"github.com/connic-go/connic/internal/lenient"
)

const (
	// pageLimit is the default Limit of the All methods.
	pageLimit = 100
	// maxPages and maxEmptyPages end lists that would otherwise never end.
	maxPages      = 10_000
	maxEmptyPages = 20
)

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

	more *bool  // whether there are further pages, nil if the service does not say
	sum  uint64 // of the text of items without an id
}

// HasNext reports whether there are further pages, as far as this page shows.
func (p *Page[T]) HasNext() bool {
	switch {
	case p.more != nil:
		return *p.more
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

// listing describes a list operation: the name of its array, and the requested
// page.
type listing[T any] struct {
	name   string // the name that this section uses for the array
	id     func(*T) string
	limit  int
	offset int
	cursor string
}

// query adds the paging parameters.
func (l *listing[T]) query(q *query) {
	q.addInt("limit", l.limit)
	if l.cursor != "" {
		q.add("cursor", l.cursor)
		return
	}
	q.addInt("offset", l.offset)
}

// decode decodes a page in any of the known envelopes: a bare array, or an
// object that contains the array under one of several names.
func (l *listing[T]) decode(d *lenient.Decoder) (*Page[T], error) {
	p := &Page[T]{Items: []*T{}, Total: -1, Limit: l.limit, Offset: l.offset}
	var err error
	if d.Peek() == '{' {
		err = l.envelope(d, p)
	} else {
		err = l.items(d, p)
	}
	if err = d.End(err); err != nil {
		return nil, err
	}
	if l.cursor != "" && p.NextCursor == "" && p.more == nil {
		p.more = new(bool) // there is no further cursor
	}
	return p, nil
}

// maxRows limits the items of a page for which no larger limit was requested.
// The size of the response limits them too.
const maxRows = 10_000

// items decodes the array of a page. Each item is allocated separately, so
// retaining one does not retain the others. Strings equal to those of the
// previous item are shared with it.
func (l *listing[T]) items(d *lenient.Decoder, p *Page[T]) error {
	start := d.Offset()
	p.Items = make([]*T, 0, min(max(l.limit, 0), pageLimit))
	err := d.Elements(func() error {
		if len(p.Items) >= max(maxRows, l.limit) {
			return errors.New("more items than requested")
		}
		if err := d.Charge(int(reflect.TypeFor[T]().Size())); err != nil {
			return err
		}
		item := new(T)
		like := item
		if n := len(p.Items); n > 0 {
			like = p.Items[n-1]
		}
		d.Peek()
		at := d.Offset()
		if err := d.Like(item, like); err != nil {
			return err
		}
		finish(d, item, at)
		p.Items = append(p.Items, item)
		return nil
	})
	if err == nil && len(p.Items) > 0 && l.id(p.Items[0]) == "" {
		p.sum = maphash.Bytes(pageSeed, d.Since(start))
	}
	return err
}

// envelope decodes the array and the members around it.
func (l *listing[T]) envelope(d *lenient.Decoder, p *Page[T]) error {
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
			return optional(d, &p.more)
		case "next_cursor":
			return optional(d, &p.NextCursor)
		case "next":
			return l.next(d, p)
		}
		rank, named := arrayNames[string(key)]
		if string(key) == l.name {
			rank, named = 0, true
		}
		switch first := d.Peek(); {
		case named && rank < best && first == '[':
			best = rank
			return l.items(d, p)
		case named && first == 'n' && best == math.MaxInt:
			best = len(arrayNames) + 1 // an empty list, unless another name holds an array
		}
		return d.Skip()
	})
	switch {
	case err != nil:
		return err
	case best == math.MaxInt:
		return fmt.Errorf("the response contains no list: neither %s nor items, data or results", l.name)
	case p.more == nil && page >= 0 && pages >= 0:
		more := page < pages
		p.more = &more
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
func (l *listing[T]) next(d *lenient.Decoder, p *Page[T]) error {
	var next string
	if err := d.Value(&next); err != nil {
		return err
	}
	switch {
	case next == "" && p.more == nil && p.NextCursor == "":
		p.more = new(bool)
	case strings.Contains(next, "/") || strings.Contains(next, "?"):
		more := true
		p.more = &more
	case next != "":
		p.NextCursor = next
	}
	return nil
}

var arrayNames = map[string]int{"items": 1, "data": 2, "results": 3}

var pageSeed = maphash.MakeSeed()

// fingerprint identifies a page by the ids of its items.
func (l *listing[T]) fingerprint(p *Page[T]) uint64 {
	if p.sum != 0 {
		return p.sum
	}
	var h maphash.Hash
	h.SetSeed(pageSeed)
	for _, item := range p.Items {
		_, _ = h.WriteString(l.id(item))
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// all iterates over a list, page by page. Lists are newest first, so new rows
// shift the others while it pages; items that were already on the previous page
// are skipped. A list that does not end by itself ends with ErrPageLoop.
func (l listing[T]) all(ctx context.Context, op string, fetch func(context.Context, *listing[T]) (*Page[T], error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		l := l
		if l.limit <= 0 {
			l.limit = pageLimit
		}
		loop := func(what string) {
			yield(nil, fmt.Errorf("connic: %s: %w: %s", op, ErrPageLoop, what))
		}
		seen := make(map[uint64]bool)
		cursors := make(map[string]bool)
		var before map[string]bool
		empty := 0
		for range maxPages {
			page, err := fetch(ctx, &l)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page.Items) > 0 {
				empty = 0
				sum := l.fingerprint(page)
				if seen[sum] {
					loop("the service returned the same page twice")
					return
				}
				seen[sum] = true
			} else if empty++; empty > maxEmptyPages {
				loop("the service returns empty pages endlessly")
				return
			}
			ids := make(map[string]bool, len(page.Items))
			for _, item := range page.Items {
				id := l.id(item)
				if id != "" {
					ids[id] = true
					if before[id] {
						continue
					}
				}
				if !yield(item, nil) {
					return
				}
			}
			before = ids
			if !page.HasNext() {
				return
			}
			l.offset += len(page.Items)
			if l.cursor = page.NextCursor; l.cursor != "" {
				if cursors[l.cursor] {
					loop("the service repeats a cursor")
					return
				}
				cursors[l.cursor] = true
			} else if len(page.Items) == 0 {
				return // there is no way to advance
			}
		}
		loop(fmt.Sprintf("more than %d pages", maxPages))
	}
}

// Collect returns the items of an iterator, at most max of them; 0 means all.
// It stops at the first error and returns the items up to it with that error.
// An iterator from this package requests no page beyond the one that holds the
// last item.
func Collect[T any](seq iter.Seq2[T, error], max int) ([]T, error) {
	var items []T
	for item, err := range seq {
		if err != nil {
			return items, err
		}
		items = append(items, item)
		if max > 0 && len(items) >= max {
			break
		}
	}
	return items, nil
}
