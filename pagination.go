package connic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"reflect"
	"strings"
)

const (
	// pageLimit is what the All methods ask for where the caller does not say.
	pageLimit = 100
	// maxPages and maxEmptyPages end lists that would never end by themselves.
	maxPages      = 10_000
	maxEmptyPages = 20
)

// Page is one page of a list.
type Page[T any] struct {
	Items []*T
	// Total is how many items there are in all, -1 if the service does not say.
	Total int
	// Limit and Offset are those of the answer, or else those that were asked for.
	Limit, Offset int
	// NextCursor leads to the next page, where the service pages by cursor.
	NextCursor string

	more *bool  // what the service says about further pages, nil if nothing
	sum  uint64 // of the text of items that have no id
}

// HasNext reports whether there are further pages, as far as the page can tell.
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

// listing describes a list operation: how its items are decoded, and what was
// asked for.
type listing[T, W any] struct {
	name   string // the section's own name for the array
	unwrap func(*W) *T
	// quick, if not nil, decodes arrays that need no tolerance.
	quick  func(array []byte) ([]*T, bool)
	id     func(*T) string
	limit  int
	offset int
	cursor string
}

// query adds the paging parameters.
func (l *listing[T, W]) query(q *query) {
	q.addInt("limit", l.limit)
	if l.cursor != "" {
		q.add("cursor", l.cursor)
		return
	}
	q.addInt("offset", l.offset)
}

// decode decodes a page in any of the envelopes that are known: a bare array, or
// an object that has the array under one of several names.
func (l *listing[T, W]) decode(body []byte) (*Page[T], error) {
	p := &Page[T]{Total: -1, Limit: l.limit, Offset: l.offset}
	array := bytes.TrimSpace(body)
	if len(array) > 0 && array[0] == '{' {
		var err error
		if array, err = l.envelope(body, p); err != nil {
			return nil, err
		}
	}
	if err := l.items(array, p); err != nil {
		return nil, err
	}
	if len(p.Items) > 0 && l.id(p.Items[0]) == "" {
		p.sum = maphash.Bytes(pageSeed, array)
	}
	if l.cursor != "" && p.NextCursor == "" && p.more == nil {
		p.more = new(bool) // the cursors came to an end
	}
	return p, nil
}

// items decodes the array of a page.
func (l *listing[T, W]) items(array []byte, p *Page[T]) error {
	if l.quick != nil {
		var ok bool
		if p.Items, ok = l.quick(array); ok {
			return nil
		}
	}
	items := make([]W, 0, countHint(array))
	if err := unmarshal(array, &items); err != nil {
		return err
	}
	p.Items = make([]*T, len(items))
	for i := range items {
		p.Items[i] = l.unwrap(&items[i])
	}
	return nil
}

// envelope reads what stands around the array, and returns the array.
func (l *listing[T, W]) envelope(body []byte, p *Page[T]) ([]byte, error) {
	var array []byte
	rank := len(arrayNames) + 1
	page, pages := -1, -1
	err := members(body, func(key, value []byte) error {
		name := string(key)
		set := func(v any) error {
			if string(value) == "null" {
				return nil // as if it were absent
			}
			return tolerateField(value, v, name)
		}
		switch name {
		case "total":
			return set(&p.Total)
		case "limit":
			return set(&p.Limit)
		case "offset":
			return set(&p.Offset)
		case "page":
			return set(&page)
		case "pages":
			return set(&pages)
		case "has_more":
			return set(&p.more)
		case "next_cursor":
			return set(&p.NextCursor)
		case "next":
			return l.next(value, p)
		}
		candidate := 0
		if name != l.name {
			if candidate = arrayNames[name]; candidate == 0 {
				if !json.Valid(value) {
					return &fieldError{field: name, err: errors.New("invalid JSON")}
				}
				return nil
			}
		}
		if candidate <= rank && (value[0] == '[' || string(value) == "null") {
			array, value, rank = value, array, candidate
		}
		if value != nil && !json.Valid(value) { // the one that will not be decoded
			return &fieldError{field: name, err: errors.New("invalid JSON")}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case array == nil:
		return nil, fmt.Errorf("the answer contains no list: neither %s nor items, data or results", l.name)
	case p.more == nil && page >= 0 && pages >= 0:
		more := page < pages
		p.more = &more
	}
	if string(array) == "null" {
		return []byte("[]"), nil
	}
	return array, nil
}

// next reads a "next" that is a cursor, a URL or null. A URL is never followed:
// it only says that there is more.
func (l *listing[T, W]) next(value []byte, p *Page[T]) error {
	var next string
	if err := tolerateField(value, &next, "next"); err != nil {
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

// tolerateField decodes one small value of an envelope.
func tolerateField(value []byte, v any, name string) error {
	if !json.Valid(value) {
		return &fieldError{field: name, err: errors.New("invalid JSON")}
	}
	return tolerate(value, reflect.ValueOf(v).Elem(), name)
}

// countHint guesses how many elements an array has, by the size of the first.
func countHint(array []byte) int {
	if len(array) < 2 || array[0] != '[' {
		return 0
	}
	first := skipSpace(array, 1)
	end, ok := skipValue(array, first)
	if !ok || end <= first {
		return 0
	}
	return min(len(array)*5/4/(end-first)+1, 1000)
}

var pageSeed = maphash.MakeSeed()

// fingerprint tells pages apart by the ids of their items.
func (l *listing[T, W]) fingerprint(p *Page[T]) uint64 {
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

// all iterates over a list, page after page. Rows shift while it pages, because
// lists are newest first and new rows come: an item that stood on the page
// before already is left out. A list that does not come to an end by itself ends
// with ErrPageLoop.
func (l listing[T, W]) all(ctx context.Context, op string, fetch func(context.Context, *listing[T, W]) (*Page[T], error)) iter.Seq2[*T, error] {
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
					loop("the service answered the same page twice")
					return
				}
				seen[sum] = true
			} else if empty++; empty > maxEmptyPages {
				loop("the service answers empty pages without end")
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
				return // nothing to move on by
			}
		}
		loop(fmt.Sprintf("more than %d pages", maxPages))
	}
}

// Collect gathers the items of an iterator, at most max of them; 0 means all.
// It stops at the first error and returns what it has with it. An iterator of
// this package sends no request beyond the page that holds the last item.
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
