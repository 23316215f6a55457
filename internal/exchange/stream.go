package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A stream reads the body of an attempt from a reader of the user's, on a
// goroutine of its own: a reader that hangs, panics or exits must not take one of
// net/http's with it, nor outlast the attempt for the caller.
type stream struct {
	reader io.Reader
	end    *deadline

	ask   chan struct{}
	reply chan struct{} // rest is there; closed with the reader
	buf   *[streamChunk]byte

	mu    sync.Mutex
	rest  []byte // what is left of the last chunk
	err   error  // that came with it
	taken int64  // bytes of the body
	began bool
	busy  bool // the reader is being read
	over  bool // nothing is read any more
	short bool // it has ended with an errShort
}

const streamChunk = 32 << 10

var chunks = sync.Pool{New: func() any { return new([streamChunk]byte) }}

// errShort is the error of a body that had more bytes in an earlier attempt: its
// reader can be read only once.
var errShort = errors.New("the body ended earlier than in an earlier attempt: its reader was used up")

// errRunaway is the cause of an attempt whose body is read by code that does
// not return.
var errRunaway = errors.New("the code that reads the body did not return: it panicked or called runtime.Goexit")

// streamBody is a stream as the body of a request. Its reader is closed at its end
// or at that of the attempt.
type streamBody struct{ *stream }

func (streamBody) Close() error { return nil }

// Read implements [io.Reader].
func (s streamBody) Read(p []byte) (int, error) {
	if s.end.collected().gaveUp() {
		// What is read now is lost. After the end of the body net/http finds that
		// nothing was written, and takes another connection.
		return 0, io.EOF
	}
	if err := s.next(); err != nil {
		return 0, err
	}
	s.end.alive() // as long as it makes progress
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, context.Canceled
	}
	n := copy(p, s.rest)
	s.taken += int64(n)
	if s.rest = s.rest[n:]; len(s.rest) > 0 {
		return n, nil
	}
	s.rest = nil
	if s.err == io.EOF && s.taken < s.end.Body.most { //nolint:errorlint // as io.Reader demands
		s.short = true
		s.err = fmt.Errorf("%w: %d of %d bytes", errShort, s.taken, s.end.Body.most)
	}
	return n, s.err
}

// next waits for the next chunk if nothing is left of the last one, or for the end
// of the attempt.
func (s *stream) next() error {
	s.mu.Lock()
	ready := s.rest != nil || s.err != nil || s.over
	if !ready && !s.began {
		s.began, s.ask, s.reply = true, make(chan struct{}), make(chan struct{})
		s.buf, _ = chunks.Get().(*[streamChunk]byte)
		s.end.taken.Store(true)
		go s.serve()
	}
	s.mu.Unlock()
	if ready {
		return nil
	}
	select {
	case s.ask <- struct{}{}:
	case <-s.end.Done():
		return s.end.Err()
	}
	select {
	case _, ok := <-s.reply:
		if ok {
			return nil
		}
	case <-s.end.Done():
	}
	return s.end.Err()
}

// serve reads the reader until it or the attempt ends, and closes it.
func (s *stream) serve() {
	defer close(s.reply)
	defer s.guard((*stream).close)
	s.guard((*stream).pump)
}

func (s *stream) pump() {
	for empty := 0; ; {
		select {
		case <-s.ask:
		case <-s.end.Done():
			return
		}
		if !s.enter() {
			return
		}
		n, err := s.reader.Read(s.buf[:])
		if empty++; n > 0 {
			empty = 0
		} else if empty == maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
		s.leave(s.buf[:n], err)
		select {
		case s.reply <- struct{}{}:
		case <-s.end.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// guard calls code of the user's, and ends the attempt if it does not return.
func (s *stream) guard(f func(*stream)) {
	returned := false
	defer func() {
		if !returned {
			s.leave(nil, errRunaway)
			s.end.runaway(recover())
		}
	}()
	f(s)
	returned = true
}

// enter reports whether the reader may be read.
func (s *stream) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = !s.over
	return s.busy
}

func (s *stream) leave(chunk []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy, s.rest, s.err = false, chunk, err
}

func (s *stream) close() {
	if c, ok := s.reader.(io.Closer); ok {
		_ = c.Close()
	}
}

// finish ends a stream with its attempt: it returns when the reader is closed, or
// is still being read, and then is closed afterwards.
func (s *stream) finish() {
	s.mu.Lock()
	s.over = true
	began, busy := s.began, s.busy
	s.end.Body.most = max(s.end.Body.most, s.taken)
	s.mu.Unlock()
	switch {
	case !began:
		s.close()
	case !busy:
		for closed := false; !closed; {
			select {
			case _, more := <-s.reply:
				closed = !more
			case <-s.end.Caller.Done(): // the reader's Close may hang
				return
			}
		}
		chunks.Put(s.buf)
	}
}

// tooShort reports whether the body had fewer bytes than in an earlier attempt.
func (s *stream) tooShort() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.short
}
