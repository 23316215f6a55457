package connic

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
)

// UploadProgress records which documents of a call to
// [KnowledgeService.UploadAll] are done, by index. The zero value records none.
// It is safe for concurrent use. It encodes as JSON, so that another process can
// resume the upload: save it after the loop or, from time to time, within it.
//
// Documents in flight when a process dies are not recorded. Use an EntryID or
// StableID if that may happen. Copies share their state, except for copies of
// the zero value.
type UploadProgress struct{ known *progress } //nolint:recvcheck // it encodes by value too

// progress is the state that copies of an UploadProgress share.
type progress struct {
	mu      sync.Mutex
	done    []span // in order, with gaps between them
	unknown []int  // in order
}

// progressMu guards the field of every UploadProgress. With a mutex in the struct
// it could not be encoded by value.
var progressMu sync.Mutex

// open returns the state of u, locked.
func (u *UploadProgress) open() *progress {
	progressMu.Lock()
	if u.known == nil {
		u.known = new(progress)
	}
	p := u.known
	progressMu.Unlock()
	p.mu.Lock()
	return p
}

// A span is an inclusive range of indexes.
type span [2]int

// Done reports whether the document was accepted.
func (u *UploadProgress) Done(index int) bool {
	if u == nil {
		return false
	}
	p := u.open()
	defer p.mu.Unlock()
	_, found := p.find(index)
	return found
}

// Count returns how many documents were accepted.
func (u *UploadProgress) Count() int {
	p := u.open()
	defer p.mu.Unlock()
	n := 0
	for _, s := range p.done {
		n += s[1] - s[0] + 1
	}
	return n
}

// Unknown returns the indexes of documents whose outcome is unknown: they were
// sent without an EntryID or StableID, and no response came. Do not send them
// again blindly.
func (u *UploadProgress) Unknown() []int {
	p := u.open()
	defer p.mu.Unlock()
	return slices.Clone(p.unknown)
}

// Resolve settles a document whose outcome is unknown: either it is done, or it
// is to be sent again.
func (u *UploadProgress) Resolve(index int, done bool) {
	p := u.open()
	defer p.mu.Unlock()
	p.forget(index)
	if done {
		p.add(index)
	}
}

func (u *UploadProgress) isUnknown(index int) bool {
	if u == nil {
		return false
	}
	p := u.open()
	defer p.mu.Unlock()
	return slices.Contains(p.unknown, index)
}

// note records the outcome of a document.
func (u *UploadProgress) note(index int, err error) {
	if u == nil {
		return
	}
	p := u.open()
	defer p.mu.Unlock()
	p.forget(index)
	switch {
	case err == nil:
		p.add(index)
	case errors.Is(err, ErrOutcomeUnknown):
		at, _ := slices.BinarySearch(p.unknown, index)
		p.unknown = slices.Insert(p.unknown, at, index)
	}
}

func (p *progress) forget(index int) {
	if at, found := slices.BinarySearch(p.unknown, index); found {
		p.unknown = slices.Delete(p.unknown, at, at+1)
	}
}

// find returns the span that contains the index, or the position for one.
func (p *progress) find(index int) (at int, found bool) {
	return slices.BinarySearchFunc(p.done, index, func(s span, index int) int {
		switch {
		case s[1] < index:
			return -1
		case s[0] > index:
			return 1
		}
		return 0
	})
}

func (p *progress) add(index int) {
	at, found := p.find(index)
	if found || index < 0 {
		return
	}
	after := at < len(p.done) && p.done[at][0] == index+1
	switch before := at > 0 && p.done[at-1][1] == index-1; {
	case before && after:
		p.done[at-1][1] = p.done[at][1]
		p.done = slices.Delete(p.done, at, at+1)
	case before:
		p.done[at-1][1] = index
	case after:
		p.done[at][0] = index
	default:
		p.done = slices.Insert(p.done, at, span{index, index})
	}
}

// progressWire is the JSON form of an UploadProgress.
type progressWire struct {
	Done    []span `json:"done"`
	Unknown []int  `json:"unknown"`
}

// MarshalJSON implements [json.Marshaler].
func (u UploadProgress) MarshalJSON() ([]byte, error) {
	p := u.open() // of this copy, if it is the zero value
	defer p.mu.Unlock()
	return json.Marshal(progressWire{p.done, p.unknown})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (u *UploadProgress) UnmarshalJSON(data []byte) error {
	var w progressWire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	last := -2
	for _, s := range w.Done {
		if s[0] < 0 || s[0]-1 <= last || s[1] < s[0] {
			return errors.New("connic: the ranges of an UploadProgress overlap or are out of order")
		}
		last = s[1]
	}
	slices.Sort(w.Unknown)
	p := u.open()
	defer p.mu.Unlock()
	p.done, p.unknown = w.Done, slices.Compact(w.Unknown)
	return nil
}
