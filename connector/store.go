package connector

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Store records deliveries, so that each is handled once. A store shared by
// several processes can be implemented as a database row with a time, or with
// the Redis command SET NX. Its methods must be safe for concurrent use.
//
// The key of a delivery of [KindRun] is "run:" and its run id of at most 200
// bytes, so a run is handled once, however often it is delivered. The key of any
// other delivery is "body:" and the hexadecimal SHA-256 of its timestamp, a dot
// and its body: a copy is recognized as long as its timestamp is accepted, and
// an equal payload with another timestamp is a new event. Two equal ones with
// the same timestamp cannot be told from a copy. A batch has one key, and its items
// have none of their own. An unsigned receiver does not use its Store.
type Store interface {
	// Claim claims a key for the duration of the lease if it is new, was
	// released, or its previous lease has expired. It returns [Claimed] if the
	// caller now holds the key.
	Claim(ctx context.Context, key string, lease time.Duration) (State, error)
	// Finish records that the delivery with this key has been handled. It may
	// be called after the lease has expired.
	Finish(ctx context.Context, key string) error
	// Release releases the key of a delivery that could not be handled, unless
	// it has been finished. It is called before the lease has expired, which is
	// also the deadline of its context.
	Release(ctx context.Context, key string) error
}

// State is the state of a key in a [Store].
type State int

// The states of a key.
const (
	Claimed State = iota // the key was free, and the caller now holds it
	Running              // another caller holds it, and the lease has not expired
	Done                 // the delivery has been handled
)

// memory is a [Store] in one process.
type memory struct {
	mu    sync.Mutex
	max   int
	ttl   time.Duration
	keys  map[string]*claim
	order []finished // finished keys, oldest first
}

type claim struct {
	done  bool
	until time.Time // end of the lease, or of the retention
}

type finished struct {
	key   string
	until time.Time
}

// NewMemory returns a [Store] for one process. It remembers each handled key
// for ttl, and at most the given number of them; beyond that it forgets the
// oldest first. The same number limits the deliveries that are being handled;
// [Store.Claim] refuses more.
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
		return Running, fmt.Errorf("connector: %d deliveries are being handled, which is the limit", m.max)
	}
	m.keys[key] = &claim{until: now.Add(lease)}
	return Claimed, nil
}

// expire drops claims whose lease has expired. It reports whether there were
// any.
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

// forget drops finished keys that are too old or too many.
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
