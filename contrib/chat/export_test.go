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
