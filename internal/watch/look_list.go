package watch

import (
	"context"
	"time"
)

// listOnlyPages is the least number of pages that are searched for an item that
// cannot be fetched by its id.
const listOnlyPages = 5

// lookInList pages through the list until all items were seen that are worth a
// request. It reports whether the poll continues.
func (w *Watch[T]) lookInList(ctx context.Context, seen map[string]bool) bool {
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
	most := max(1, min(len(known), 2*len(known)/w.PageSize+8))
	if w.kind.Get == nil {
		most = max(most, listOnlyPages)
	}
	w.probed = true
	fetch := w.kind.List(known)
	var at Position
	top, reached := w.top, false
	for page := 1; page <= most; page++ {
		p, err := ask(ctx, w, func(ctx context.Context, a Ask) (Page[T], error) { return fetch(ctx, at, a) })
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
				w.top = p.Row(p.Items[0])
			}
		}
		for _, item := range p.Items {
			reached = reached || top != "" && p.Row(item) == top
			id := w.kind.ID(item)
			t := w.things[id]
			if t == nil || seen[id] {
				continue
			}
			if w.kind.Partial != nil && w.kind.Partial(item) {
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
		if !p.More || len(p.Items) == 0 || wanted <= 0 && (hidden <= 0 || reached) || wanted <= few && w.kind.Get != nil {
			break
		}
		at = p.Next
	}
	if w.kind.Get == nil {
		w.unlisted(seen)
	}
	return w.kind.Get != nil
}

// unlisted records that the list does not show the items that were not seen.
func (w *Watch[T]) unlisted(seen map[string]bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, t := range w.things {
		if seen[id] || t.look != w.looks {
			continue
		}
		t.sought = !t.listed
		if w.kind.Absent != nil {
			w.see(t, w.kind.Absent(id), now)
		} else {
			w.fail(t, w.Unlisted(w.kind.Name), now)
		}
	}
}

// listFailed handles a failed list request. It reports whether to fetch items
// one by one instead.
func (w *Watch[T]) listFailed(err error, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.Judge(err)
	if w.kind.Get != nil {
		switch v.List {
		case ListUseless:
			w.listing = listRefused
			return true
		case ListLater:
			w.relist = now.Add(time.Minute)
			return true
		}
	}
	w.covered(now)
	w.failAll(err, now, v.Hopeless)
	return false
}
