package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic/internal/mask"
)

const (
	dialTime     = 10 * time.Second // for the handshake, and for the first message
	writeTime    = 30 * time.Second // for one message, plus
	writeRate    = 64 << 10         // one second per this many bytes
	closeTime    = 500 * time.Millisecond
	abandonTime  = 50 * time.Millisecond // to close during a reply
	pingInterval = 30 * time.Second
	pingTimeout  = 10 * time.Second
	idleTime     = 5 * time.Minute
	approvalTime = 7 * 24 * time.Hour
	maxMessage   = 16 << 20
	maxDetail    = 500 // characters
	maxOpen      = 16  // replies that the service has not ended
	idPrefix     = "connic-go-"
)

// A Session is a conversation with the agents of a connector over one
// connection. It is safe for concurrent use, has one reply at a time and two
// goroutines of its own, and must be closed.
type Session struct {
	conn   *websocket.Conn
	wire   *wire // under conn
	id     string
	agents []string
	conf   config
	mask   *mask.Mask

	ctx    context.Context // of the connection
	cancel context.CancelFunc
	out    chan outgoing
	loops  atomic.Int32  // that have returned
	done   chan struct{} // closed when the session has ended
	gone   chan struct{} // closed when both loops have returned

	mu      sync.Mutex
	err     error // why it has ended
	replies inbox
	current *Reply // the last one, if its end has to be reported
	sent    int
	moved   chan struct{} // closed when an agent has ended; nil if nobody waits for it
}

type outgoing struct {
	data  []byte
	reply *Reply
}

func (s *Session) line(text string) string { return s.mask.Line(text, maxDetail) }

// ID returns the id of the run that represents the whole session.
func (s *Session) ID() string { return s.id }

// Agents returns the names of the agents that answer each message, as the
// service has named them. It is empty if the service did not.
func (s *Session) Agents() []string { return slices.Clone(s.agents) }

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session has ended: an error that is or wraps [ErrEnded],
// [ErrLost], [ErrClosed] or [ErrTooLarge]. It is nil while the session is open.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Format implements [fmt.Formatter]: a Session prints as its id.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "chat.Session(%s)", s.id) }

// Close ends the session and any incomplete reply. It waits up to half a second
// for the service to close the connection too, or 50 ms during a reply, and may
// be called from any goroutine and more than once.
func (s *Session) Close() error {
	limit := closeTime
	if s.end(ErrClosed) {
		limit = abandonTime
	}
	timer := time.AfterFunc(limit, func() {
		s.cancel()
		s.wire.abort()
	})
	defer timer.Stop()
	bound := time.NewTimer(2 * closeTime)
	defer bound.Stop()
	select {
	case <-s.gone:
	case <-bound.C: // a transport that is not one of net/http may close slowly
	}
	s.mu.Lock()
	last := s.current
	s.mu.Unlock()
	if last != nil {
		last.report()
	}
	return nil
}

// end records why the session has ended. The first reason wins. It reports
// whether a reply was incomplete.
func (s *Session) end(err error) (incomplete bool) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return false
	}
	s.err = err
	open := s.replies.open
	s.replies.open = nil
	close(s.done)
	s.mu.Unlock()
	for _, r := range open {
		if r.isWritten() { // the writer ends the one that it is writing
			incomplete = r.give(err) || incomplete
		} else {
			incomplete = true
		}
	}
	return incomplete
}

// exit is called when a loop returns.
func (s *Session) exit() {
	s.cancel() // a reader without a writer is useless
	if s.loops.Add(1) == 2 {
		close(s.gone)
	}
}

// read is the only reader of the connection. It never waits for a consumer, so
// that pings are answered whatever the caller does.
func (s *Session) read() {
	defer s.exit()
	for {
		_, data, err := s.conn.Read(s.ctx)
		if err != nil {
			s.end(s.endOf(err))
			return
		}
		s.take(data)
	}
}

func (s *Session) endOf(err error) error {
	var closed websocket.CloseError
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		return ErrTooLarge
	case errors.As(err, &closed):
		return &EndError{Code: int(closed.Code), Reason: s.line(closed.Reason)}
	default:
		return fmt.Errorf("%w: %w", ErrLost, s.mask.Error(err))
	}
}

// write is the only writer of the connection, and closes it.
func (s *Session) write() {
	defer s.exit()
	defer func() { _ = s.conn.CloseNow() }()
	ticker := time.NewTicker(s.conf.interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.done:
			// The library waits 5 s for a peer that does not respond; see Close.
			_ = s.conn.Close(websocket.StatusNormalClosure, "")
			return
		case <-ticker.C:
			ctx, stop := context.WithTimeout(s.ctx, s.conf.timeout)
			err := s.conn.Ping(ctx)
			stop()
			if err != nil {
				s.end(fmt.Errorf("%w: a ping was not answered", ErrLost))
				return
			}
		case m := <-s.out:
			if err := s.writeMessage(m); err != nil {
				return
			}
		}
	}
}

