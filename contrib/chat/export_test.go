package chat

import "github.com/connic-go/connic/internal/mask"

// ParseForTest takes a message of the service as a reply would, and returns its type.
func ParseForTest(data []byte) string {
	s := &Session{mask: mask.New("a-secret-of-tests"), conf: defaultConfig()}
	r := newReply(s, idPrefix+"1", nil)
	r.begin()
	s.replies.add(r)
	s.take(data)
	f := s.parse(data)
	_, _ = f.tokens(), f.approval()
	return f.kind
}

// OpenForTest returns the number of replies that the service has not ended.
func (s *Session) OpenForTest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.replies.open)
}

// RouteForTest reports whether a message of the service is taken for a response
// to a message that is being written, or not yet.
func RouteForTest(data []byte, begun bool) bool {
	s := &Session{conf: defaultConfig()}
	r := newReply(s, idPrefix+"1", nil)
	if begun {
		r.begin()
	}
	s.replies.add(r)
	f := s.parse(data)
	return s.replies.route(&f) == r
}
