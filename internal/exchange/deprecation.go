package exchange

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Deprecation is what the service says in the headers Deprecation (RFC 9745) and
// Sunset (RFC 8594) of an answer.
type Deprecation struct {
	Since  time.Time // zero if the header is no date
	Sunset time.Time
	Text   string // both headers, masked, of at most MaxID characters
}

// deprecation returns what the last answer says of the operation's future, or nil.
func (x *Exchange) deprecation() *Deprecation {
	if x.resp == nil {
		return nil
	}
	since, sunset := firstOf(x.resp.Header, "Deprecation"), firstOf(x.resp.Header, "Sunset")
	if since == "" && sunset == "" {
		return nil
	}
	var parts []string
	if since != "" {
		parts = append(parts, "Deprecation: "+since)
	}
	if sunset != "" {
		parts = append(parts, "Sunset: "+sunset)
	}
	return &Deprecation{date(since), date(sunset), x.mask().Line(strings.Join(parts, "; "), MaxID)}
}

// firstOf returns the first value of a header that is of use.
func firstOf(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return strings.TrimSpace(values[0])
	}
	return ""
}

// lastSecond is the last second that a text can name, at the end of the year 9999.
const lastSecond = 253402300799

// date parses a date of RFC 9651, such as @1688169599, or one of HTTP. It returns
// the zero time for anything else.
func date(text string) time.Time {
	if seconds, ok := strings.CutPrefix(text, "@"); ok {
		seconds, _, _ = strings.Cut(seconds, ";") // parameters
		n, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
		if err != nil || n < 0 || n > lastSecond {
			return time.Time{}
		}
		return time.Unix(n, 0).UTC()
	}
	t, err := http.ParseTime(text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
