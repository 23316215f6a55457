package exchange

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// A stream reads the body of an attempt from a reader of the user's, on a
// goroutine of its own: a reader that hangs, panics or exits must not take one of
// net/http's with it, nor outlast the attempt for the caller.
type stream struct {
	reader io.Reader
	end    *deadline

	began bool
	ask   chan struct{}
	reply chan chunk
	rest  chunk // what is left of the last reply
	taken atomic.Int64
	short atomic.Bool // it has ended with an errShort

	mu     sync.Mutex
	over   bool          // nothing is read any more
	busy   bool          // in the reader
	closed chan struct{} // once the reader is closed
}

// A chunk is the result of a read.
type chunk struct {
	b   []byte
	err error
}

const streamChunk = 32 << 10

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
	for len(s.rest.b) == 0 && s.rest.err == nil {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	s.end.alive() // as long as it makes progress
	n := copy(p, s.rest.b)
	s.rest.b = s.rest.b[n:]
	taken := s.taken.Add(int64(n))
	if len(s.rest.b) > 0 {
		return n, nil
	}
	if s.rest.err == io.EOF && taken < s.end.Body.most { //nolint:errorlint // as io.Reader demands
		s.short.Store(true)
		s.rest.err = fmt.Errorf("%w: %d of %d bytes", errShort, taken, s.end.Body.most)
	}
	return n, s.rest.err
}

// next waits for the next chunk, or for the end of the attempt.
func (s *stream) next() error {
	if !s.began {
		s.ask, s.reply, s.closed = make(chan struct{}), make(chan chunk), make(chan struct{})
		s.mu.Lock()
		s.began = true
		s.mu.Unlock()
		s.end.taken.Store(true)
		go s.serve()
	}
	select {
	case s.ask <- struct{}{}:
	case <-s.end.Done():
		return s.end.Err()
	}
	select {
	case s.rest = <-s.reply:
	case <-s.end.Done():
		return s.end.Err()
	}
	return nil
}

// serve reads the reader until it or the attempt ends, and closes it.
func (s *stream) serve() {
	defer close(s.closed)
	defer s.guard(s.close)
	s.guard(s.pump)
}

func (s *stream) pump() {
	buf := make([]byte, streamChunk)
	for empty := 0; ; {
		select {
		case <-s.ask:
		case <-s.end.Done():
			return
		}
		if !s.enter() {
			return
		}
		n, err := s.reader.Read(buf)
		s.leave()
		if empty++; n > 0 {
			empty = 0
		} else if empty == maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
		select {
		case s.reply <- chunk{buf[:n], err}:
		case <-s.end.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// guard calls code of the user's, and ends the attempt if it does not return.
func (s *stream) guard(f func()) {
	returned := false
	defer func() {
		s.leave()
		if !returned {
			s.end.runaway(recover())
		}
	}()
	f()
	returned = true
}

// enter reports whether the reader may be read.
func (s *stream) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = !s.over
	return s.busy
}

func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
}

func (s *stream) close() {
	if c, ok := s.reader.(io.Closer); ok {
		_ = c.Close()
	}
}

// finish ends a stream with its attempt: it returns when the reader is closed, or
// is still being read, and then is closed afterwards.
func (s *stream) finish() {
	s.end.Body.most = max(s.end.Body.most, s.taken.Load())
	s.mu.Lock()
	s.over = true
	began, busy := s.began, s.busy
	s.mu.Unlock()
	switch {
	case !began:
		s.close()
	case !busy:
		<-s.closed
	}
}
