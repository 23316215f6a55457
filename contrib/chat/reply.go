package chat

import (
	"context"
	"encoding/json"
	"iter"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

const (
	maxUnread       = 8 << 20 // bytes that wait for a slow reader
	maxUnknown      = 64      // messages, of
	maxUnknownBytes = 64 << 10
)

// An Answer is a complete reply.
type Answer struct {
	Text       string // the complete text
	TokenUsage connic.TokenUsage
	Raw        json.RawMessage // the last message from the service
	// Unknown holds messages of unknown types received during the reply: at
	// most 64, of at most 64 KiB each.
	Unknown []json.RawMessage
}

// A Reply is the agent's reply to one message. Its methods are safe for
// concurrent use.
type Reply struct {
	session *Session
	id      string
	written chan struct{} // closed when the message is written
	over    chan struct{} // closed when nothing more comes to the caller
	settled chan struct{} // closed when nothing more comes from the service
	wake    chan struct{} // has a token when there is more to read
	unwatch func() bool   // of the context
	writing sync.Once     // closes written

	mu        sync.Mutex
	idle      *time.Timer
	text      []byte
	read      int // bytes of text that the caller has
	ranged    bool
	unbounded bool // somebody waits for the whole
	ended     bool // over is closed
	gone      bool // settled is closed
	full      *string
	usage     connic.TokenUsage
	raw       json.RawMessage
	others    []json.RawMessage
	err       error
}

func newReply(s *Session, id string) *Reply {
	return &Reply{
		session: s, id: id, written: make(chan struct{}), over: make(chan struct{}), settled: make(chan struct{}),
		wake: make(chan struct{}, 1),
	}
}

// watch ends the reply with its context, and if nothing is received for too
// long.
func (r *Reply) watch(ctx context.Context) {
	unwatch := context.AfterFunc(ctx, func() { r.give(causeOf(ctx)) })
	idle := time.AfterFunc(r.session.conf.idle, func() { r.give(ErrIdle) })
	r.mu.Lock()
	r.unwatch, r.idle = unwatch, idle
	ended := r.ended
	r.mu.Unlock()
	if ended { // meanwhile
		unwatch()
		idle.Stop()
	}
}

// give ends the reply for its caller; the service may continue with it.
func (r *Reply) give(err error) {
	r.finish(func(r *Reply) { r.err = &ReplyError{Partial: string(r.text), Err: err} })
}

// finish ends the reply, unless it has ended.
func (r *Reply) finish(how func(*Reply)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	how(r)
	r.ended = true
	close(r.over)
	if r.unwatch != nil {
		r.unwatch()
		r.idle.Stop()
	}
}

// settle records that the service has completed the reply.
func (r *Reply) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gone {
		r.gone = true
		close(r.settled)
	}
}

func (r *Reply) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// sent records that the message is written.
func (r *Reply) sent() { r.writing.Do(func() { close(r.written) }) }

func (r *Reply) isWritten() bool {
	select {
	case <-r.written:
		return true
	default:
		return false
	}
}

// alive restarts the idle timeout.
func (r *Reply) alive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle != nil && !r.ended {
		r.idle.Reset(r.session.conf.idle)
	}
}

// add adds a chunk. It does not wait for the caller; a slow caller receives
// larger chunks.
func (r *Reply) add(chunk string) {
	r.alive()
	r.mu.Lock()
	tooLarge := int64(len(r.text)+len(chunk)) > r.session.conf.maxMessage ||
		(!r.unbounded && len(r.text)+len(chunk)-r.read > maxUnread)
	if !r.ended && !tooLarge {
		r.text = append(r.text, chunk...)
	}
	r.mu.Unlock()
	if tooLarge {
		r.give(ErrTooLarge)
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Reply) unknown(data []byte) {
	r.alive()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended && len(r.others) < maxUnknown && len(data) <= maxUnknownBytes {
		r.others = append(r.others, data)
	}
}

// next returns what was received since the last call, and whether the reply has
// ended.
func (r *Reply) next() (chunk string, ended bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	chunk = string(r.text[r.read:])
	r.read = len(r.text)
	if r.ended && chunk == "" {
		return "", true, r.err
	}
	return chunk, false, nil
}

// Chunks yields the reply as it is received. Chunks that arrive faster than
// they are read are merged. An agent with output guardrails sends a single
// chunk, and a session without streaming yields the complete text only. If the
// reply is incomplete, the last pair has a [*ReplyError], which holds the text
// received so far.
//
// The chunks can be ranged over only once. Leaving the loop abandons the reply;
// the session continues.
func (r *Reply) Chunks() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if r.session == nil || !r.begin() {
			yield("", ErrConsumed)
			return
		}
		whole := false
		defer func() {
			if !whole {
				r.give(ErrAbandoned)
			}
		}()
		some := false
		for {
			chunk, ended, err := r.next()
			switch {
			case ended && err != nil:
				whole = true
				yield("", err)
				return
			case ended:
				whole = true
				if full := r.answer().Text; !some && full != "" {
					yield(full, nil)
				}
				return
			case chunk != "":
				some = true
				if !yield(chunk, nil) {
					return
				}
				continue
			}
			select {
			case <-r.wake:
			case <-r.over:
			}
		}
	}
}

func (r *Reply) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.ranged
	r.ranged = true
	return first
}

// Wait waits for the end of the reply and returns the complete answer. It can
// be called after ranging over the chunks, or instead of that. The answer is
// never nil: with an error, it holds what was received so far.
func (r *Reply) Wait() (*Answer, error) {
	if r.session == nil {
		return &Answer{}, ErrConsumed
	}
	r.mu.Lock()
	r.unbounded = true
	r.mu.Unlock()
	<-r.over
	r.mu.Lock()
	err := r.err
	r.mu.Unlock()
	return r.answer(), err
}

func (r *Reply) answer() *Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &Answer{Text: string(r.text), TokenUsage: r.usage, Raw: r.raw, Unknown: r.others}
	if r.full != nil {
		a.Text = *r.full
	}
	return a
}
