package connictest

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// ids makes the ids of the server's resources: "run-00000001", or UUIDs that
// follow from a seed.
type ids struct {
	last   map[string]uint64 // by kind
	seed   uint64
	seeded bool
}

// Seed makes the ids from now on UUIDs that follow from a number: the same seed
// gives the same ids, each kind of resource counted on its own. Without a seed they
// read run-00000001, and are the same in every test too.
func (s *Server) Seed(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids.seed, s.ids.seeded = n, true
}

// newID makes an id that is unique within the server. The caller holds the mutex.
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
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, as the service's look
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// SetTime sets the fake's clock, which goes on from there. It tells the times in
// answers, the days of the usage, and the periods of budgets. The quota does not
// go by it. Set it before anything happens: what is under way would end early or
// late.
func (s *Server) SetTime(now time.Time) {
	s.offset.Store(int64(time.Until(now)))
}

// now is the time by the fake's clock.
func (s *Server) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }
