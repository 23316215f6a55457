package connic

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/route"
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
	queued     func(Reason, time.Duration)
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
	path, raw, name, reason := route.Expand(c.base.Path, k.route(), c.project, r.id)
	if reason != "" {
		return k.argument(argumentName(name), reason)
	}
	k.exchange.URL = url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: path, RawPath: raw, RawQuery: string(r.query)}
	if len(k.options.query) > 0 {
		if k.exchange.URL.RawQuery != "" {
			k.exchange.URL.RawQuery += "&"
		}
		k.exchange.URL.RawQuery += k.options.query.Encode()
	}
	return nil
}

func argumentName(placeholder string) string {
	if placeholder == "agent" {
		return "agent name"
	}
	return strings.ReplaceAll(placeholder, "_", " ") + " id"
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
