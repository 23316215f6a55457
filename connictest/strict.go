package connictest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// TB is what the fake needs of a test: a *testing.T, a *testing.B, or what a test
// framework offers in their place.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Lenient makes the fake take parameters and body keys that an operation does not
// have, and keep to itself what else is wrong with a request.
//
// By default it is strict. A request to an unknown route, without a key, with an
// unknown parameter or body key, with a value of a wrong type or without a required
// one is answered as the service would, and the test that the fake was made for
// fails with a sentence (t.Errorf). Answers that a caller can get without a fault
// of the program are not told: a key without permission, a resource that does not
// exist, a value out of range, the quota.
func (s *Server) Lenient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lenient = true
}

// Complaints returns what the test was told, or would have been if the fake had
// been made for one, oldest first.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.complaints)
}

// maxComplaints bounds the complaints that are kept.
const maxComplaints = 1000

// tell tells the test what is wrong. The caller does not hold the mutex.
func (s *Server) tell(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
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

// isTold reports whether a validation error of a kind shows that the program asks
// for something that the operation does not know, and not just for a value that it
// does not take.
func isTold(kind string) bool {
	switch kind {
	case "extra_forbidden", "missing", "json_invalid", "media_type", "multipart", "null_forbidden":
		return true
	}
	return strings.HasSuffix(kind, "_type") || strings.HasSuffix(kind, "type_error")
}

// bubble names the synctest bubble of the calling goroutine; it is empty outside.
// The header of a stack trace is the only place that says so.
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

// reachable returns an error where a call of the fake from this goroutine would
// hang: from inside another synctest bubble than the one it was made in.
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

// ask calls a function of the test on a goroutine of its own and without the
// mutex, so that it may panic, end its goroutine, block, or call the server. It
// returns an error where the function returns nothing. The caller holds the mutex,
// and finds the server's state changed.
func ask[T any](ctx context.Context, s *Server, what string, f func() T) (T, error) {
	s.mu.Unlock()
	defer s.mu.Lock()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errors.New(what + " " + ranAway)}
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

// ranAway is what a function did that ended its goroutine.
const ranAway = "ended its goroutine (t.FailNow, t.Fatal or runtime.Goexit) instead of returning"

// errClosed is what requests get from a closed server.
var errClosed = errors.New("connictest: the server is closed")
