package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

const (
	maxUnread       = 8 << 20 // bytes buffered for a slow reader
	maxUnknown      = 64      // messages, of
	maxUnknownBytes = 64 << 10
	separator       = "\n\n" // between the texts of agents
)

// An Answer is a complete reply, or that of one of several agents.
type Answer struct {
	// Agent is the name of the agent. It is empty if the service did not say,
	// or if several agents have answered.
	Agent string
	// Text is the complete text. The texts of several agents are separated by a
	// blank line.
	Text       string
	TokenUsage connic.TokenUsage // the sum
	Raw        json.RawMessage   // the last message from the service
	// Unknown holds messages of unknown types received during the reply: at
	// most 64, of at most 64 KiB each.
	Unknown []json.RawMessage
	// Answers holds the answers of several agents, in the order in which they
	// began. It is empty if only one agent was to answer.
	Answers []Answer
	// Err is the error of an agent that failed, in an element of Answers.
	Err error `json:"-"`
}

// A Reply is the reply to one message: of the agent, or of all the agents of
// the connector. Its methods are safe for concurrent use.
type Reply struct {
	session  *Session
	id       string
	expected []string      // the agents that answer; empty if the service named at most one
	agents   []string      // those whose answers are awaited, if known
	written  chan struct{} // closed when the message has been written
	over     chan struct{} // closed when the caller receives nothing more
	wake     chan struct{} // has a token if there is more to read
	writing  sync.Once     // closes written

	mu        sync.Mutex
	begun     bool        // the message is being written
	unwatch   func() bool // of the context
	idle      *time.Timer
	last      time.Time       // when the service last said something
	approvals map[string]bool // the agents that wait for an approval
	speakers  []*speaker      // in the order in which they began
	size      int             // bytes of their texts
	consumer  consumer
	trace     trace
	unbounded bool // a caller waits for the whole reply
	ended     bool // over is closed
	others    []json.RawMessage
	err       error
}

func newReply(s *Session, id string, agents []string) *Reply {
	r := &Reply{
		session: s, id: id, agents: slices.Clone(agents), written: make(chan struct{}), over: make(chan struct{}),
		wake: make(chan struct{}, 1), last: time.Now(),
	}
	if len(agents) == 0 {
		r.agents = s.agents
	}
	switch {
	case len(s.agents) > 1:
		r.expected = s.agents
	case len(s.agents) == 0 && len(agents) > 0:
		r.expected = r.agents
	}
	return r
}

// Agents returns the names of the agents whose answers are awaited. It is empty
// if neither the service nor the message named any.
func (r *Reply) Agents() []string { return slices.Clone(r.agents) }

// watch ends the reply with its context, and if nothing is received for too
// long.
func (r *Reply) watch(ctx context.Context) {
	unwatch := context.AfterFunc(ctx, func() { r.give(causeOf(ctx)) })
	r.mu.Lock()
	defer r.unlock()
	r.unwatch = unwatch
	if !r.ended {
		r.idle = time.AfterFunc(r.silence(), func() { r.give(ErrIdle) })
	}
}

// unlock releases the mutex, and stops watching the context of a reply that has
// ended. That calls the context, which may be the caller's own code.
func (r *Reply) unlock() {
	var unwatch func() bool
	if r.ended {
		unwatch, r.unwatch = r.unwatch, nil
	}
	r.mu.Unlock()
	if unwatch != nil {
		unwatch()
	}
}

// silence returns how long the service may say nothing.
func (r *Reply) silence() time.Duration {
	if len(r.approvals) > 0 {
		return r.session.conf.approval
	}
	return r.session.conf.idle
}

// give ends the reply for its caller; the service may continue it. It reports
// whether the reply was incomplete.
func (r *Reply) give(err error) bool {
	r.mu.Lock()
	defer r.unlock()
	return r.finish(err, false)
}

// lose ends the reply of a session that has ended.
func (r *Reply) lose(err error, unsent bool) {
	r.mu.Lock()
	defer r.unlock()
	r.finish(err, unsent)
}

// finish ends the reply, unless it has ended. The caller holds the mutex, and
// releases it with unlock.
func (r *Reply) finish(cause error, unsent bool) bool {
	if r.ended {
		return false
	}
	failed := &ReplyError{Err: cause, unsent: unsent, failed: cause == nil}
	for _, p := range r.speakers {
		switch {
		case p.err == nil || !p.wanted:
		case failed.Err == nil:
			failed.Detail, failed.Err = p.err.Run.Error, p.err
		default:
			failed.Err = fmt.Errorf("%w; %w", failed.Err, p.err)
		}
	}
	if failed.Err != nil {
		if cause != nil && len(r.expected) > 0 {
			failed.Missing = r.pending(r.agents)
		}
		failed.Partial = r.text()
		r.err = failed
	}
	r.ended, r.trace.ended = true, time.Now()
	close(r.over)
	if r.idle != nil {
		r.idle.Stop()
	}
	return true
}

func (r *Reply) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

func (r *Reply) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// idleAt returns when the service has said nothing for too long.
func (r *Reply) idleAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.Add(r.session.conf.idle)
}

// begin records that the message is being written.
func (r *Reply) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun, r.trace.begun = true, time.Now()
}

func (r *Reply) isBegun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun
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

