package list

import (
	"fmt"
	"hash/maphash"
)

const (
	// maxPages ends lists that would otherwise never end.
	maxPages = 10_000
	// maxFruitless is how many pages in a row may contain nothing new.
	maxFruitless = 20
	// marking is that one new item of a page in so many is never forgotten.
	marking = 16
)

// A Walk decides which page of a list to request next. Lists may change between
// two pages: rows are added in front, which moves the others down, and rows are
// deleted, which moves those below up. Items that were there all the time are
// passed on exactly once, in order.
//
// A page that begins where the previous one ended shows nothing of a deletion
// in front of it. It is trusted only while the service reports a total that
// does not change. Otherwise, pages overlap by one row: one that contains no
// item of a former page is not passed on, but read again further up, and one
// that contains only such items tells how far down the list continues.
//
// Cursors are trusted. Items without an id cannot be recognized: their list
// must not change its total, and changes that leave no trace in a total are
// not noticed.
type Walk[T any] struct {
	// Longest is the number of rows on the longest page. A shorter page is not cut
	// by the service. Walks through the same list can pass it on, which saves those
	// after the first one a request for a list that tells nothing about its length.
	Longest int

	id    func(*T) string
	first int      // the offset where the walk began
	at    Position // of the page that comes next
	memory
	marks map[uint64]struct{} // cursors, pages without ids, and some of the items of each page
	sums  []uint64            // of the items of the current page, 0 without an id

	tail    int      // the offset of the last item, if nothing has changed since
	overlap bool     // the list changes, or may do so unnoticed
	need    bool     // the page that comes next has to overlap
	noIDs   bool     // there was an item without an id
	split   int      // items up to this number may stand further down than later ones
	held    *Page[T] // a page that did not overlap

	pages, fruitless int // all of them, and those without a new item in a row
	total, fresh     int // of the last page; new items of the last page that had any
	back             int // steps back in a row
	repeats, reached int // of pages without a new item: equal ones, and the last item shown
	rows             int // of the last page, and its first and last item
	ends             [2]uint64
}

// A Turn says what follows a page.
type Turn struct {
	Next Position
	End  bool
	// Loop is the reason why the list cannot be read to its end, or empty.
	Loop string
}

// NewWalk returns a walk that begins at a position. id returns the id of a row,
// "" if it has none.
func NewWalk[T any](id func(*T) string, at Position) *Walk[T] {
	return &Walk[T]{id: id, first: at.Offset, at: at}
}

// A LoopError is the end of a list that cannot be read to its end.
type LoopError struct{ Reason string }

func (e *LoopError) Error() string { return e.Reason }

// Pages fetches page after page, and calls visit for each that contains new
// items, reduced to these. It ends when visit returns false, with the list,
// with an error of fetch, or with a [*LoopError].
func (w *Walk[T]) Pages(fetch func(Position) (*Page[T], error), visit func(*Page[T]) bool) error {
	for {
		p, err := fetch(w.at)
		if err != nil {
			return err
		}
		turn := w.Turn(p)
		switch {
		case len(p.Items) > 0 && !visit(p):
			return nil
		case turn.Loop != "":
			return &LoopError{turn.Loop}
		case turn.End:
			return nil
		}
	}
}

// Turn decides what follows the page that was requested at the last Next. It
// reduces p.Items to the new items, none if the page is to be read again.
func (w *Walk[T]) Turn(p *Page[T]) Turn {
	w.pages++
	if p.rows == 0 {
		p.rows = len(p.Items)
	}
	t := w.turn(p)
	if len(p.Items) > 0 {
		w.fresh, w.fruitless = len(p.Items), 0
	} else {
		w.fruitless++
	}
	switch {
	case t.End || t.Loop != "":
	case w.pages >= maxPages:
		t.Loop = fmt.Sprintf("more than %d pages", maxPages)
	case w.fruitless > maxFruitless:
		t.Loop = fmt.Sprintf("%d pages in a row contain nothing new: the service repeats itself, or the list changes faster than it can be read", w.fruitless)
	}
	w.total, w.at = p.Total, t.Next
	return t
}

