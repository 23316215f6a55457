// Package hook parses the URLs and secrets of connectors.
package hook

import (
	"net/url"
	"strings"

	"github.com/connic-go/connic/internal/route"
)

// SecretHeader is the header for the secret of a connector.
const SecretHeader = "X-Connic-Secret" //nolint:gosec // the name of a header

// Route is the route of an operation whose address is a Hook. It is not shown.
const Route = "{connector}"

// A Hook is the address of a connector and its secret.
type Hook struct {
	URL    *url.URL // without the secret; the scheme is https or http
	Secret string   // empty if authentication is disabled
}

// A Problem describes an argument that is refused. It does not contain the
// argument.
type Problem struct{ Arg, Reason string }

// Parse validates the URL and the secret of a connector. The URL may contain
// the secret. The scheme of a WebSocket URL is replaced by that of its
// handshake.
func Parse(raw, secret string) (*Hook, *Problem) {
	bad := func(reason string) (*Hook, *Problem) { return nil, &Problem{"URL", reason} }
	raw = strings.TrimSpace(raw)
	u, err := url.Parse(raw)
	if err != nil {
		return bad("cannot be parsed")
	}
	switch u.Scheme {
	case "wss":
		u.Scheme = "https"
	case "ws":
		u.Scheme = "http"
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.Hostname() == "", u.Opaque != "":
		return bad("is not an absolute https URL; copy it from the dashboard")
	case u.User != nil:
		return bad("contains a user; the secret is the only credential")
	case strings.Contains(raw, "#"):
		return bad("has a fragment")
	case u.Scheme == "http" && !route.Loopback(u.Hostname()):
		return bad("is not encrypted; that is accepted for loopback addresses only")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("has a query that cannot be parsed")
	}
	h := &Hook{URL: u}
	for _, value := range append(query["secret"], secret) {
		trimmed, reason := checkSecret(value)
		switch {
		case reason != "":
			return nil, &Problem{"secret", reason}
		case trimmed != "" && h.Secret != "" && trimmed != h.Secret:
			return nil, &Problem{"secret", "is another than the one in the URL"}
		case trimmed != "":
			h.Secret = trimmed
		}
	}
	if query.Has("secret") {
		query.Del("secret")
		u.RawQuery = query.Encode()
	}
	return h, nil
}

// minSecret is the least number of characters of a secret that package mask can
// hide.
const minSecret = 8

func checkSecret(s string) (trimmed, reason string) {
	trimmed = strings.TrimSpace(s)
	if trimmed == "" && s != "" {
		return "", "is blank; pass an empty one for a connector without authentication"
	}
	if n := len(trimmed); n > 0 && n < minSecret {
		return "", "has fewer than 8 characters, so it could not be told from other text and hidden"
	}
	for i := range len(trimmed) {
		if c := trimmed[i]; c < ' ' || c > '~' {
			return "", "has a line break or another character that no header can carry"
		}
	}
	return trimmed, ""
}

// Host returns the scheme and host, the only part of the URL that may be shown:
// without authentication, the rest is all that is needed to start agents.
func (h *Hook) Host() string { return h.URL.Scheme + "://" + h.URL.Host }

// Hidden returns the strings that must not be shown. They include the last
// segment of the path if it is long enough to identify a connector.
func (h *Hook) Hidden() []string {
	const name = 8
	hidden := []string{h.Secret, h.URL.RawQuery}
	for _, values := range h.URL.Query() {
		for _, value := range values {
			if len(value) >= name {
				hidden = append(hidden, value)
			}
		}
	}
	if path := strings.TrimRight(h.URL.Path, "/"); path != "" {
		hidden = append(hidden, path, strings.TrimRight(h.URL.EscapedPath(), "/"))
		if last := path[strings.LastIndexByte(path, '/')+1:]; len(last) >= name {
			hidden = append(hidden, last)
		}
	}
	return hidden
}
