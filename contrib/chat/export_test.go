package chat

import "github.com/connic-go/connic/internal/mask"

// ParseForTest takes a message of the service as a reply would, and returns its type.
func ParseForTest(data []byte) string {
	s := &Session{mask: mask.New("a-secret-of-tests"), conf: config{maxMessage: maxMessage, idle: idleTime}}
	r := newReply(s, idPrefix+"1")
	s.current = r
	s.take(data)
	e := parseEvent(data)
	_ = e.tokens()
	return e.kind
}