// Reasons why a list cannot be read to its end.
const (
	samePage  = "the service returns the same page again, or the list grows as fast as it is read"
	forgotten = "items return that were read long before: the list starts over, or changed too much while it was read"
	anonymous = "the list changed while it was read, and its items have no ids"
)

// A view is what a page shows of the items of former pages.
type view struct {
	known       int  // how many
	first, last int  // indexes of the first and the last one
	low, high   int  // their numbers
	marked      bool // an item that is marked is not remembered
}

func (w *Walk[T]) turn(p *Page[T]) Turn {
	cursors := w.at.Cursor != "" || p.NextCursor != ""
	changed, grown := w.pages > 1 && p.Total != w.total, 0
	if changed && p.Total >= 0 && w.total >= 0 {
		grown = p.Total - w.total
	}
	w.overlap = w.overlap || p.Total < 0 || changed
	w.Longest = max(w.Longest, p.rows)
	same := w.repeated(p)
	w.join(p)
	v := w.look(p.Items)
	n := len(p.Items)
	stop := func(loop string) Turn {
		p.Items = nil
		return Turn{Loop: loop}
	}
	switch {
	case same && w.pages == 2 && (p.unpaged() || p.last && p.Total < 0):
		p.Items = nil
		return Turn{End: true}
	case p.sum != 0 && w.marked(p.sum):
		return stop(samePage)
	case cursors:
	case w.noIDs && grown != 0:
		return stop(anonymous)
	case v.known == 0 && !w.noIDs && w.at.Offset > w.first && (w.need || changed):
		if v.marked {
			return stop(forgotten)
		}
		return w.stepBack(p, grown)
	}
	w.back = 0
	tail := w.tail // where the last item is now
	switch {
	case v.known > 0:
		tail = w.at.Offset + v.last + w.last - v.high
	case v.known == 0 && w.pages > 1 && w.at.Offset <= w.first && !cursors:
		tail, w.split = w.first-1, w.last
	}
	shift := max(0, w.tail-tail)
	w.tail = w.at.Offset + n - 1
	if v.known > 0 && v.last == n-1 && v.high > w.split {
		w.tail = tail
	}
	if !w.take(p, v) {
		return stop(forgotten)
	}
	switch {
	case !w.more(p, n):
		return Turn{End: true}
	case len(p.Items) > 0:
		w.repeats, w.reached = 0, 0
	case n > 0:
		if same {
			w.repeats++
		}
		unmoved := cursors && v.high <= w.reached || same && (p.Total >= 0 || w.repeats > 1)
		if unmoved && grown <= 0 {
			return Turn{Loop: samePage}
		}
		w.reached = v.high
	}
	if p.NextCursor != "" {
		if w.marked(^maphash.String(seed, p.NextCursor)) {
			return Turn{Loop: "the service repeats a cursor"}
		}
		return Turn{Next: Position{w.at.Offset + n, p.NextCursor}}
	}
	if n == 0 {
		return Turn{End: true} // there is no way to advance
	}
	return Turn{Next: Position{Offset: w.advance(shift)}}
}

// advance returns the offset after a page that was passed on.
func (w *Walk[T]) advance(shift int) int {
	w.need = w.overlap && !w.noIDs && w.tail > w.at.Offset
	if !w.need {
		return w.tail + 1
	}
	// Rows are likely to be deleted again, above all by a caller who deletes what
	// is yielded.
	if shift > w.Longest/2 && shift < w.fresh {
		shift = 0
	}
	return max(w.first, w.tail-shift)
}

// stepBack returns to the rows between the last item and a page that does not
// show it.
func (w *Walk[T]) stepBack(p *Page[T], grown int) Turn {
	at := w.at.Offset
	next := at - max(1, w.Longest-1)<<min(w.back, maxFruitless/2)
	switch {
	case w.back > 0:
	case grown > at: // all rows of the page are new
		next = w.tail + grown
	case grown < 0 || !w.need:
		next = w.tail + min(grown, 0)
	}
	if p.Total < 0 {
		held := *p
		w.held = &held
	}
	p.Items = nil
	w.back++
	w.need = true
	return Turn{Next: Position{Offset: max(w.first, next)}}
}

