package connic

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// request is a call as described by a service method.
type request struct {
	op    api.Op
	id    string // fills the only placeholder of the route besides {project}
	query query
	body  any // sent as JSON; nil means no body
	// encoded is JSON to send verbatim instead of body.
	encoded []byte
	form    *upload // sent verbatim instead of body
	// repeatable makes an unsafe operation idempotent, because its arguments
	// do.
	repeatable bool
	lane       Lane
	spare      time.Duration // see Admission.Spare
	admitted   func()        // called when an attempt is admitted
	// received, if not nil, is called with the headers of the last response.
	received func(http.Header)
	// salvage, if not nil, returns a result from a truncated body, or nil.
	salvage func(body []byte) any
}

// upload is a body that is generated while it is sent, and again for each
// retry.
type upload struct {
	contentType string
	open        func() (io.Reader, error)
}

// locate sets the URL of a call.
func (c *Client) locate(k *call, r *request) error {
	path, raw, err := c.buildPath(k, r.id)
	if err != nil {
		return err
	}
	k.url = url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: path, RawPath: raw, RawQuery: string(r.query)}
	if len(k.options.query) > 0 {
		if k.url.RawQuery != "" {
			k.url.RawQuery += "&"
		}
		k.url.RawQuery += k.options.query.Encode()
	}
	if c.slashed[k.op.Op].Load() {
		k.toggleSlash()
	}
	return nil
}

// buildPath fills the placeholders of the route. raw is set if the escaped path
// differs from the plain one.
func (c *Client) buildPath(k *call, id string) (path, raw string, err error) {
	var buf [256]byte
	plain := append(buf[:0], c.base.Path...)
	escaped := false
	for rest := k.route(); rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			plain = append(plain, rest...)
			break
		}
		end := open + strings.IndexByte(rest[open:], '}')
		name := rest[open+1 : end]
		plain = append(plain, rest[:open]...)
		rest = rest[end+1:]
		value := id
		if name == "project" {
			value = c.project
		} else if reason := checkSegment(value); reason != "" {
			return "", "", k.argument(argumentName(name), reason)
		}
		plain = append(plain, value...)
		escaped = escaped || !unreserved(value)
	}
	path = string(plain)
	if escaped {
		raw = (&url.URL{Path: path}).EscapedPath()
		// EscapedPath leaves some characters unescaped that PathEscape escapes;
		// all of them are allowed in a path. Characters that would separate
		// segments were refused.
		if raw == path {
			raw = ""
		}
	}
	return path, raw, nil
}

func argumentName(placeholder string) string {
	if placeholder == "agent" {
		return "agent name"
	}
	return strings.ReplaceAll(placeholder, "_", " ") + " id"
}

// unreserved reports whether s needs no escaping in a path.
func unreserved(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && !isDigit(c) && c != '-' && c != '_' && c != '.' && c != '~' {
			return false
		}
	}
	return true
}

// checkSegment returns what is wrong with a path argument, or "". Escaping is
// not sufficient: servers decode %2F before routing, and some decode twice, so
// anything that could leave its segment is refused, including its
// percent-encoded forms.
func checkSegment(s string) string {
	for range 5 {
		switch {
		case s == "":
			return "is empty"
		case strings.TrimSpace(s) == "":
			return "is blank"
		case dotSegment(s):
			return "is a dot segment"
		case strings.ContainsAny(s, `/\`):
			return "contains a slash or a backslash, or its percent-encoded form"
		case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) }):
			return "contains a control character, or its percent-encoded form"
		case strings.IndexByte(s, '%') < 0:
			return ""
		}
		decoded := unescapeOnce(s)
		if decoded == s {
			return ""
		}
		s = decoded
	}
	return "is percent-encoded too often"
}

// dotSegment reports whether s is "." or "..", even with parameters after a
// semicolon, which some servers remove before they resolve it.
func dotSegment(s string) bool {
	s, _, _ = strings.Cut(s, ";")
	s = strings.TrimSpace(s)
	return s == "." || s == ".."
}

// unescapeOnce decodes the valid percent escapes in s and leaves the rest
// unchanged.
func unescapeOnce(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// query is an encoded query string. Unset parameters are omitted.
type query []byte

func (q *query) add(key, value string) {
	if value == "" {
		return
	}
	if len(*q) > 0 {
		*q = append(*q, '&')
	}
	*q = append(*q, key...)
	*q = append(*q, '=')
	*q = append(*q, url.QueryEscape(value)...)
}

func (q *query) addInt(key string, value int) {
	if value != 0 {
		q.add(key, strconv.Itoa(value))
	}
}

func (q *query) addTime(key string, value time.Time) {
	if !value.IsZero() {
		q.add(key, value.UTC().Format(time.RFC3339Nano))
	}
}

var contentJSON = []string{"application/json"}
