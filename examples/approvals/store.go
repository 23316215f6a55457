package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

// kept is how many decided approvals the page still shows.
const kept = 50

// An item is an approval, and what was decided here.
type item struct {
	Approval *connic.Approval `json:"approval"`
	// By is who decided here, or is about to. The service knows the key of this
	// program only.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
}

// Pending reports whether somebody still has to decide.
func (i item) Pending() bool { return i.Approval.Status == connic.ApprovalPending }

// A store remembers approvals in a file, which is replaced whole: it survives a
// crash at any time. If its path is "", there is no file.
type store struct {
	path string

	mu     sync.Mutex
	items  map[string]*item
	claims map[string]string // who is deciding, by id
}

func openStore(path string) (*store, error) {
	s := &store{path: path, items: make(map[string]*item), claims: make(map[string]string)}
	data, err := os.ReadFile(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s.items)
	}
	if err != nil {
		return nil, fmt.Errorf("the state file cannot be read: %w", err)
	}
	return s, nil
}

// put records what the service says of an approval.
func (s *store) put(a *connic.Approval) error { return s.record(a, "") }

// record is put, of an approval that somebody decided here.
func (s *store) record(a *connic.Approval, by string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.items[a.ID]
	if known != nil && !known.Pending() && a.Status == connic.ApprovalPending {
		return nil // a notice that is late
	}
	next := &item{Approval: a}
	if known != nil {
		next.By, next.At = known.By, known.At
	}
	if by != "" {
		next.By, next.At = by, time.Now()
	}
	s.items[a.ID] = next
	for _, old := range s.sorted()[min(len(s.items), kept):] {
		if !old.Pending() {
			delete(s.items, old.Approval.ID)
		}
	}
	return s.save()
}

// claim makes a person the only one who is deciding. It returns who else is.
func (s *store) claim(id, by string) (other string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.claims[id]; other != "" {
		return other
	}
	s.claims[id] = by
	return ""
}

func (s *store) release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.claims, id)
}

func (s *store) get(id string) (item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.items[id]; i != nil {
		return *i, true
	}
	return item{}, false
}

// all returns the pending approvals, oldest first, and then the decided ones,
// newest first.
func (s *store) all() []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

func (s *store) sorted() []item {
	all := make([]item, 0, len(s.items))
	for _, i := range s.items {
		all = append(all, *i)
	}
	slices.SortFunc(all, func(a, b item) int {
		switch {
		case a.Pending() != b.Pending():
			if a.Pending() {
				return -1
			}
			return 1
		case a.Pending():
			return cmp.Or(a.Approval.RequestedAt.Compare(b.Approval.RequestedAt), cmp.Compare(a.Approval.ID, b.Approval.ID))
		}
		return cmp.Or(b.Approval.DecidedAt.Compare(a.Approval.DecidedAt), cmp.Compare(a.Approval.ID, b.Approval.ID))
	})
	return all
}

// save writes the file. The caller holds the mutex.
func (s *store) save() error {
	if s.path == "" {
		return nil
	}
	data, err := json.MarshalIndent(s.items, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // unless it was renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path)
}
