package connic

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/list"
)

// pageLimit is the maximum Limit, and the default of the All methods.
const pageLimit = 100

// A Page is one page of a list.
type Page[T any] struct {
	Items []*T `json:"items"`
	// Total is the total number of items, or -1 if the service does not report
	// it.
	Total int `json:"total"`
	// Limit and Offset are taken from the response or, failing that, from the
	// request.
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
	// NextCursor identifies the next page, if the service uses cursors.
	NextCursor string `json:"next_cursor,omitzero"`
	// HasMore is whether the service says that there are further pages, or nil
	// if it does not say. See HasNext.
	HasMore *bool `json:"has_more,omitzero"`
}

// HasNext reports whether there are further pages, as far as this page shows.
func (p *Page[T]) HasNext() bool {
	return (&list.Page[T]{
		Items: p.Items, Total: p.Total, Limit: p.Limit, Offset: p.Offset, NextCursor: p.NextCursor, More: p.HasMore,
	}).HasNext()
}

// listing is a list operation with its arguments.
type listing[T any] struct {
	scope         *scope
	request       request // without the paging parameters
	err           error   // refuses the arguments
	name          string  // that this section uses for the array
	id            func(*T) string
	limit, offset int
	complete      func([]*T) // adds to the items what the list omits; may be nil
	keepBad       bool       // items that cannot be decoded are items of the page, as far as they can
}

// fetch requests the page at a position.
func (l *listing[T]) fetch(ctx context.Context, at list.Position, opts []RequestOption) (*list.Page[T], error) {
	bad := func(arg, reason string) (*list.Page[T], error) {
		return nil, &ArgumentError{Op: api.Table[l.request.op].Name, Arg: arg, Reason: reason}
	}
	switch {
	case l.err != nil:
		return nil, l.err
	case l.limit < 0 || l.limit > pageLimit:
		return bad("limit", fmt.Sprintf("is not between 0 and %d", pageLimit))
	case at.Offset < 0:
		return bad("offset", "is negative")
	}
	r := l.request
	r.query = slices.Clip(r.query) // other pages have the same beginning
	r.query.addInt("limit", l.limit)
	if at.Cursor != "" {
		r.query.add("cursor", at.Cursor)
	} else {
		r.query.addInt("offset", at.Offset)
	}
	return do(ctx, l.scope, r, func(d *lenient.Decoder) (*list.Page[T], error) {
		kind := list.Kind[T]{Name: l.name, ID: l.id, Item: decodeItem[T], KeepBad: l.keepBad}
		p, err := kind.Decode(d, at, l.limit)
		if err == nil && l.complete != nil {
			l.complete(p.Items)
		}
		return &p, err
	}, opts)
}

// decodeItem decodes an item of a list, sharing strings with the previous one.
func decodeItem[T any](d *lenient.Decoder, like *T) (*T, error) {
	item, at := new(T), d.Offset()
	if like == nil {
		like = item
	}
	if err := d.Like(item, like); err != nil {
		return nil, err
	}
	finish(d, item, at)
	return item, nil
}

// page requests the page that the caller selected.
func (l listing[T]) page(ctx context.Context, opts []RequestOption) (*Page[T], error) {
	p, err := l.fetch(ctx, list.Position{Offset: l.offset}, opts)
	if err != nil {
		return nil, err
	}
	return &Page[T]{p.Items, p.Total, p.Limit, p.Offset, p.NextCursor, p.More}, nil
}

// all iterates over the list, page by page.
func (l listing[T]) all(ctx context.Context, opts []RequestOption) iter.Seq2[*T, error] {
	if l.limit == 0 {
		l.limit = pageLimit
	}
	return func(yield func(*T, error) bool) {
		w := list.NewWalk(l.id, list.Position{Offset: l.offset})
		if err := l.walk(ctx, w, opts, func(item *T) bool { return yield(item, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// walk yields the items of the list until yield returns false.
func (l listing[T]) walk(ctx context.Context, w *list.Walk[T], opts []RequestOption, yield func(*T) bool) error {
	return l.pages(ctx, w, opts, func(items []*T) bool {
		for _, item := range items {
			if !yield(item) {
				return false
			}
		}
		return true
	})
}

// pages is like walk for the items of a page at a time.
func (l listing[T]) pages(ctx context.Context, w *list.Walk[T], opts []RequestOption, visit func([]*T) bool) error {
	err := w.Pages(func(at list.Position) (*list.Page[T], error) { return l.fetch(ctx, at, opts) }, func(p *list.Page[T]) bool { return visit(p.Items) })
	var loop *list.LoopError
	if errors.As(err, &loop) {
		return fmt.Errorf("connic: %s: %w: %s", api.Table[l.request.op].Name, ErrPageLoop, loop.Reason)
	}
	return err
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
