package connector

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Store remembers deliveries, so that each is handled once. A store that several
// processes share fits into a row of a database with a time in it, or into Redis with
// SET NX. Its methods must be safe for concurrent use.
type Store interface {
	// Claim takes a key for the time of the lease, if it is new, was released, or its
	// lease has run out. It returns [Claimed] if it has taken the key.
	Claim(ctx context.Context, key string, lease time.Duration) (State, error)
	// Finish says that the key's delivery has been handled.
	Finish(ctx context.Context, key string) error
	// Release gives a key back whose delivery could not be handled.
	Release(ctx context.Context, key string) error
}

// State is what a [Store] knows of a key.
type State int

// The states of a key.
const (
	Claimed State = iota // it was free, and is the caller's now
	Running              // somebody else has claimed it, and the lease lasts
	Done                 // its delivery has been handled
)

// memory is a [Store] in one process.
type memory struct {
	mu    sync.Mutex
	max   int
	ttl   time.Duration
	keys  map[string]*claim
	order []finished // the keys that are done, the oldest first
}

type claim struct {
	done  bool
	until time.Time // of the lease, or of the memory
}

type finished struct {
	key   string
	until time.Time
}

// NewMemory makes a [Store] for one process. It remembers each key that was handled for
// ttl, and at most so many of them, of which it forgets the oldest first. As many deliveries
// may be in the works at once; [Store.Claim] refuses more.
func NewMemory(most int, ttl time.Duration) Store {
	return &memory{max: max(most, 1), ttl: ttl, keys: make(map[string]*claim)}
}

func (m *memory) Claim(_ context.Context, key string, lease time.Duration) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.forget(now)
	switch c := m.keys[key]; {
	case c != nil && c.done:
		return Done, nil
	case c != nil && now.Before(c.until):
		return Running, nil
	case c == nil && len(m.keys)-len(m.order) >= m.max && !m.expire(now):
		return Running, fmt.Errorf("connector: %d deliveries are in the works, which is the bound", m.max)
	}
	m.keys[key] = &claim{until: now.Add(lease)}
	return Claimed, nil
}

// expire drops claims whose lease has run out. It reports whether there were any.
func (m *memory) expire(now time.Time) bool {
	found := false
	for key, c := range m.keys {
		if !c.done && !now.Before(c.until) {
			delete(m.keys, key)
			found = true
		}
	}
	return found
}

// forget drops the finished keys that are too old, or too many.
func (m *memory) forget(now time.Time) {
	for len(m.order) > 0 && (len(m.order) > m.max || !now.Before(m.order[0].until)) {
		delete(m.keys, m.order[0].key)
		m.order[0] = finished{}
		m.order = m.order[1:]
	}
}

func (m *memory) Finish(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.keys[key]; c != nil && c.done {
		return nil
	}
	now := time.Now()
	m.keys[key] = &claim{done: true, until: now.Add(m.ttl)}
	m.order = append(m.order, finished{key, now.Add(m.ttl)})
	m.forget(now)
	return nil
}

func (m *memory) Release(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.keys[key]; c != nil && !c.done {
		delete(m.keys, key)
	}
	return nil
}
