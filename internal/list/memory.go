package list

import "hash/maphash"

// seed is that of all hashes.
var seed = maphash.MakeSeed()

// remembered is how many items each generation of a memory holds, at least.
const remembered = 512

// A memory knows the items that were yielded last by the hashes of their ids,
// and numbers them in the order of the list.
type memory struct {
	young, old map[uint64]int
	last       int // the number of the last item
	oldest     int // the least number that is remembered
	since      int // the last number before the young generation
}

// number returns the number of an item, and whether it is remembered.
func (m *memory) number(sum uint64) (int, bool) {
	n, ok := m.young[sum]
	if !ok {
		n, ok = m.old[sum]
	}
	return n, ok
}

// note remembers an item. size is the size of a generation.
func (m *memory) note(sum uint64, number, size int) {
	if m.young == nil {
		m.young = make(map[uint64]int, usualRows)
	}
	if len(m.young) >= size {
		m.young, m.old = m.old, m.young
		m.oldest, m.since = m.since+1, m.last
		if m.young == nil {
			m.young = make(map[uint64]int, size)
		}
		clear(m.young)
	}
	m.young[sum] = number
	m.last = max(m.last, number)
}