// join appends the rest of the page that was held, if p overlaps with it.
func (w *Walk[T]) join(p *Page[T]) {
	held := w.held
	if w.held = nil; held == nil || len(p.Items) == 0 {
		return
	}
	last := w.sum(p.Items[len(p.Items)-1])
	for i, item := range held.Items {
		if last != 0 && w.sum(item) == last {
			p.Items = append(p.Items, held.Items[i+1:]...)
			p.Bad = append(p.Bad, held.Bad...)
			p.rows, p.More = held.rows, held.More
			return
		}
	}
}

// more reports whether there are rows below the page, which has n items. A page
// that is shorter than the limit may have been cut by the service: it ends the
// list only if it is also shorter than another page.
func (w *Walk[T]) more(p *Page[T], n int) bool {
	switch {
	case p.More != nil:
		return *p.More
	case p.NextCursor != "":
		return true
	case p.Total >= 0:
		return w.at.Offset+n < p.Total
	default:
		known := p.last || p.Limit != p.asked // the service has a limit of its own
		return n > 0 && p.Limit > 0 && p.rows >= w.Longest && (!known || p.rows >= p.Limit)
	}
}

// unpaged reports whether a page, once returned again, is the whole list of a
// service without pages.
func (p *Page[T]) unpaged() bool {
	return p.More == nil && p.NextCursor == "" && p.Total < 0 && p.Limit == p.asked && p.rows != p.asked
}

// sum returns the hash of an item's id, 0 if it has none.
func (w *Walk[T]) sum(item *T) uint64 {
	if id := w.id(item); id != "" {
		return max(1, maphash.String(seed, id))
	}
	return 0
}

// repeated reports whether a page has as many rows as the last one, of which
// the first and the last are the same.
func (w *Walk[T]) repeated(p *Page[T]) bool {
	rows, ends := w.rows, w.ends
	if w.rows = len(p.Items); w.rows == 0 {
		return false
	}
	w.ends = [2]uint64{w.sum(p.Items[0]), w.sum(p.Items[w.rows-1])}
	if w.ends[0] == 0 {
		w.ends[0] = p.sum
	}
	return w.rows == rows && w.ends == ends
}

// look compares the items of a page with those of former pages.
func (w *Walk[T]) look(items []*T) (v view) {
	w.sums = w.sums[:0]
	for i, item := range items {
		sum := w.sum(item)
		w.sums = append(w.sums, sum)
		if sum == 0 {
			w.noIDs = true
			continue
		}
		number, ok := w.number(sum)
		if !ok {
			_, marked := w.marks[sum]
			v.marked = v.marked || marked
			continue
		}
		if v.known++; v.known == 1 {
			v.first, v.low = i, number
		}
		v.last, v.high = i, number
	}
	return v
}

// take reduces the items of a page to the new ones, and remembers these. It
// returns false if it meets an item that is marked, but not remembered.
func (w *Walk[T]) take(p *Page[T], v view) bool {
	n, size := len(p.Items), max(remembered, w.Longest)
	// Rows above all that is remembered were forgotten, or are new.
	above := 0
	if v.known > 0 && w.oldest > 0 && v.low-w.oldest <= 2*n {
		above = v.first
	}
	fresh := p.Items[:0]
	for i, item := range p.Items {
		sum := w.sums[i]
		if sum == 0 {
			fresh = append(fresh, item)
			continue
		}
		if _, ok := w.number(sum); ok || i < above {
			continue
		}
		if len(fresh)%marking == 0 {
			if w.marked(sum) {
				return false
			}
		} else if _, ok := w.marks[sum]; ok {
			return false
		}
		number := w.last + 1
		if v.known > 0 && i < v.last {
			number = v.high // it stands above the last item
		}
		w.note(sum, number, size)
		fresh = append(fresh, item)
	}
	clear(p.Items[len(fresh):])
	p.Items = fresh
	return true
}

// marked marks a hash, and reports whether it was marked before.
func (w *Walk[T]) marked(sum uint64) bool {
	if _, ok := w.marks[sum]; ok {
		return true
	}
	if w.marks == nil {
		w.marks = make(map[uint64]struct{})
	}
	w.marks[sum] = struct{}{}
	return false
}
