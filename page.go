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
	"github.com/connic-go/connic/internal/list"
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

	bad func(*T) error // see listing.keepBad
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
	// keepBad makes an item that cannot be decoded an item of the page, with what
	// can be decoded.
	keepBad bool
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
	if l.keepBad {
		kind := list.Kind[T]{Name: l.name, ID: l.id, Item: decodeItem[T], KeepBad: true}
		p, err := kind.Decode(d, list.Position{Offset: l.offset, Cursor: l.cursor}, l.limit)
		return &Page[T]{
			Items: p.Items, Total: p.Total, Limit: p.Limit, Offset: p.Offset, NextCursor: p.NextCursor, more: p.More, bad: p.Failure,
		}, err
	}
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

// decodeItem decodes an item of a list. Strings equal to those of like, which may be
// nil, are shared with it.
func decodeItem[T any](d *lenient.Decoder, like *T) (*T, error) {
	item := new(T)
	if like == nil {
		like = item
	}
	d.Peek()
	at := d.Offset()
	if err := d.Like(item, like); err != nil {
		return nil, err
	}
	finish(d, item, at)
	return item, nil
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
		var like *T
		if n := len(p.Items); n > 0 {
			like = p.Items[n-1]
		}
		item, err := decodeItem(d, like)
		if err != nil {
			return err
		}
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

// all iterates over a list, page by page.
func (l listing[T]) all(ctx context.Context, op string, fetch func(context.Context, *listing[T]) (*Page[T], error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		w := walk[T]{id: l.id, total: -1}
		l := l
		if l.limit <= 0 {
			l.limit = pageLimit
		}
		for {
			page, err := fetch(ctx, &l)
			if err != nil {
				yield(nil, err)
				return
			}
			turn := w.page(&l, page)
			for _, item := range page.Items {
				if turn.skip || !w.fresh(item) {
					continue
				}
				if !yield(item, nil) {
					return
				}
			}
			switch {
			case turn.loop != "":
				yield(nil, fmt.Errorf("connic: %s: %w: %s", op, ErrPageLoop, turn.loop))
				return
			case turn.end:
				return
			}
		}
	}
}

// walk follows a list that may change while it is read.
type walk[T any] struct {
	id           func(*T) string
	seen, before map[uint64]struct{} // hashes of the ids of the last items
	pages        int
	idle         int // consecutive pages without a new item
	total        int // as the last page reported it, or -1
	cursors      map[string]bool
}

// turn says what to do with a page, and where the next one begins.
type turn struct {
	skip bool // the page begins too late: it is read again
	end  bool
	loop string // the list does not end
}

func (w *walk[T]) fresh(item *T) bool {
	id := w.id(item)
	if id == "" {
		return true
	}
	sum := maphash.String(pageSeed, id)
	if w.knows(sum) {
		return false
	}
	w.note(sum)
	return true
}

// remembered is how many items each of the two generations holds: rows that are
// added between two pages shift at most that many.
const remembered = 512

func (w *walk[T]) knows(sum uint64) bool {
	_, now := w.seen[sum]
	_, before := w.before[sum]
	return now || before
}

func (w *walk[T]) note(sum uint64) {
	if w.seen == nil {
		w.seen = make(map[uint64]struct{}, pageLimit)
	}
	if len(w.seen) >= remembered {
		w.seen, w.before = w.before, w.seen
		clear(w.seen)
		if w.seen == nil {
			w.seen = make(map[uint64]struct{}, remembered)
		}
	}
	w.seen[sum] = struct{}{}
}

// page decides, from a page at l, what follows, and moves l there.
func (w *walk[T]) page(l *listing[T], p *Page[T]) (t turn) {
	if w.pages++; w.pages >= maxPages {
		return turn{loop: fmt.Sprintf("more than %d pages", maxPages)}
	}
	shrunk := w.total - p.Total
	grown := p.Total > w.total && w.total >= 0
	first := w.total < 0 && w.pages == 1
	if p.Total < 0 {
		shrunk = 0
	}
	w.total = p.Total
	if shrunk > 0 && !first && l.cursor == "" && l.offset > 0 {
		// Rows in front of this page were deleted: what stands here now stood
		// further down, and the rows between were never seen.
		l.offset = max(0, l.offset-shrunk)
		return turn{skip: true}
	}
	known := 0
	for _, item := range p.Items {
		if id := w.id(item); id != "" {
			if w.knows(maphash.String(pageSeed, id)) {
				known++
			}
		}
	}
	if known == len(p.Items) || p.sum != 0 && w.repeats(p.sum) {
		if w.idle++; len(p.Items) > 0 && !grown || w.idle > maxEmptyPages {
			if len(p.Items) > 0 {
				return turn{loop: "the service returned the same page twice"}
			}
			return turn{loop: "the service returns empty pages endlessly"}
		}
	} else {
		w.idle = 0
	}
	if !p.HasNext() {
		return turn{end: true}
	}
	l.offset += len(p.Items)
	if l.cursor = p.NextCursor; l.cursor != "" {
		if w.cursors == nil {
			w.cursors = make(map[string]bool)
		}
		if w.cursors[l.cursor] {
			return turn{loop: "the service repeats a cursor"}
		}
		w.cursors[l.cursor] = true
	} else if len(p.Items) == 0 {
		return turn{end: true} // there is no way to advance
	}
	return turn{}
}

// repeats records the fingerprint of a page of items without ids.
func (w *walk[T]) repeats(sum uint64) bool {
	if w.knows(sum) {
		return true
	}
	w.note(sum)
	return false
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
