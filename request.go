package connic

import (
	"context"
	"encoding/json"
	"errors"
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

// none is the result of operations whose answer says nothing.
type none struct{}

// decodeNone accepts an empty body, and any JSON.
func decodeNone(body []byte) (none, error) {
	if len(body) == 0 || json.Valid(body) {
		return none{}, nil
	}
	return none{}, locate(body, errors.New("invalid JSON"))
}

// typedCall is a call together with its result.
type typedCall[T any] struct {
	call
	decode  func(body []byte) (T, error)
	partial func(body []byte) any
	value   T
}

func (k *typedCall[T]) accept(body []byte) (err error) {
	k.value, err = k.decode(body)
	return err
}

func (k *typedCall[T]) salvage(body []byte) {
	if k.partial != nil {
		k.value, _ = k.partial(body).(T)
	}
}

// do is the one path of every request: arguments checked, request built, sent
// and retried, answer decoded. Beside an error it returns what could be salvaged
// of the answer.
func do[T any](ctx context.Context, c *Client, r request, decode func([]byte) (T, error), opts []RequestOption) (T, error) {
	k := &typedCall[T]{decode: decode, partial: r.salvage}
	k.answer = k
	k.op, k.class, k.lane = &api.Table[r.op], api.Table[r.op].Class, r.lane
	if r.repeatable {
		k.class = api.Idempotent
	}
	k.route = c.routes.of(r.op)
	err := c.run(ctx, &k.call, &r, opts)
	if r.received != nil && k.resp != nil {
		r.received(k.resp.Header)
	}
	return k.value, err
}

// run sends the call k that r describes.
func (c *Client) run(ctx context.Context, k *call, r *request, opts []RequestOption) error {
	if ctx == nil {
		return k.argument("context", "is nil")
	}
	k.Context, k.client = ctx, c
	k.options = &noOptions
	if len(opts) > 0 {
		k.options = new(callOptions)
		for _, opt := range opts {
			if opt != nil {
				opt(k.options)
			}
		}
	}
	if k.options.capture != nil {
		*k.options.capture = Response{}
	}
	if bad := k.options.bad; bad != nil {
		return k.argument(bad.Arg, bad.Reason)
	}
	if c.closed.Load() {
		return &TransportError{Op: k.op.Name, Method: k.op.Method, Err: ErrClosed}
	}
	if c.readOnly && k.class != api.Safe {
		return &ArgumentError{Op: k.op.Name, Arg: "client", Reason: "is read-only, and the operation is not", err: ErrReadOnly}
	}
	if err := c.locate(k, r); err != nil {
		return err
	}
	switch {
	case r.form != nil:
		k.body = &requestBody{contentType: []string{r.form.contentType}, open: r.form.open}
	case r.encoded != nil:
		k.body = &requestBody{contentType: contentJSON, encoded: r.encoded}
	case r.body != nil:
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return k.argument("body", "cannot be encoded as JSON: "+err.Error())
		}
		k.body = &requestBody{contentType: contentJSON, encoded: encoded}
	}
	k.end.call = k
	attempt := context.Context(&k.end)
	if k.class == api.Unsafe {
		attempt, k.wire = trace(attempt)
	}
	k.first = *c.template.WithContext(attempt)
	k.first.Method, k.first.URL = k.op.Method, &k.url
	k.loop.Request = &k.first
	return k.send()
}

var contentJSON = []string{"application/json"}

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
	for rest := k.route; rest != ""; {
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
		case s == "." || s == "..":
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

// Do calls an operation that this package does not offer. Path is relative to
// the project: "/runs/abc/notes" stands for /projects/{project}/runs/abc/notes.
// In is sent as JSON unless it is nil, and the answer is decoded into out unless
// that is nil; a *[json.RawMessage] takes it as it is.
//
// Everything else is as with the other methods: key, rate limit, errors, events.
// GET and HEAD are repeated as safe operations, PUT and DELETE as idempotent
// ones, POST and PATCH not at all once a byte was sent (see [ErrOutcomeUnknown]).
// The operation's name in errors and events is "do".
//
// It costs one request.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any, opts ...RequestOption) error {
	k := &rawCall{out: out, operation: rawOperation}
	k.answer = k
	k.operation.Method, k.operation.Route = method, "/projects/{project}"+path
	k.op, k.route = &k.operation, k.operation.Route
	switch method {
	case http.MethodGet, http.MethodHead:
		k.class = api.Safe
	case http.MethodPut, http.MethodDelete:
		k.class = api.Idempotent
	case http.MethodPost, http.MethodPatch:
		k.class = api.Unsafe
	default:
		return k.argument("method", "is none of GET, HEAD, PUT, DELETE, POST and PATCH")
	}
	if path != "" && path[0] != '/' {
		return k.argument("path", "does not begin with a slash")
	}
	if strings.ContainsAny(path, "?#{}") {
		return k.argument("path", "contains one of ? # { }; parameters belong into query")
	}
	for i, segment := range strings.Split(path, "/") {
		if i == 0 || (segment == "" && i == strings.Count(path, "/")) {
			continue // before the first slash, and after a trailing one
		}
		if reason := checkSegment(segment); reason != "" {
			return k.argument("path", "has a segment that "+reason)
		}
	}
	r := request{op: rawOperation.Op, body: in}
	if len(query) > 0 {
		r.query = []byte(query.Encode())
	}
	return c.run(ctx, &k.call, &r, opts)
}

// rawOperation stands for the calls of Client.Do.
var rawOperation = api.Operation{Op: api.NumOps, Name: "do", Mark: api.Assumed}

// rawCall is a call of Client.Do.
type rawCall struct {
	call
	operation api.Operation
	out       any
}

func (*rawCall) salvage([]byte) {}

func (k *rawCall) accept(body []byte) error {
	switch out := k.out.(type) {
	case nil:
		_, err := decodeNone(body)
		return err
	case *json.RawMessage:
		if _, err := decodeNone(body); err != nil {
			return err
		}
		*out = append((*out)[:0], body...)
		return nil
	default:
		if k.op.Method == http.MethodHead {
			return nil
		}
		if err := decodeJSON(body, out); err != nil {
			if !json.Valid(body) {
				return locate(body, err)
			}
			return err
		}
		return nil
	}
}
