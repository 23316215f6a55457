package chat

import (
	"slices"
	"strings"
	"time"
)

// An inbox finds the reply that a message from the service belongs to. It is
// guarded by the mutex of its session.
//
// It is documented that the messages of a reply repeat the id of the message
// that they respond to. Those without it belong to the oldest reply whose agent
// has not ended.
type inbox struct {
	// open are the replies that the service has not ended, in the order in which
	// they were sent. All but the last one are over for their callers.
	open    []*Reply
	unnamed bool // replies have come without the id of their message
	starts  bool // replies begin with stream_start
	// failed are the agents that have reported an error without the id of its
	// message, and may still end their streams. The value is whether replies
	// began with stream_start.
	failed map[string]bool
}

// route returns the reply that f belongs to, or nil.
func (b *inbox) route(f *frame) *Reply {
	if strings.HasPrefix(f.id, idPrefix) {
		b.starts = b.starts || f.kind == "stream_start"
		for _, r := range b.open {
			if r.id == f.id {
				return r
			}
		}
		return nil
	}
	b.unnamed = b.unnamed || f.isReply()
	if !b.unnamed || f.isProgress() || f.kind == "ack" {
		if n := len(b.open); n > 0 && b.open[n-1].isBegun() {
			return b.open[n-1]
		}
		return nil
	}
	if b.late(f) {
		return nil
	}
	for _, r := range b.open {
		if r.isBegun() && r.awaits(f.agent) {
			return r
		}
	}
	return nil
}

// late reports whether f belongs to a stream that has ended with an error.
func (b *inbox) late(f *frame) bool {
	starts, failed := b.failed[f.agent]
	b.starts = b.starts || f.kind == "stream_start"
	switch {
	case !failed:
		return false
	case starts && (f.kind == "stream_chunk" || f.kind == "stream_end"):
		return true // until the next stream_start
	}
	delete(b.failed, f.agent)
	return f.kind == "stream_end"
}

// ended records that an agent has ended in r.
func (b *inbox) ended(f *frame, r *Reply) {
	if f.kind == "error" && (b.unnamed || !strings.HasPrefix(f.id, idPrefix)) {
		if b.failed == nil {
			b.failed = make(map[string]bool)
		}
		names := []string{f.agent}
		if f.agent == "" {
			names = append(names, r.agents...)
		}
		for _, name := range names {
			b.failed[name] = b.starts
		}
	}
	if r.isOver() && r.isComplete() {
		b.remove(r)
	}
}

// blocking reports whether r has to wait for an earlier reply: for ever if that
// is not over, or until the given time. Earlier replies that cannot be told
// from r must have ended by the limit.
func (b *inbox) blocking(r *Reply, now, limit time.Time) (busy bool, until time.Time) {
	for _, earlier := range b.open {
		switch {
		case !earlier.isOver():
			return true, time.Time{}
		case b.unnamed:
			if earlier.owes(r) {
				return !now.Before(limit), limit
			}
		case earlier.isAbandoned():
			if until := earlier.idleAt(); now.Before(until) {
				return false, until
			}
		}
	}
	return false, time.Time{}
}

// add makes r the current reply.
func (b *inbox) add(r *Reply) {
	b.open = slices.DeleteFunc(b.open, func(r *Reply) bool { return r.isOver() && r.isComplete() })
	if len(b.open) == maxOpen {
		b.open = slices.Delete(b.open, 0, 1)
	}
	b.open = append(b.open, r)
}

func (b *inbox) remove(r *Reply) {
	if i := slices.Index(b.open, r); i >= 0 {
		b.open = slices.Delete(b.open, i, i+1)
	}
}
