package connector

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
)

const (
	// maxItems is the maximum length of a slice of items.
	maxItems = 1000
	// maxItemErrors is how many errors of a batch are kept.
	maxItemErrors = 10
)

// collected are items for a handler of slices.
type collected struct {
	kind  Kind
	many  func(context.Context, []Delivery) error
	first int // the position of the first item
	items []Delivery
}

// batch passes on the items of a batch.
func (m *Mux) batch(ctx context.Context, d Delivery) error {
	var failed itemErrors
	var pending []*collected
	flush := func(c *collected) {
		items := c.items
		c.items = nil // the handler may keep them
		if len(items) > 0 {
			failed.add(c.first, len(items), unless(ctx, func() error { return c.many(ctx, items) }))
		}
	}
	n := 0
	for item := range d.Items() {
		at := n
		n++
		h := m.find(&item)
		if h.one != nil {
			failed.add(at, 1, unless(ctx, func() error { return h.one(ctx, item) }))
			continue
		}
		i := slices.IndexFunc(pending, func(c *collected) bool { return c.kind == item.Kind })
		if i < 0 {
			i = len(pending)
			pending = append(pending, &collected{kind: item.Kind, many: h.many})
		}
		to := pending[i]
		if len(to.items) == 0 {
			to.first = at
		}
		if to.items = append(to.items, item); len(to.items) == maxItems {
			flush(to)
		}
	}
	for _, c := range pending {
		flush(c)
	}
	switch {
	case n == 0:
		return m.fallback(ctx, d)
	case failed.count > 0:
		return &failed
	}
	return nil
}

// unless calls a handler safely, unless the context has ended.
func unless(ctx context.Context, handle func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return safely(handle)
}

// safely calls a handler, and returns its panic as an error.
// [http.ErrAbortHandler] is passed on.
func safely(handle func() error) (err error) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			panic(p) //nolint:forbidigo // it is not ours
		}
		if p != nil {
			err = &panicError{fmt.Sprintf("connic: connector: the handler panicked: %v\n%s", p, debug.Stack())}
		}
	}()
	return handle()
}

// panicError is a panic of a handler, with its stack.
type panicError struct{ text string }

func (e *panicError) Error() string { return e.text }

// itemErrors are the errors of a batch.
type itemErrors struct {
	count     int     // of items that were not handled
	errs      []error // the first of them
	temporary bool    // one of them is not permanent
}

func (e *itemErrors) add(first, n int, err error) {
	if err == nil {
		return
	}
	e.count += n
	e.temporary = e.temporary || !isPermanent(err)
	if len(e.errs) < maxItemErrors {
		e.errs = append(e.errs, fmt.Errorf("[%d]: %w", first, err))
	}
}

func (e *itemErrors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connic: connector: %d items of a batch were not handled: ", e.count)
	for i, err := range e.errs {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap returns the first errors.
func (e *itemErrors) Unwrap() []error { return e.errs }

// isPermanent reports whether an error is marked by [Permanent]. That of a batch
// is if all of them are.
func isPermanent(err error) bool {
	if batch := (*itemErrors)(nil); errors.As(err, &batch) {
		return !batch.temporary
	}
	final := (*permanent)(nil)
	return errors.As(err, &final)
}
