// Package intset holds sets of indexes as ranges.
package intset

import (
	"errors"
	"slices"
)

// A Range is an inclusive range of indexes.
type Range [2]int

// A Set is a set of indexes: its ranges, in order, with gaps between them. It
// encodes as JSON. The zero value is empty.
type Set []Range //nolint:recvcheck // only Add changes it

// Has reports whether the set contains an index.
func (s Set) Has(index int) bool {
	_, found := s.find(index)
	return found
}

// Len returns the number of indexes.
func (s Set) Len() int {
	n := 0
	for _, r := range s {
		n += r[1] - r[0] + 1
	}
	return n
}

// find returns the range that contains the index, or the position for one.
func (s Set) find(index int) (at int, found bool) {
	return slices.BinarySearchFunc(s, index, func(r Range, index int) int {
		switch {
		case r[1] < index:
			return -1
		case r[0] > index:
			return 1
		}
		return 0
	})
}

// Add adds an index. Negative ones are ignored.
func (s *Set) Add(index int) {
	set := *s
	at, found := set.find(index)
	if found || index < 0 {
		return
	}
	after := at < len(set) && set[at][0] == index+1
	switch before := at > 0 && set[at-1][1] == index-1; {
	case before && after:
		set[at-1][1] = set[at][1]
		*s = slices.Delete(set, at, at+1)
	case before:
		set[at-1][1] = index
	case after:
		set[at][0] = index
	default:
		*s = slices.Insert(set, at, Range{index, index})
	}
}

// Check returns an error if the ranges overlap or are out of order.
func (s Set) Check() error {
	last := -2
	for _, r := range s {
		if r[0] < 0 || r[0]-1 <= last || r[1] < r[0] {
			return errors.New("the ranges overlap or are out of order")
		}
		last = r[1]
	}
	return nil
}
