package connic

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/connic-go/connic/internal/intset"
)

// UploadProgress records which documents of a call to
// [KnowledgeService.UploadAll] are done, by index. The zero value records none.
// It is safe for concurrent use. It encodes as JSON, so that another process can
// resume the upload: save it after the loop or, from time to time, within it.
//
// Encoding a zero value must not overlap its first use.
//
// Documents in flight when a process dies are not recorded. Use an EntryID or
// StableID if that may happen. Copies share their state, except for copies of
// the zero value.
type UploadProgress struct{ known *progress } //nolint:recvcheck // it encodes by value too

// progress is the state that copies of an UploadProgress share.
type progress struct {
	mu      sync.Mutex
	done    intset.Set
	unknown []int // in order
}

// open returns the state of u, locked. That of nil is empty, and not kept.
func (u *UploadProgress) open() *progress {
	p := new(progress)
	if u != nil {
		// A mutex or an atomic value in the struct would keep it from being encoded
		// by value.
		known := (*unsafe.Pointer)(unsafe.Pointer(&u.known))        //nolint:gosec // the address of a pointer, for package atomic
		atomic.CompareAndSwapPointer(known, nil, unsafe.Pointer(p)) //nolint:gosec // likewise
		p = (*progress)(atomic.LoadPointer(known))
	}
	p.mu.Lock()
	return p
}

// Done reports whether the document was accepted.
func (u *UploadProgress) Done(index int) bool {
	p := u.open()
	defer p.mu.Unlock()
	return p.done.Has(index)
}

// Count returns how many documents were accepted.
func (u *UploadProgress) Count() int {
	p := u.open()
	defer p.mu.Unlock()
	return p.done.Len()
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
		p.done.Add(index)
	}
}

func (u *UploadProgress) isUnknown(index int) bool {
	p := u.open()
	defer p.mu.Unlock()
	return slices.Contains(p.unknown, index)
}

// note records the outcome of a document.
func (u *UploadProgress) note(index int, err error) {
	p := u.open()
	defer p.mu.Unlock()
	p.forget(index)
	switch {
	case err == nil:
		p.done.Add(index)
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

// progressWire is the JSON form of an UploadProgress.
type progressWire struct {
	Done    intset.Set `json:"done"`
	Unknown []int      `json:"unknown"`
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
	if err := w.Done.Check(); err != nil {
		return fmt.Errorf("connic: an UploadProgress: %w", err)
	}
	slices.Sort(w.Unknown)
	p := u.open()
	defer p.mu.Unlock()
	p.done, p.unknown = w.Done, slices.Compact(w.Unknown)
	return nil
}