// take handles a message from the service. It does not wait for the caller; a
// slow caller receives larger chunks.
func (r *Reply) take(f *frame) {
	r.sent() // the service is quicker than the writer
	r.mu.Lock()
	defer r.unlock()
	r.last = time.Now()
	switch {
	case f.isReply():
		if p := r.speaker(f.agent); p != nil {
			r.say(p, f)
		}
	case f.kind == "error":
		r.fail(f)
	case f.isProgress() && !r.ended:
		r.progress(f)
	}
	r.alive(f)
	if !r.ended && r.answered() {
		r.finish(nil, false)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// alive restarts the idle timeout, or suspends it.
func (r *Reply) alive(f *frame) {
	switch {
	case f.approval():
		if r.approvals == nil {
			r.approvals = make(map[string]bool)
		}
		r.approvals[f.agent] = true
	case f.kind == "ack":
	case f.agent == "":
		clear(r.approvals)
	default:
		delete(r.approvals, f.agent)
		delete(r.approvals, "")
	}
	if r.idle != nil && !r.ended {
		r.idle.Reset(r.silence())
	}
}

// say adds a message to what an agent says.
func (r *Reply) say(p *speaker, f *frame) {
	kept := p.wanted && !r.ended
	switch f.kind {
	case "stream_start":
		if kept {
			r.consumer.add(Event{Type: f.kind, Raw: r.session.mask.Bytes(f.data)}, p)
		}
		return
	case "stream_chunk":
		chunk, _ := f.text("chunk", "content", "text", "delta")
		if !kept || !r.room(len(chunk)) {
			return
		}
		r.consumer.addChunk(p, len(chunk))
		p.text = append(p.text, chunk...)
		r.size += len(chunk)
		return
	}
	p.ended = true
	if !kept {
		return
	}
	p.err, p.raw, p.usage = r.session.failure(f, p.agent), f.data, f.tokens()
	if p.err != nil {
		p.raw = r.session.mask.Bytes(f.data)
	}
	e := Event{Type: f.kind, Raw: p.raw}
	if full, whole := f.full(); whole && p.err == nil {
		p.full = &full
		if len(p.text) == 0 {
			e.Text = full
		}
	}
	r.consumer.add(e, p)
}

// fail handles an error: of one agent, or of all that have not ended.
func (r *Reply) fail(f *frame) {
	names := []string{f.agent}
	if f.agent == "" && len(r.expected) > 0 {
		names = r.pending(r.expected)
	}
	for _, name := range names {
		p := r.speaker(name)
		if p == nil {
			continue
		}
		p.ended = true
		if p.wanted && !r.ended {
			p.err, p.raw = r.session.failure(f, p.agent), r.session.mask.Bytes(f.data)
			r.consumer.add(Event{Type: f.kind, Raw: p.raw}, p)
		}
	}
}

// progress handles a message of a type that is not documented.
func (r *Reply) progress(f *frame) {
	raw := r.session.mask.Bytes(f.data)
	if len(r.others) < maxUnknown && len(raw) <= maxUnknownBytes {
		r.others = append(r.others, raw)
	}
	named := len(r.expected) == 0 || f.agent == "" || slices.Contains(r.agents, r.nameOf(f.agent))
	if named && r.room(len(raw)) {
		r.consumer.add(Event{Type: r.session.mask.Line(f.kind, maxName), Agent: f.agent, Raw: raw}, nil)
	}
}

// room ends the reply if size more bytes are too many.
func (r *Reply) room(size int) bool {
	if int64(r.size+size) > r.session.conf.maxMessage {
		r.finish(ErrTooLarge, false)
		return false
	}
	if r.consumer.backlog(r.size)+size <= maxUnread {
		return true
	}
	if r.unbounded {
		r.consumer.drop()
		return true
	}
	r.finish(ErrTooLarge, false)
	return false
}

// Wait waits for the end of the reply and returns the complete answer. It can
// be called after ranging over the chunks or the events, or instead of that.
// The answer is never nil: with an error, it holds what was received so far.
func (r *Reply) Wait() (*Answer, error) {
	if r.session == nil {
		return &Answer{}, ErrConsumed
	}
	r.mu.Lock()
	r.unbounded = true
	r.mu.Unlock()
	<-r.over
	r.report()
	return r.answer(), r.failure()
}

func (r *Reply) answer() *Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &Answer{Unknown: r.others}
	for _, p := range r.speakers {
		if !p.wanted {
			continue
		}
		one := Answer{Agent: p.agent, Text: p.whole(), TokenUsage: p.usage, Raw: p.raw}
		if p.err != nil {
			one.Err = p.err
		}
		a.Answers = append(a.Answers, one)
		a.Raw = p.raw
		a.TokenUsage.Input += p.usage.Input
		a.TokenUsage.Output += p.usage.Output
		a.TokenUsage.Thinking += p.usage.Thinking
		a.TokenUsage.Cached += p.usage.Cached
		a.TokenUsage.Total += p.usage.Total
	}
	if len(a.Answers) == 1 {
		a.Agent = a.Answers[0].Agent
	}
	if len(a.Answers) < 2 && len(r.agents) < 2 {
		a.Answers = nil
	}
	a.Text = r.text()
	return a
}
