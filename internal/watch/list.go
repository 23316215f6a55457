package watch

import (
	"context"
	"time"
)

// listOnlyPages is the least number of pages that are searched for an item that
// cannot be fetched by its id.
const listOnlyPages = 5

// walk pages through the list until all items were seen that are worth a
// request. It reports whether the list served, and whether the poll continues
// with the items that were not seen.
func (w *Watch[T]) walk(ctx context.Context, seen map[string]bool) (served, more bool) {
	w.mu.Lock()
	w.walks++
	var last []*T
	hidden := 0 // items that the last walk did not show: only those that are new are in the list
	for _, t := range w.items {
		if t.ended {
			continue
		}
		t.walk = w.walks
		last = append(last, t.last)
		if t.hidden {
			hidden++
		}
	}
	wanted := len(last) - hidden
	// The list also contains other items. Items further down are fetched by id.
	most := max(1, min(len(last), 2*len(last)/w.conf.PageSize+8))
	if w.kind.Get == nil {
		most = max(most, listOnlyPages)
	}
	w.probed = true
	top, reached := w.top, false
	w.mu.Unlock()
	fetch := w.kind.List(last)
	var at Position
	for page := 1; page <= most; page++ {
		p, err := ask(ctx, w, func(ctx context.Context, a Ask) (Page[T], error) { return fetch(ctx, at, a) })
		if ctx.Err() != nil {
			return true, false
		}
		now := time.Now()
		if err != nil {
			return false, w.listFailed(err, now)
		}
		w.mu.Lock()
		w.listing, w.pages = listWorks, page
		if page == 1 {
			w.covered(now)
			if w.top = ""; len(p.Items) > 0 {
				w.top = p.Row(p.Items[0])
			}
		}
		for _, value := range p.Items {
			reached = reached || top != "" && p.Row(value) == top
			t := w.items[w.kind.ID(value)]
			if t == nil || t.ended || seen[t.id] {
				continue
			}
			switch {
			case t.walk != w.walks: // it was added in the meantime
			case t.hidden:
				hidden--
			default:
				wanted--
			}
			t.walk, t.listed, t.hidden = w.walks-1, true, false // counted
			w.shown(t, value, &p, seen, now)
		}
		w.mu.Unlock()
		if !p.More || len(p.Items) == 0 || wanted <= 0 && (hidden <= 0 || reached) {
			break
		}
		if wanted <= few && w.kind.Get != nil {
			return true, true
		}
		at = p.Next
	}
	w.unlisted(seen)
	return true, w.kind.Get != nil
}

// shown records an item of the list, unless it has to be fetched.
func (w *Watch[T]) shown(t *item[T], value *T, p *Page[T], seen map[string]bool, now time.Time) {
	var bad error
	if p.Bad != nil {
		bad = p.Bad(value)
	}
	switch {
	case w.kind.Get != nil && bad != nil:
	case w.kind.Partial != nil && w.kind.Partial(value):
		t.ended = w.kind.State(value).Done
	case bad != nil:
		seen[t.id] = true
		w.fail(t, bad, now)
	default:
		seen[t.id] = true
		w.see(t, value, now)
	}
}

// covered sets the time of the next poll of every wait.
func (w *Watch[T]) covered(now time.Time) {
	for x := range w.waits {
		x.polled(now)
	}
}

// unlisted records that the list does not show the items that were not seen. The
// next walk does not go further down for them.
func (w *Watch[T]) unlisted(seen map[string]bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, t := range w.items {
		if seen[id] || t.walk != w.walks {
			continue
		}
		t.hidden = !t.listed || w.kind.Get != nil
		switch {
		case w.kind.Get != nil: // it is fetched
		case w.kind.Absent != nil:
			w.see(t, w.kind.Absent(id), now)
		default:
			w.fail(t, w.conf.Unlisted(w.kind.Name), now)
		}
	}
}

// listFailed records a list request that failed. It reports whether to fetch
// items one by one instead.
func (w *Watch[T]) listFailed(err error, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.conf.Judge(err)
	if w.kind.Get != nil {
		switch v.List {
		case ListUseless:
			w.listing = listUseless
			return true
		case ListLater:
			w.relist = now.Add(time.Minute)
			return true
		case ListFailed:
		}
	}
	w.covered(now)
	w.failAll(err, now, v.Hopeless)
	return false
}
