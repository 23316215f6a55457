package connic

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
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
	// stream, if not nil, makes the form of encoded.
	stream func(ctx context.Context, encoded []byte) (*upload, error)
	// extended is set if the form contains the fields of WithBodyField.
	extended bool
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
func (c *scope) locate(k *call, r *request) error {
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

// extend returns the JSON of a body with the fields of WithBodyField.
func (k *call) extend(body []byte, form bool) ([]byte, *ArgumentError) {
	first := k.options.fields[0].name
	switch {
	case form:
		return nil, k.argument("body field "+first, "cannot be added: the body is not JSON")
	case body != nil && body[0] != '{':
		return nil, k.argument("body field "+first, "cannot be added: the body is not a JSON object")
	case body == nil && k.op.Method != http.MethodPost && k.op.Method != http.MethodPut && k.op.Method != http.MethodPatch:
		return nil, k.argument("body field "+first, "cannot be added: a "+k.op.Method+" request has no body")
	case body == nil:
		body = []byte("{}")
	}
	var own []string
	d := lenient.New(body)
	_ = d.Members(func(key []byte) error { // cannot fail: it was just encoded
		own = append(own, string(key))
		return d.Skip()
	})
	more, err := members(k.op, k.options.fields, own)
	if err != nil {
		return nil, err
	}
	if len(own) == 0 {
		more = more[1:]
	}
	return slices.Concat(body[:len(body)-1], more, []byte{'}'}), nil
}

// members returns fields as members of a JSON object, each preceded by a comma.
// It refuses those that the operation or the body has itself.
func members(op *api.Operation, fields []bodyField, own []string) ([]byte, *ArgumentError) {
	var b []byte
	for _, f := range fields {
		same := func(key string) bool { return strings.EqualFold(key, f.name) }
		if slices.ContainsFunc(op.Body, same) || slices.ContainsFunc(own, same) {
			return nil, &ArgumentError{Op: op.Name, Arg: "body field " + f.name, Reason: "is one that the package sends itself"}
		}
		b = append(append(b, ','), f.member...)
	}
	return b, nil
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

// projectRoute is the prefix of project routes.
const projectRoute = "/projects/{project}"

// Do calls an operation that this package does not offer. The path is relative
// to the project: "/runs/abc/notes" means /projects/{project}/runs/abc/notes.
// [WithoutProject] omits the project. If in is not nil, it is sent as JSON. If
// out is not nil, the response is decoded into it; a *[json.RawMessage]
// receives it unmodified.
//
// Key, rate limit, errors and events are the same as for the other methods. GET
// and HEAD are retried as safe operations, PUT and DELETE as idempotent ones.
// POST and PATCH are not retried once a byte was sent (see
// [ErrOutcomeUnknown]). In errors and events the operation is named "do".
//
// It costs one request.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any, opts ...RequestOption) error {
	k := &rawCall{out: out, operation: rawOperation}
	k.operation.Method, k.operation.Route = method, projectRoute+path
	k.op = &k.operation
	switch method {
	case http.MethodGet, http.MethodHead:
		k.exchange.Class = api.Safe
	case http.MethodPut, http.MethodDelete:
		k.exchange.Class = api.Idempotent
	case http.MethodPost, http.MethodPatch:
		k.exchange.Class = api.Unsafe
	default:
		return k.argument("method", "is none of GET, HEAD, PUT, DELETE, POST and PATCH")
	}
	if reason := checkTarget(out); reason != "" {
		return k.argument("out", reason)
	}
	if path != "" && path[0] != '/' {
		return k.argument("path", "does not begin with a slash")
	}
	if strings.ContainsAny(path, "?#{}") {
		return k.argument("path", "contains one of ? # { }; parameters belong into query")
	}
	for i, segment := range strings.Split(path, "/") {
		if i == 0 || (segment == "" && i == strings.Count(path, "/")) {
			continue // before the first slash, or after a trailing one
		}
		if reason := route.Check(segment); reason != "" {
			return k.argument("path", "has a segment that "+reason)
		}
	}
	r := request{op: rawOperation.Op, body: in}
	if len(query) > 0 {
		r.query = []byte(query.Encode())
	}
	if c == nil {
		return (*scope)(nil).made(k.op.Name)
	}
	return c.run(ctx, &k.call, k, &r, opts)
}

// checkTarget returns why a response cannot be decoded into out, or "". After
// the request it would be too late.
func checkTarget(out any) string {
	if out == nil {
		return ""
	}
	switch v := reflect.ValueOf(out); {
	case v.Kind() != reflect.Pointer:
		return "is not a pointer"
	case v.IsNil():
		return "is a nil pointer"
	}
	return ""
}

// rawOperation is the operation of Client.Do calls.
var rawOperation = api.Operation{Op: api.NumOps, Name: "do", Mark: api.Assumed}

// rawCall is a call of Client.Do.
type rawCall struct {
	call
	operation api.Operation
	out       any
}

func (*rawCall) Salvage([]byte) {}

func (k *rawCall) Decode(d *lenient.Decoder) error {
	if k.out == nil || k.op.Method == http.MethodHead {
		_, err := decodeNone(d)
		return err
	}
	if d.Len() > 0 {
		if err := d.End(d.Skip()); err != nil {
			return err
		}
	}
	body := d.Since(0)
	if out, ok := k.out.(*json.RawMessage); ok {
		*out = append((*out)[:0], body...)
		return nil
	}
	if len(body) == 0 {
		return fmt.Errorf("%w: the body is empty", lenient.ErrIncomplete)
	}
	return json.Unmarshal(body, k.out)
}
