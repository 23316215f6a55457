package connic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/connic-go/connic/internal/exchange"
)

// listOnlyPages is the least number of pages that are searched for an item that
// cannot be fetched by its id.
const listOnlyPages = 5

// lookInList pages through the list until all items were seen that are worth a
// request. It reports whether the poll continues.
func (w *watch[T]) lookInList(ctx context.Context, seen map[string]bool) bool {
	w.mu.Lock()
	w.looks++
	known := make([]*T, 0, len(w.things))
	hidden := 0 // items that can only be new: above the former top
	for _, t := range w.things {
		t.look = w.looks
		known = append(known, t.seen)
		if t.sought {
			hidden++
		}
	}
	wanted := len(known) - hidden
	w.mu.Unlock()
	// The list also contains other items. Items further down are fetched by id.
	most := max(1, min(len(known), 2*len(known)/pageLimit+8))
	if w.kind.get == nil {
		most = max(most, listOnlyPages)
	}
	w.probed = true
	l, fetch := w.kind.list(known)
	top, reached := w.top, false
	for page := 1; page <= most; page++ {
		at := l // of the requests for this page, of which there may be two
		p, err := ask(ctx, w, func(ctx context.Context, opts []RequestOption) (*Page[T], error) {
			own := at
			return fetch(ctx, &own, opts)
		})
		if ctx.Err() != nil {
			return false
		}
		now := time.Now()
		if err != nil {
			return w.listFailed(err, now)
		}
		w.mu.Lock()
		w.listing, w.pages = listWorks, page
		if page == 1 {
			w.covered(now)
			w.top = ""
			if len(p.Items) > 0 {
				w.top = l.id(p.Items[0])
			}
		}
		for _, item := range p.Items {
			reached = reached || top != "" && l.id(item) == top
			id := w.kind.id(item)
			t := w.things[id]
			if t == nil || seen[id] {
				continue
			}
			if w.kind.partial != nil && w.kind.partial(item) {
				wanted-- // it is found, and fetched
				continue
			}
			seen[id] = true
			switch {
			case t.look != w.looks: // it was added in the meantime
			case t.sought:
				hidden--
			default:
				wanted--
			}
			t.listed, t.sought = true, false
			w.see(t, item, now)
		}
		w.mu.Unlock()
		if !p.HasNext() || len(p.Items) == 0 || wanted <= 0 && (hidden <= 0 || reached) || wanted <= few && w.kind.get != nil {
			break
		}
		l.offset += len(p.Items)
		l.cursor = p.NextCursor
	}
	if w.kind.get == nil {
		w.unlisted(seen)
	}
	return w.kind.get != nil
}

// unlisted records that the list does not show the items that were not seen.
func (w *watch[T]) unlisted(seen map[string]bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, t := range w.things {
		if seen[id] || t.look != w.looks {
			continue
		}
		t.sought = !t.listed
		if w.kind.absent != nil {
			w.see(t, w.kind.absent(id), now)
		} else {
			w.fail(t, fmt.Errorf("connic: %w: the list does not show the %s", ErrNotFound, w.kind.name), now)
		}
	}
}

// listFailed handles a failed list request. It reports whether to fetch items
// one by one instead.
func (w *watch[T]) listFailed(err error, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	var answer *Error
	var decode *DecodeError
	switch {
	case w.kind.get == nil:
	case errors.As(err, &answer):
		switch status := answer.StatusCode; {
		case status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
			w.listing = listRefused
			return true
		case exchange.IsFinal(status) && status != http.StatusUnauthorized:
			// The parameters are not taken, or something else answers for the service.
			// The items may be had all the same.
			w.relist = now.Add(time.Minute)
			return true
		}
	case errors.As(err, &decode):
		// The cause may be an unrelated item.
		w.relist = now.Add(time.Minute)
		return true
	}
	w.covered(now)
	w.failAll(err, now, hopeless(err))
	return false
}
