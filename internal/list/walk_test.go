package list

import (
	"errors"
	"testing"
)

// All is like [Walk.Pages] for single items.
func (w *Walk[T]) All(fetch func(Position) (*Page[T], error), yield func(*T) bool) error {
	return w.Pages(fetch, func(p *Page[T]) bool {
		for _, item := range p.Items {
			if !yield(item) {
				return false
			}
		}
		return true
	})
}

// read walks through the list of a service and compares what it yields with
// what was there.
func read(t *testing.T, s *service) (loop *LoopError) {
	t.Helper()
	what := s.String()
	seen, before := make(map[int]bool), s.next+1
	err := NewWalk(rowID, Position{}).All(func(at Position) (*Page[row], error) { return s.page(at), nil }, func(r *row) bool {
		if seen[r.n] && !s.steady[r.n] {
			s.again++
		} else if seen[r.n] {
			t.Errorf("%s: row %d is yielded twice", what, r.n)
		}
		seen[r.n] = true
		if s.steady[r.n] {
			if r.n > before {
				t.Errorf("%s: row %d follows row %d", what, r.n, before)
			}
			before = r.n
		}
		s.yielded(r.n)
		return true
	})
	if err != nil {
		if !errors.As(err, &loop) || loop.Reason == "" || !s.changes() {
			t.Errorf("%s: %v", what, err)
		}
		return loop
	}
	lost := 0
	for n := range s.steady {
		if !seen[n] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%s: %d rows of %d are lost", what, lost, len(s.steady))
	}
	return nil
}

// simulations is set by the build tag of that name.
var simulations = false

// TestL1ListsThatChangeWhileTheyAreRead walks through random lists. In some of
// them, more rows are added than fit on a page whenever one is read.
func TestL1ListsThatChangeWhileTheyAreRead(t *testing.T) {
	t.Parallel()
	seeds := 1000
	if simulations {
		seeds = 10_000
	}
	requests, needed, loops, again := 0, 0, 0, 0
	for seed := range uint64(seeds) {
		s := newService(seed)
		if read(t, s) != nil {
			loops++
			continue
		}
		ideal := newService(seed)
		requests, needed, again = requests+s.requests, needed+ideal.needed(), again+s.again
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d requests, an omniscient reader needs %d; %d lists end with an error; %d new rows are yielded twice", requests, needed, loops, again)
	if loops > seeds*6/100 || again > seeds/1000 {
		t.Errorf("%d lists of %d end with an error, and %d new rows are yielded twice", loops, seeds, again)
	}
}

// TestChangesBeyondMemory adds and deletes more rows than are remembered. Such a
// list ends with an error, after few requests.
func TestChangesBeyondMemory(t *testing.T) {
	t.Parallel()
	for _, envelope := range []int{bare, hasMore} {
		s := fixed(envelope, 100, 100, 5000)
		s.before = func(s *service, request int) {
			if request == 30 {
				s.add(1500)
			}
		}
		if loop := read(t, s); loop == nil || loop.Reason != forgotten || s.requests > 31 {
			t.Errorf("%s: %v after %d requests", envelopeNames[envelope], loop, s.requests)
		}
	}
}

func TestLongestPage(t *testing.T) {
	t.Parallel()
	longest := 0
	for i, of := range []struct{ rows, requests int }{{30, 2}, {30, 2}, {12, 1}, {29, 1}, {31, 2}, {50, 2}, {80, 2}, {0, 1}} {
		s := fixed(bare, 100, 50, of.rows)
		w := NewWalk(rowID, Position{})
		w.Longest = longest
		rows := 0
		err := w.All(func(at Position) (*Page[row], error) { return s.page(at), nil }, func(*row) bool { rows++; return true })
		if longest = w.Longest; err != nil || rows != of.rows || s.requests != of.requests || longest > 50 {
			t.Errorf("walk %d: %d rows of %d, %v, in %d requests, want %d; longest %d", i, rows, of.rows, err, s.requests, of.requests, longest)
		}
	}
}

func FuzzWalk(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed * 1_000_003)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { read(t, newService(seed)) })
}

