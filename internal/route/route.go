// Package route builds the paths of requests, and checks what they are built of.
package route

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Expand returns the path of a route below a base path. {project} is filled
// with project and any other placeholder with id; if id cannot be part of a
// path, name is the placeholder's and reason says why. raw is set if the escaped
// path differs from the plain one.
func Expand(base, route, project, id string) (path, raw, name, reason string) {
	var buf [256]byte
	plain := append(buf[:0], base...)
	escaped := false
	for route != "" {
		open := strings.IndexByte(route, '{')
		if open < 0 {
			plain = append(plain, route...)
			break
		}
		end := open + strings.IndexByte(route[open:], '}')
		name = route[open+1 : end]
		plain = append(plain, route[:open]...)
		route = route[end+1:]
		value := id
		if name == "project" {
			value = project
		} else if reason = Check(value); reason != "" {
			return "", "", name, reason
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
	return path, raw, "", ""
}

// unreserved reports whether s needs no escaping in a path.
func unreserved(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '~' {
			return false
		}
	}
	return true
}

// Check returns what is wrong with a path argument, or "". Escaping is
// not sufficient: servers decode %2F before routing, and some decode twice, so
// anything that could leave its segment is refused, including its
// percent-encoded forms.
func Check(s string) string {
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

// ParseBase parses a base URL and returns it without a trailing slash, or says
// what is wrong with it.
func ParseBase(s string) (base *url.URL, reason string) {
	bad := func(reason string) (*url.URL, string) { return nil, reason }
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case err != nil:
		return bad("is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("is not an absolute https URL")
	case u.Host == "" || u.Hostname() == "":
		return bad("has no host")
	case u.User != nil:
		return bad("contains a user; the API key is the only credential")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("has a query or a fragment")
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		return bad("is not https; http is accepted for loopback addresses only")
	}
	path := strings.TrimRight(u.Path, "/")
	for _, segment := range strings.Split(path, "/")[min(1, strings.Count(path, "/")):] {
		if path != "" && Check(segment) != "" {
			return bad("has an empty segment, a dot segment or a control character in its path")
		}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, ""
}

// Loopback reports whether a host is a loopback address.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
