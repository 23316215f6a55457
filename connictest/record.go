package connictest

import (
	"net/http"
	"time"
)

// What is kept of the requests.
const (
	maxRequests   = 10_000
	maxBodies     = 16 << 20 // bytes of all bodies together
	maxBodyLength = 4 << 20  // bytes of one
)

// Request is a request that the fake received.
type Request struct {
	ID     string // the X-Request-Id of its answer
	Op     string // "runs.get"; empty for an unknown route
	Method string
	Path   string
	Query  string
	Header http.Header // without Authorization
	// Body is nil where it was longer than 4 MiB, or where those of later requests
	// have taken its place.
	Body   []byte
	Length int // of the body, in bytes
	Status int // of the answer; 0 if there was none
	At     time.Time
}

// record holds the last requests.
type record struct {
	requests []*Request
	bodies   int // bytes that they hold
	bare     int // requests at the beginning whose bodies are gone
}

// Requests returns the last 10,000 requests, oldest first, refused ones included.
// Of their bodies it holds 16 MiB.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.record.requests))
	for i, r := range s.record.requests {
		requests[i] = *r
	}
	return requests
}

// ClearRequests forgets the requests so far, and counts executions anew.
func (s *Server) ClearRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = record{}
	clear(s.executed)
}

// Executions returns how many requests of an operation were executed: not those
// that were refused for their key, the quota or their arguments, but those whose
// answer was lost.
func (s *Server) Executions(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.executed[op]
}

// note records a request. The caller holds the mutex.
func (s *Server) note(op string, r *http.Request, body []byte) *Request {
	header := r.Header.Clone()
	header.Del("Authorization")
	request := &Request{
		ID: s.newID("req"), Op: op, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: header,
		Length: len(body), At: s.now(),
	}
	if len(body) <= maxBodyLength {
		request.Body = body
	}
	k := &s.record
	k.requests = append(k.requests, request)
	k.bodies += len(request.Body)
	if len(k.requests) > maxRequests {
		if k.bare == 0 {
			k.drop()
		}
		k.requests = k.requests[1:]
		k.bare--
	}
	for k.bodies > maxBodies {
		k.drop()
	}
	return request
}

// drop drops the oldest body that is left.
func (k *record) drop() {
	oldest := k.requests[k.bare]
	k.bodies -= len(oldest.Body)
	oldest.Body = nil
	k.bare++
}