// fixed is a service with rows that only changes when a test says so.
func fixed(envelope, limit, most, rows int) *service {
	s := newService(0)
	*s = service{rnd: s.rnd, envelope: envelope, limit: limit, most: most, steady: map[int]bool{}}
	s.add(rows)
	for _, n := range s.rows {
		s.steady[n] = true
	}
	return s
}

var envelopeNames = [envelopes]string{"bare", "total", "has_more", "has_more and total", "its own limit", "cursor", "cursor and total"}

func TestListsThatStayTheSame(t *testing.T) {
	t.Parallel()
	for envelope, name := range envelopeNames {
		for _, longest := range []int{100, 40} {
			for _, rows := range []int{0, 1, 39, 40, 41, 99, 100, 101, 199, 200, 1000, 10_000} {
				s := fixed(envelope, 100, longest, rows)
				if loop := read(t, s); loop != nil {
					t.Errorf("%s, %d rows: %v", name, rows, loop)
				}
				pages := max(1, (rows+longest-1)/longest)
				overlapping := max(1, (rows-1+longest-2)/(longest-1))
				least, most := pages, pages
				switch envelope {
				case hasMore:
					least, most = overlapping, overlapping
				case cursor, cursorTotal:
					if rows == 100 && s.most == 100 && envelope == cursor {
						most++ // a full page says nothing of a next one
					}
				case bare, saysLimit: // one to see that there are no more
					most = max(pages, overlapping) + 1
				}
				if s.requests < least || s.requests > most {
					t.Errorf("%s, %d rows on pages of %d: %d requests, want %d to %d", name, rows, s.most, s.requests, least, most)
				}
			}
		}
	}
}

func TestChangesBetweenTwoPages(t *testing.T) {
	t.Parallel()
	all := func(*service, int) bool { return true }
	tests := map[string]struct {
		rows   int
		change func(s *service, request int) // before a request
		delete func(s *service, n int) bool  // what the caller deletes
		most   int                           // requests
	}{
		"the caller deletes everything":          {rows: 230, delete: all, most: 4},
		"the caller deletes every item of 3,000": {rows: 3000, delete: all, most: 31},
		"the caller deletes every other":         {rows: 1000, delete: func(_ *service, n int) bool { return n%2 == 0 }, most: 16},
		"one is deleted":                         {rows: 1000, delete: func(_ *service, n int) bool { return n == 901 }, most: 12},
		"150 are added": {most: 12, rows: 1000, change: func(s *service, request int) {
			if request == 2 {
				s.add(150)
			}
		}},
		"a page is added": {most: 12, rows: 1000, change: func(s *service, request int) {
			if request == 3 {
				s.add(100)
			}
		}},
		"99 are added": {most: 12, rows: 1000, change: func(s *service, request int) {
			if request == 2 {
				s.add(99)
			}
		}},
		"300 are added to the second page": {most: 16, rows: 1000, change: func(s *service, request int) {
			if request == 2 {
				s.add(300)
			}
		}},
		"a few are added each time": {most: 11, rows: 1000, change: func(s *service, _ int) { s.add(7) }},
		"a few are deleted each time": {most: 13, rows: 1000, change: func(s *service, _ int) {
			for range 7 {
				s.delete(s.rows[s.rnd.IntN(min(100, len(s.rows)))])
			}
		}},
		"half of the list is deleted at once": {most: 60, rows: 5000, change: func(s *service, request int) {
			if request == 40 {
				for range 3500 {
					s.delete(s.rows[0])
				}
			}
		}},
	}
	for name, test := range tests {
		for envelope, form := range envelopeNames {
			s := fixed(envelope, 100, 100, test.rows)
			s.before = test.change
			if test.delete != nil {
				s.deletesRow = test.delete
			}
			if loop := read(t, s); loop != nil {
				t.Errorf("%s, %s: %v", name, form, loop)
			}
			if s.requests > test.most {
				t.Errorf("%s, %s: %d requests, want %d", name, form, s.requests, test.most)
			}
		}
	}
}
