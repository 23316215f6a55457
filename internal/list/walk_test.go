package list

import (
	"errors"
	"os"
	"strconv"
	"testing"
)

// read walks through the list of a service and compares what it yields with
// what was there.
func read(t *testing.T, s *service, seed uint64) (loop *LoopError) {
	t.Helper()
	what := strconv.Itoa(int(seed)) + s.String()
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

func TestListsThatChangeWhileTheyAreRead(t *testing.T) {
	t.Parallel()
	seeds := uint64(10_000)
	if n, err := strconv.Atoi(os.Getenv("SEEDS")); err == nil {
		seeds = uint64(n)
	}
	var loops, requests, needed [envelopes]int
	fails, again, total := 0, 0, 0
	reasons := map[string]int{}
	for seed := range seeds {
		s := newService(seed)
		if fails > 15 {
			t.Fatal(fails)
		}
		if t.Failed() {
			fails++
		}
		if loop := read(t, s, seed); loop != nil {
			loops[s.envelope]++
			reasons[loop.Reason]++
			total++
			continue
		}
		again += s.again
		ideal := newService(seed)
		requests[s.envelope] += s.requests
		needed[s.envelope] += ideal.needed()
	}
	t.Log(loops, requests, needed, reasons, again, total)
}
