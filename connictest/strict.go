package connictest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/mask"
)

// TB is the subset of testing.TB that the fake needs. *testing.T and *testing.B
// implement it.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Lenient makes the fake accept unknown parameters and body keys, and not
// report other invalid requests to the test.
//
// By default the fake is strict. If a request has an unknown route, no key, an
// unknown parameter or body key, a value of the wrong type, or lacks a required
// one, the fake responds as the service would, and fails the test it was
// created for with an explanation (t.Errorf). Responses that a correct program
// may receive are not reported: a key without permission, a resource that does
// not exist, a value out of range, or the quota.
func (s *Server) Lenient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lenient = true
}

// Complaints returns what was reported to the test, or would have been if there
// were one, oldest first: the first 1,000, each on a line of at most 4 KiB in
// which keys are masked.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.complaints)
}

// How many complaints are kept, and how much of each is told, in bytes.
const (
	maxComplaints = 1000
	maxComplaint  = 4 << 10
)

// tell reports an invalid request to the test. The caller does not hold the
// mutex.
func (s *Server) tell(format string, args ...any) {
	text := mask.Line(fmt.Sprintf(format, args...), maxComplaint)
	s.mu.Lock()
	if len(s.complaints) < maxComplaints {
		s.complaints = append(s.complaints, text)
	}
	t := s.test
	if t == nil || !s.begin() {
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	defer s.work.Done()
	t.Errorf("connictest: %s", text)
}

// isTold reports whether a kind of validation error shows that the program
// requests something that the operation does not know, rather than a value that
// it does not accept.
func isTold(kind string) bool {
	switch kind {
	case "extra_forbidden", "missing", "json_invalid", "media_type", "multipart", "null_forbidden":
		return true
	}
	return strings.HasSuffix(kind, "_type") || strings.HasSuffix(kind, "type_error")
}

// bubble identifies the synctest bubble of the calling goroutine; it returns ""
// outside. Only the header of a stack trace contains it.
func bubble() string {
	var header [128]byte
	line, _, _ := strings.Cut(string(header[:runtime.Stack(header[:], false)]), "\n")
	_, name, in := strings.Cut(line, "synctest bubble ")
	if !in {
		return ""
	}
	end := strings.IndexFunc(name, func(r rune) bool { return r < '0' || r > '9' })
	return name[:max(end, 0)]
}

// reachable returns an error if a call of the fake from this goroutine would
// hang: in a synctest bubble other than the one in which the fake was created.
func (s *Server) reachable() error {
	here := bubble()
	switch {
	case here == s.bubble:
		return nil
	case s.listener != nil:
		return errors.New("connictest: " + listensInBubble)
	case here == "":
		return errors.New("connictest: this fake was made inside a synctest bubble, and is called from outside")
	}
	return errors.New("connictest: this fake was made outside the synctest bubble that calls it; make it inside")
}

// ask calls a function of the test on a separate goroutine and without the
// mutex, so that the function may panic, end its goroutine, block, or call the
// server. It returns an error if the function does not return. The caller holds
// the mutex, and must expect the state of the server to have changed.
func ask[T any](ctx context.Context, s *Server, what string, f func() T) (T, error) {
	s.mu.Unlock()
	defer s.mu.Lock()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errors.New(what + " " + noReturn)}
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("%s panicked: %v", what, p)
			}
			done <- r
		}()
		value := f()
		r = result{value: value}
	}()
	var none T
	select {
	case r := <-done:
		if r.err != nil {
			s.tell("%v", r.err)
		}
		return r.value, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-s.ctx.Done():
		return none, errClosed
	}
}

// noReturn describes a function that ended its goroutine.
const noReturn = "ended its goroutine (t.FailNow, t.Fatal or runtime.Goexit) instead of returning"

// errClosed is returned for requests to a closed server.
var errClosed = errors.New("connictest: the server is closed")
