package chat

import (
	"encoding/json"
	"iter"
)

// An Event is a message that the service has sent during a reply.
type Event struct {
	// Type is the type of the message: stream_start, stream_chunk, stream_end,
	// response or error, or that of a progress event. Connectors send progress
	// events about models, tools and approvals if their option progress_events
	// is set; neither their types nor their keys are documented.
	Type  string
	Agent string // whose message it is; empty if the service did not say
	// Text is that of a chunk, or of an answer that was not streamed.
	Text string
	// Raw is the message. It is nil for chunks, which are merged if they arrive
	// faster than they are read.
	Raw json.RawMessage
}

// eventBytes is what an unread event counts for, beside its message.
const eventBytes = 64

// A consumer keeps what the caller has not read. It is guarded by the mutex of
// the reply.
type consumer struct {
	ranged bool
	chunks bool // the caller reads chunks, which need no queue
	lost   bool // events were dropped
	queue  []queued
	bytes  int // that the queue counts for
	read   int // bytes of texts that were yielded as chunks
	at     int // the speaker whose chunks are yielded
	some   bool
}

// queued is an unread event. A chunk is a part of the text of its speaker.
type queued struct {
	Event
	speaker  *speaker // nil if the event has its own agent
	from, to int
}

func (c *consumer) add(e Event, p *speaker) {
	if !c.chunks && !c.lost {
		c.queue = append(c.queue, queued{Event: e, speaker: p})
		c.bytes += eventBytes + len(e.Raw)
	}
}

// addChunk adds the next size bytes of what p says.
func (c *consumer) addChunk(p *speaker, size int) {
	if c.chunks || c.lost || size == 0 {
		return
	}
	c.bytes += size
	if n := len(c.queue); n > 0 && c.queue[n-1].speaker == p && c.queue[n-1].Type == "stream_chunk" {
		c.queue[n-1].to += size
		return
	}
	c.bytes += eventBytes
	c.queue = append(c.queue, queued{Event: Event{Type: "stream_chunk"}, speaker: p, from: len(p.text), to: len(p.text) + size})
}

// backlog returns how much is unread of texts of the given size, and events.
func (c *consumer) backlog(size int) int {
	switch {
	case c.chunks:
		return size - c.read
	case c.lost:
		return 0
	}
	return c.bytes
}

func (c *consumer) drop() { c.queue, c.bytes, c.lost = nil, 0, true }

// begin reports whether the reply is ranged over for the first time.
func (r *Reply) beginRange(chunks bool) bool {
	if r.session == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.consumer.ranged
	if first {
		r.consumer.ranged, r.consumer.chunks = true, chunks
		if chunks {
			r.consumer.queue = nil
		}
	}
	return first
}

// nextChunk returns what was received since the last call, and whether the
// reply has ended.
func (r *Reply) nextChunk() (chunk string, some, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.consumer
	for ; c.at < len(r.speakers); c.at++ {
		p := r.speakers[c.at]
		if p.wanted {
			first := p.read == 0
			chunk = p.unread()
			if chunk != "" {
				c.read += len(chunk)
				if first && c.some {
					chunk = separator + chunk
				}
				c.some = true
				return chunk, true, false
			}
		}
		if c.at == len(r.speakers)-1 || (p.wanted && !p.ended && !r.ended) {
			break
		}
	}
	return "", false, r.ended
}

// nextEvent returns the next event, and whether the reply has ended.
func (r *Reply) nextEvent() (e Event, some, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.consumer
	if len(c.queue) == 0 {
		return Event{}, false, r.ended || c.lost
	}
	next := c.queue[0]
	c.queue[0] = queued{}
	c.queue = c.queue[1:]
	c.bytes -= eventBytes + len(next.Raw) + next.to - next.from
	e = next.Event
	if p := next.speaker; p != nil {
		e.Agent = p.agent
		if next.to > next.from {
			e.Text = string(p.text[next.from:next.to])
		}
	}
	return e, true, false
}

// lost returns the error with which the events end.
func (r *Reply) eventsError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.consumer.lost {
		return ErrTooLarge
	}
	return r.err
}

// Chunks yields the reply as it is received. Chunks that arrive faster than
// they are read are merged. An agent with output guardrails sends a single
// chunk, and a session without streaming yields the complete text only. If the
// reply is incomplete, the last pair has a [*ReplyError], which holds the text
// received so far.
//
// The texts of several agents are yielded one after the other, in the order in
// which they begin, with a blank line between them. [Reply.Events] yields them
// as they come, with the name of the agent.
//
// A reply can be ranged over only once. Leaving the loop abandons the reply;
// the session continues.
func (r *Reply) Chunks() iter.Seq2[string, error] {
	return each(r, true, r.nextChunk, r.failure)
}

// Events yields the messages of a reply as they are received: the chunks of all
// agents whose answers are awaited, their ends, and the progress events between
// them. It ends like [Reply.Chunks], and a reply can be ranged over only once
// with either.
func (r *Reply) Events() iter.Seq2[Event, error] {
	return each(r, false, r.nextEvent, r.eventsError)
}

// each yields what next returns until the reply has ended, and then its error.
func each[T any](r *Reply, chunks bool, next func() (T, bool, bool), failure func() error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if !r.beginRange(chunks) {
			yield(none, ErrConsumed)
			return
		}
		whole := false
		defer func() {
			if !whole {
				r.give(ErrAbandoned)
			}
			r.report()
		}()
		for {
			one, some, ended := next()
			switch {
			case some:
				if !yield(one, nil) {
					return
				}
				continue
			case ended:
				whole = true
				if err := failure(); err != nil {
					yield(none, err)
				}
				return
			}
			select {
			case <-r.wake:
			case <-r.over:
			}
		}
	}
}
