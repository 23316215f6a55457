package connictest

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// ids generates the ids of the server's resources: "run-00000001", or UUIDs
// derived from a seed.
type ids struct {
	last   map[string]uint64 // by kind
	seed   uint64
	seeded bool
}

// Seed makes all later ids UUIDs derived from n: the same seed produces the
// same ids, counted separately for each kind of resource. Without a seed, ids
// have the form run-00000001 and are the same in every test too.
func (s *Server) Seed(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids.seed, s.ids.seeded = n, true
}

// newID returns an id that is unique within the server. The caller holds the
// mutex.
func (s *Server) newID(kind string) string {
	g := &s.ids
	if g.last == nil {
		g.last = make(map[string]uint64)
	}
	g.last[kind]++
	n := g.last[kind]
	if !g.seeded {
		return fmt.Sprintf("%s-%08d", kind, n)
	}
	b := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", kind, g.seed, n))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, like those of the service
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// SetTime sets the clock of the fake, which continues from there. The clock
// determines the times in responses, the days of the usage, and the periods of
// budgets, but not the quota. Set it before anything else happens, because work
// in progress would end early or late.
func (s *Server) SetTime(now time.Time) {
	s.offset.Store(int64(time.Until(now)))
}

// now returns the time of the fake's clock.
func (s *Server) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }
