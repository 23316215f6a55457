package chat

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic/internal/mask"
)

const (
	dialTime     = 10 * time.Second // for the handshake, and for the first message
	writeTime    = 30 * time.Second // for one message, and
	writeRate    = 64 << 10         // bytes a second more
	closeTime    = 500 * time.Millisecond
	pingInterval = 30 * time.Second
	pingTimeout  = 10 * time.Second
	idleTime     = 5 * time.Minute
	maxMessage   = 16 << 20
	maxDetail    = 500 // characters
	idPrefix     = "connic-go-"
)

// A Session is a conversation with an agent over one connection. It is safe for
// concurrent use, has one reply at a time and two goroutines of its own, and
// must be closed.
type Session struct {
	conn *websocket.Conn
	wire net.Conn // under conn; nil if the transport does not show it
	id   string
	conf config
	mask *mask.Mask

	ctx    context.Context // of the connection
	cancel context.CancelFunc
	out    chan outgoing
	loops  sync.WaitGroup
	done   chan struct{} // closed when the session has ended
	quiet  chan struct{} // closed when nothing more is written

	mu      sync.Mutex
	err     error  // why it has ended
	current *Reply // the one that has not come to its end
	sent    int
}

type outgoing struct {
	data  []byte
	reply *Reply
}

func (s *Session) line(text string) string { return s.mask.Line(text, maxDetail) }

// ID returns the id of the run that represents the whole session.
func (s *Session) ID() string { return s.id }

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

// Close ends the session and any incomplete reply. It takes at most a second,
// and may be called from any goroutine and more than once.
func (s *Session) Close() error {
	s.end(ErrClosed)
	// A peer that has gone does not complete the closing handshake, for which
	// the library waits 5 s.
	timer := time.AfterFunc(closeTime, s.abort)
	defer timer.Stop()
	_ = s.conn.Close(websocket.StatusNormalClosure, "")
	s.cancel()
	s.loops.Wait()
	return nil
}

// abort closes the underlying connection. Closing TLS would send a close
// notification first, and wait for the peer to read it.
func (s *Session) abort() {
	s.cancel()
	switch wire := s.wire.(type) {
	case nil:
	case *tls.Conn:
		_ = wire.NetConn().Close()
	default:
		_ = wire.Close()
	}
}

// end records why the session has ended. The first reason wins.
func (s *Session) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	reply := s.current
	s.current = nil
	close(s.done)
	s.mu.Unlock()
	if reply != nil {
		reply.finish(func(r *Reply) { r.err = &ReplyError{Partial: string(r.text), Err: err} })
		reply.settle()
	}
}

// read is the only reader of the connection. It never waits for a consumer, so
// that pings are answered whatever the caller does.
func (s *Session) read() {
	defer s.cancel() // ends the writer too
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

// write is the one writer of the connection.
func (s *Session) write() {
	defer close(s.quiet)
	defer s.cancel() // a reader without a writer is of no use
	ticker := time.NewTicker(s.conf.interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
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
			limit := writeTime + time.Duration(len(m.data)/writeRate)*time.Second
			ctx, stop := context.WithTimeout(s.ctx, limit)
			err := s.conn.Write(ctx, websocket.MessageText, m.data)
			stop()
			if err != nil {
				s.end(fmt.Errorf("%w: %w", ErrLost, s.mask.Error(err)))
				return
			}
			m.reply.sent()
		}
	}
}

// Send sends a message and returns its reply as soon as the message is written.
// The context applies to the reply: when it ends, the reply ends, but not the
// session. The service cannot stop a reply, so the rest of an abandoned reply
// is discarded, and the next Send waits for its end. While a reply is being
// read, Send returns [ErrBusy].
//
// If a [*ReplyError] matches [connic.ErrOutcomeUnknown], the message may have
// been received.
func (s *Session) Send(ctx context.Context, m Message) (*Reply, error) {
	if ctx == nil {
		return nil, argument("context", "is nil")
	}
	s.mu.Lock()
	s.sent++
	id := idPrefix + strconv.Itoa(s.sent)
	s.mu.Unlock()
	data, err := m.encode(id)
	if err != nil {
		return nil, err
	}
	r := newReply(s, id)
	if err := s.enter(ctx, r); err != nil {
		return nil, err
	}
	unsent := func(err error) (*Reply, error) {
		s.leave(r)
		return nil, &ReplyError{Err: err, unsent: true}
	}
	select {
	case s.out <- outgoing{data, r}:
	case <-ctx.Done():
		return unsent(causeOf(ctx))
	case <-s.done:
		return unsent(s.Err())
	}
	r.watch(ctx)
	select {
	case <-r.written:
		return r, nil
	case <-r.over: // the whole reply was quicker, or the context or the session has ended
		if s.Err() != nil { // the writer ends too, and knows whether it wrote the message
			select {
			case <-r.written:
			case <-s.quiet:
			}
		}
		if _, err := r.Wait(); err != nil && !r.isWritten() {
			return nil, err
		}
		return r, nil
	}
}

// Ask sends a message and waits for the complete answer. See [Session.Send].
func (s *Session) Ask(ctx context.Context, m Message) (*Answer, error) {
	r, err := s.Send(ctx, m)
	if err != nil {
		return &Answer{}, err
	}
	return r.Wait()
}

// enter makes r the current reply once the previous one has ended.
func (s *Session) enter(ctx context.Context, r *Reply) error {
	for {
		if ctx.Err() != nil {
			return &ReplyError{Err: causeOf(ctx), unsent: true}
		}
		s.mu.Lock()
		before := s.current
		switch {
		case s.err != nil:
			s.mu.Unlock()
			return &ReplyError{Err: s.err, unsent: true}
		case before == nil:
			s.current = r
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if !before.isOver() {
			return ErrBusy
		}
		select { // its caller has left it, and its rest is passed over
		case <-before.settled:
		case <-ctx.Done():
		case <-s.done:
		}
	}
}

// leave makes room for the next reply.
func (s *Session) leave(r *Reply) {
	s.mu.Lock()
	if s.current == r {
		s.current = nil
	}
	s.mu.Unlock()
	r.settle()
}

// take takes a message of the service.
func (s *Session) take(data []byte) {
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	e := parseEvent(data)
	// An id of ours that is not the current one is of a reply before.
	if r == nil || (e.id != r.id && strings.HasPrefix(e.id, idPrefix)) {
		return
	}
	r.sent() // the service is quicker than the writer
	switch e.kind {
	case "ack", "stream_start":
		r.alive()
	case "stream_chunk":
		chunk, _ := e.text("content", "chunk", "text", "delta")
		r.add(chunk)
	case "stream_end", "response":
		full, whole := e.text("full_response", "response", "content", "text", "message", "output")
		r.finish(func(r *Reply) {
			if whole {
				r.full = &full
			}
			r.usage, r.raw = e.tokens(), data
		})
		s.leave(r)
	case "error":
		detail, _ := e.text("message", "error", "detail", "content", "text")
		r.finish(func(r *Reply) { r.err = &ReplyError{Partial: string(r.text), Detail: s.line(detail)} })
		s.leave(r)
	default:
		r.unknown(data)
	}
}
