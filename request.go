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

// request is a call as a service method describes it.
type request struct {
	op    api.Op
	id    string // fills the one placeholder of the route besides {project}
	query query
	body  any // sent as JSON; nil: no body
	// encoded is JSON that is sent as it is, in place of body.
	encoded []byte
	form    *upload // sent as it is, in place of body
	// repeatable makes an unsafe operation an idempotent one, because its
	// arguments do.
	repeatable bool
	lane       Lane
	spare      time.Duration // see Admission.Spare
	admitted   func()        // is told when an attempt may be sent
	// received, if not nil, gets the headers of the last answer.
	received func(http.Header)
	// salvage, if not nil, makes a result of a body that is not whole, or nil.
	salvage func(body []byte) any
}

// upload is a body that is made while it is sent, and made again for a retry.
type upload struct {
	contentType string
	open        func() (io.Reader, error)
}

// locate fills in the URL of a call.
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

// buildPath fills the placeholders of the call's route. Raw is set where the
// escaped path differs from the plain one.
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
		// EscapedPath leaves some characters alone that PathEscape escapes; all of
		// them are allowed in a path. What would divide segments was refused.
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

// unreserved reports whether s stands in a path as it is.
func unreserved(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && !isDigit(c) && c != '-' && c != '_' && c != '.' && c != '~' {
			return false
		}
	}
	return true
}

// checkSegment returns what is wrong with a path argument, "" if nothing is.
// Escaping is not enough: servers decode %2F before they route, and some decode
// twice, so whatever could leave its segment is refused, in its percent forms
// too.
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
			return "contains a slash or a backslash, or a percent form of one"
		case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) }):
			return "contains a control character, or a percent form of one"
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

// dotSegment reports whether s is "." or "..", also with parameters behind a
// semicolon, which some servers take off before they resolve it.
func dotSegment(s string) bool {
	s, _, _ = strings.Cut(s, ";")
	s = strings.TrimSpace(s)
	return s == "." || s == ".."
}

// unescapeOnce decodes the valid percent forms in s and leaves the rest.
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

// query is an encoded query string. Parameters that are not set are left out.
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
