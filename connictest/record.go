package connictest

import (
	"net/http"
	"strings"
	"time"
)

// Limits for recorded requests.
const (
	maxRequests   = 10_000
	maxBodies     = 16 << 20 // bytes of all bodies together
	maxBodyLength = 4 << 20  // bytes of one
	maxHeads      = 32 << 20 // bytes of all paths, queries and headers together
)

// A Request is a request that the fake received.
type Request struct {
	ID     string // the X-Request-Id of the response
	Op     string // such as "runs.get"; empty for an unknown route
	Method string
	Path   string
	Query  string      // without secret
	Header http.Header // without Authorization and X-Connic-Secret
	// Body is nil if it was longer than 4 MiB, or was discarded in favor of
	// later ones.
	Body   []byte
	Length int // of the body, in bytes
	Status int // of the response; 0 if there was none
	At     time.Time
}

// record holds the most recent requests.
type record struct {
	requests []*Request
	bodies   int   // total size of the bodies
	sizes    []int // of the rest of each request
	heads    int   // their sum
	bare     int   // number of oldest requests without a body
}

// Requests returns the most recent 10,000 requests, oldest first, including
// refused ones. At most 16 MiB of their bodies are kept, and 32 MiB of the rest.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.record.requests))
	for i, r := range s.record.requests {
		requests[i] = *r
	}
	return requests
}

// ClearRequests discards the recorded requests and resets the counts of
// [Server.Executions].
func (s *Server) ClearRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = record{}
	clear(s.executed)
}

// Executions returns how many requests of an operation were executed. It
// includes those whose response was lost, but not those that were refused
// because of their key, the quota or their arguments.
func (s *Server) Executions(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.executed[op]
}

// note records a request. The caller holds the mutex.
func (s *Server) note(op string, r *http.Request, body []byte) *Request {
	header := r.Header.Clone()
	header.Del("Authorization")
	header.Del("X-Connic-Secret")
	query := r.URL.RawQuery
	if values := r.URL.Query(); values.Has("secret") {
		values.Del("secret")
		query = values.Encode()
	}
	request := &Request{
		ID: s.newID("req"), Op: op, Method: r.Method, Path: r.URL.Path, Query: query, Header: header,
		Length: len(body), At: s.now(),
	}
	if len(body) <= maxBodyLength {
		request.Body = body
	}
	k := &s.record
	k.requests = append(k.requests, request)
	k.bodies += len(request.Body)
	size := len(request.Path) + len(request.Query)
	for name, values := range header {
		size += len(name) + len(strings.Join(values, ""))
	}
	k.sizes, k.heads = append(k.sizes, size), k.heads+size
	for len(k.requests) > maxRequests || k.heads > maxHeads {
		if k.bare == 0 {
			k.drop()
		}
		k.heads -= k.sizes[0]
		clear(k.requests[:1])
		k.requests, k.sizes = k.requests[1:], k.sizes[1:]
		k.bare--
	}
	for k.bodies > maxBodies {
		k.drop()
	}
	return request
}

// drop discards the oldest remaining body.
func (k *record) drop() {
	oldest := k.requests[k.bare]
	k.bodies -= len(oldest.Body)
	oldest.Body = nil
	k.bare++
}