// writeMessage writes a message, and ends its reply if the session has ended.
func (s *Session) writeMessage(m outgoing) error {
	m.reply.begin()
	limit := writeTime + time.Duration(len(m.data)/writeRate)*time.Second
	ctx, stop := context.WithTimeout(s.ctx, limit)
	defer stop()
	before := s.wire.written.Load()
	err := s.conn.Write(ctx, websocket.MessageText, m.data)
	if err == nil {
		m.reply.sent()
	} else {
		s.end(fmt.Errorf("%w: %w", ErrLost, s.mask.Error(err)))
	}
	if ended := s.Err(); ended != nil {
		m.reply.lose(ended, err != nil && s.wire.written.Load() == before)
	}
	return err
}

// Send sends a message and returns its reply as soon as the message is written.
// The context applies to the reply: when it ends, the reply ends, but not the
// session. While a reply is being read, Send returns [ErrBusy].
//
// The service cannot stop a reply. The rest of an abandoned reply is discarded,
// and the next Send waits for its end, or until nothing was received for the
// idle timeout. If the messages of the service do not say which message they
// respond to, Send waits for the idle timeout at most, and then returns
// [ErrBusy]: the rest could not be told from the next reply.
//
// If a [*ReplyError] matches [connic.ErrOutcomeUnknown], the message may have
// been received.
func (s *Session) Send(ctx context.Context, m Message) (*Reply, error) {
	if ctx == nil {
		return nil, argument("context", "is nil")
	}
	for _, name := range m.Agents {
		if name == "" || (len(s.agents) > 0 && !slices.Contains(s.agents, name)) {
			return nil, argument("agents", "has a name that is not one of the agents of the session")
		}
	}
	s.mu.Lock()
	s.sent++
	id := idPrefix + strconv.Itoa(s.sent)
	s.mu.Unlock()
	data, err := m.encode(id)
	if err != nil {
		return nil, err
	}
	ctx = s.conf.telemetry.Begin(ctx, sending)
	r := newReply(s, id, m.Agents)
	if s.conf.telemetry.Enabled() {
		r.trace.ctx, r.trace.start = ctx, r.last
	}
	returned := false
	defer func() {
		if !returned { // the context or an observer has panicked
			s.leave(r)
			r.give(ErrAbandoned)
		}
	}()
	if err := s.enter(ctx, r, m.FailFast); err != nil {
		returned = true
		return nil, r.unsent(err)
	}
	unsent := func(err error) (*Reply, error) {
		returned = true
		s.leave(r)
		return nil, r.unsent(&ReplyError{Err: err, unsent: true})
	}
	select {
	case s.out <- outgoing{data, r}:
	case <-ctx.Done():
		return unsent(causeOf(ctx))
	case <-s.done:
		return unsent(s.Err())
	}
	r.watch(ctx)
	returned = true
	select {
	case <-r.written:
	case <-r.over:
		if !r.isWritten() {
			r.report()
			return nil, r.failure()
		}
	}
	return r, nil
}

// Ask sends a message and waits for the complete answer. See [Session.Send].
func (s *Session) Ask(ctx context.Context, m Message) (*Answer, error) {
	r, err := s.Send(ctx, m)
	if err != nil {
		return &Answer{}, err
	}
	return r.Wait()
}

// enter makes r the current reply once it can be told from the earlier ones.
func (s *Session) enter(ctx context.Context, r *Reply, failFast bool) error {
	limit := time.Now().Add(s.conf.idle)
	for told := false; ; told = true {
		if told {
			r.trace.queued = time.Since(r.trace.start)
		}
		if ctx.Err() != nil {
			return &ReplyError{Err: causeOf(ctx), unsent: true}
		}
		s.mu.Lock()
		if s.err != nil {
			s.mu.Unlock()
			return &ReplyError{Err: s.err, unsent: true}
		}
		busy, until := s.replies.blocking(r, time.Now(), limit)
		if busy || failFast && !until.IsZero() {
			s.mu.Unlock()
			return ErrBusy
		}
		if until.IsZero() {
			s.replies.add(r)
			earlier := s.current
			if r.trace.ctx != nil {
				s.current = r
			}
			s.mu.Unlock()
			if earlier != nil {
				earlier.report() // nobody has read it
			}
			return nil
		}
		if s.moved == nil {
			s.moved = make(chan struct{})
		}
		moved := s.moved
		s.mu.Unlock()
		if !told {
			r.waits()
		}
		timer := time.NewTimer(time.Until(until))
		select {
		case <-moved:
		case <-timer.C:
		case <-ctx.Done():
		case <-s.done:
		}
		timer.Stop()
	}
}

// leave removes a reply whose message was not sent.
func (s *Session) leave(r *Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.isBegun() {
		s.replies.remove(r)
	}
	s.wake()
}

// wake wakes the callers that wait for an earlier reply. The caller holds the
// mutex.
func (s *Session) wake() {
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// take handles a message from the service.
func (s *Session) take(data []byte) {
	f := s.parse(data)
	s.mu.Lock()
	r := s.replies.route(&f)
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.take(&f)
	if f.kind == "stream_end" || f.kind == "response" || f.kind == "error" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.replies.ended(&f, r)
		s.wake()
	}
}
