package connictest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What a fake keeps. Beyond these numbers it forgets the oldest: of runs, jobs
// and deployments the oldest that have ended.
const (
	maxRuns         = 50_000
	maxRunBytes     = 256 << 20 // of the inputs and outputs of ended runs
	maxJobs         = 10_000
	maxDeployments  = 1000
	maxTestRuns     = 1000
	maxEvaluations  = 10_000 // of each judge
	maxAudit        = 10_000
	maxAuditBytes   = 16 << 20 // of the resources in the audit log
	maxNotices      = 1000
	maxDelivered    = 1000     // deliveries of each outbound connector
	maxDeliverBytes = 16 << 20 // of their bodies
	maxLogins       = 1000     // logins in progress, and keys from logins
	maxCharges      = 10_000   // with their time; older ones count by day
	maxUsageRows    = 10_000   // of older costs, by day, agent, environment and currency
)

// What a fake accepts. Beyond these numbers it refuses more, until some are
// deleted.
const (
	maxResources    = 10_000    // of judges, of budgets, and of entries
	maxEntryBytes   = 256 << 20 // of the contents of all entries
	maxEnvironments = 100
	maxOpenRuns     = 10_000
	maxOpenBytes    = 256 << 20 // of the inputs of open runs
	maxSmallBody    = 1 << 20   // of a request other than an upload or a trigger
)

// full refuses a resource that is too much for the fake.
func full(n, most int, what string) *answer {
	if n < most {
		return nil
	}
	a := problem(http.StatusInsufficientStorage, fmt.Sprintf("The fake has %d %s, the most that it accepts", most, what))
	return &a
}

// fullOfRuns refuses a run that is too much for the fake.
func (s *Server) fullOfRuns() *answer {
	if complaint := full(s.openBytes, maxOpenBytes, "bytes of open runs"); complaint != nil {
		return complaint
	}
	return full(len(s.runs)+len(s.ending)-s.ended, maxOpenRuns, "open runs")
}

// push appends an item and drops the oldest ones beyond a number.
func push[T any](items []T, item T, most int) []T {
	items = append(items, item)
	if more := len(items) - most; more > 0 {
		clear(items[:more])
		items = items[more:]
	}
	return items
}

// history holds the newest items, up to a number and a size of all together.
type history[T any] struct {
	items []T
	sizes []int
	size  int
}

func (h *history[T]) push(item T, size, most, mostSize int) {
	h.items, h.sizes = append(h.items, item), append(h.sizes, size)
	h.size += size
	for len(h.items) > most || h.size > mostSize {
		h.size -= h.sizes[0]
		clear(h.items[:1])
		h.items, h.sizes = h.items[1:], h.sizes[1:]
	}
}

// retire counts a run that has ended, and forgets the oldest ones beyond the
// bounds. The caller holds the mutex.
func (s *Server) retire(r *run) {
	s.openBytes -= len(r.body)
	if r.deleted { // while it was ending
		s.ending = slices.DeleteFunc(s.ending, func(other *run) bool { return other == r })
		s.older(r.created, r.agent, r.environment, r.currency).count(1, r.tokens)
		return
	}
	r.retired = true
	r.size = len(r.body) + len(r.input) + len(r.output) + len(r.error)
	s.ended, s.endedBytes = s.ended+1, s.endedBytes+r.size
	if over := func() bool { return s.ended > maxRuns || s.endedBytes > maxRunBytes }; over() {
		s.forget(func(r *run) bool { return r.retired && over() })
	}
}

// forget removes runs. What they cost remains. The caller holds the mutex.
func (s *Server) forget(which func(*run) bool) {
	s.runs = slices.DeleteFunc(s.runs, func(r *run) bool {
		r.deleted = which(r)
		switch {
		case !r.deleted:
		case r.retired:
			s.ended, s.endedBytes = s.ended-1, s.endedBytes-r.size
			s.older(r.created, r.agent, r.environment, r.currency).count(1, r.tokens)
		default:
			s.ending = append(s.ending, r)
		}
		return r.deleted
	})
}

// older returns the row of costs that are kept by day only. The caller holds
// the mutex.
func (s *Server) older(at time.Time, agent, environment, currency string) *usageRow {
	day := at.UTC().Format(time.DateOnly)
	key := usageKey{day, agent, environment, strings.ToUpper(currency)}
	row := s.olderUsage[key]
	if row != nil {
		return row
	}
	if len(s.olderUsage) >= maxUsageRows {
		first := key
		for other := range s.olderUsage {
			if other.day < first.day {
				first = other
			}
		}
		delete(s.olderUsage, first)
	}
	row = new(usageRow)
	s.olderUsage[key] = row
	return row
}
