package list

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

type row struct{ n int }

func rowID(r *row) string { return strconv.Itoa(r.n) }

// A service is a simulated list, newest row first, that changes between two
// requests.
type service struct {
	rnd        *rand.Rand
	rows       []int // their ids: the larger, the newer
	next       int
	envelope   int
	limit      int // asked for
	most       int // rows on a page
	adds       int // at most this many rows between two requests
	addsOne    int // one in so many times, 0 for never
	deletes    int
	delOne     int
	caller     int // deletes so many percent of what it is yielded
	steady     map[int]bool
	requests   int
	again      int
	top        []int // of the first page
	before     func(s *service, request int)
	deletesRow func(s *service, n int) bool
}

const (
	bare = iota
	total
	hasMore
	hasMoreTotal
	saysLimit
	cursor
	cursorTotal
	envelopes
)

func newService(seed uint64) *service {
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...int) int { return of[rnd.IntN(len(of))] }
	s := &service{rnd: rnd, envelope: rnd.IntN(envelopes), limit: pick(2, 3, 5, 10, 25, 100)}
	s.most = s.limit
	if rnd.IntN(3) == 0 {
		s.most = 2 + rnd.IntN(s.limit-1)
	}
	if rnd.IntN(4) > 0 {
		s.addsOne, s.adds = pick(1, 2, 5), pick(1, s.most/2+1, s.most, 300)
	}
	if rnd.IntN(4) > 0 {
		s.delOne, s.deletes = pick(1, 2, 5), pick(1, s.most/2+1, s.most, 2*s.most)
	}
	s.caller = pick(0, 0, 0, 50, 100)
	if rnd.IntN(4) == 0 {
		s.addsOne, s.delOne, s.caller = 0, 0, 0
	}
	s.add(rnd.IntN(pick(2, s.most+1, 4*s.most, 12*s.most)))
	if rnd.IntN(20) == 0 {
		s.add(2000)
	}
	s.steady = make(map[int]bool, len(s.rows))
	for _, n := range s.rows {
		s.steady[n] = true
	}
	return s
}

func (s *service) String() string {
	return fmt.Sprintf("envelope %d, limit %d, pages of %d, %d rows, adds %d every %d, deletes %d every %d, caller deletes %d%%",
		s.envelope, s.limit, s.most, len(s.rows), s.adds, s.addsOne, s.deletes, s.delOne, s.caller)
}

func (s *service) changes() bool {
	return s.addsOne+s.delOne+s.caller > 0 || s.before != nil || s.deletesRow != nil
}

func (s *service) add(count int) {
	added := make([]int, count)
	for i := range added {
		s.next++
		added[count-1-i] = s.next
	}
	s.rows = append(added, s.rows...)
}

func (s *service) delete(n int) {
	if i := slices.Index(s.rows, n); i >= 0 {
		s.rows = slices.Delete(s.rows, i, i+1)
	}
	delete(s.steady, n)
}

func (s *service) change() {
	if s.addsOne > 0 && s.rnd.IntN(s.addsOne) == 0 {
		s.add(s.rnd.IntN(s.adds + 1))
	}
	if s.delOne == 0 || s.rnd.IntN(s.delOne) > 0 {
		return
	}
	count, block := min(s.rnd.IntN(s.deletes+1), len(s.rows)), s.rnd.IntN(2) == 0
	at := s.rnd.IntN(max(1, len(s.rows)-count+1))
	for range count {
		if !block {
			at = s.rnd.IntN(len(s.rows))
		}
		s.delete(s.rows[at])
	}
}

// yielded is the caller's reaction to an item.
func (s *service) yielded(n int) {
	if s.rnd.IntN(100) < s.caller || s.deletesRow != nil && s.deletesRow(s, n) {
		s.delete(n)
	}
}

// tick is called before each request but the first.
func (s *service) tick() {
	if s.requests++; s.requests > 1 && s.requests <= 100 {
		s.change()
	}
	if s.before != nil {
		s.before(s, s.requests)
	}
}

func (s *service) page(at Position) *Page[row] {
	s.tick()
	// A service without pages cannot be told from one that cuts them if as many
	// rows were added as make the first two pages equal.
	if s.requests == 1 {
		s.top = slices.Clone(s.rows[:min(s.most, len(s.rows))])
	} else if s.requests == 2 && at.Offset < len(s.rows) && s.envelope == bare && slices.Equal(s.top, s.rows[at.Offset:min(at.Offset+s.most, len(s.rows))]) {
		s.add(1)
	}
	offset := at.Offset
	if at.Cursor != "" { // the oldest row that was returned
		after, _ := strconv.Atoi(at.Cursor)
		offset = len(s.rows)
		if i := slices.IndexFunc(s.rows, func(n int) bool { return n < after }); i >= 0 {
			offset = i
		}
	}
	offset = min(offset, len(s.rows))
	end := min(offset+s.most, len(s.rows))
	p := &Page[row]{Items: make([]*row, 0, end-offset), Total: -1, Limit: s.limit, Offset: at.Offset, asked: s.limit}
	for _, n := range s.rows[offset:end] {
		p.Items = append(p.Items, &row{n})
	}
	p.rows = len(p.Items)
	more := end < len(s.rows)
	switch s.envelope {
	case hasMore, hasMoreTotal:
		p.More = &more
	case saysLimit:
		p.Limit = s.most
	case cursor, cursorTotal:
		if more {
			p.NextCursor = strconv.Itoa(s.rows[end-1])
		} else if p.last = true; at.Cursor != "" {
			p.More = &more
		}
	}
	switch s.envelope {
	case total, hasMoreTotal, cursorTotal:
		p.Total = len(s.rows)
	}
	return p
}

// needed returns how many pages take a reader who knows before each request
// where the first row stands that is still to be read.
func (s *service) needed() int {
	for low := s.next + 1; ; {
		s.tick()
		i := slices.IndexFunc(s.rows, func(n int) bool { return n < low })
		if i < 0 {
			return max(1, s.requests-1)
		}
		for _, n := range slices.Clone(s.rows[i:min(i+s.most, len(s.rows))]) {
			low = n
			s.yielded(n)
		}
	}
}
