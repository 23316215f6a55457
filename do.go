package connic

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// projectRoute is what the routes of a project begin with.
const projectRoute = "/projects/{project}"

// Do calls an operation that this package does not offer. Path is relative to
// the project: "/runs/abc/notes" stands for /projects/{project}/runs/abc/notes,
// and [WithoutProject] leaves the project out.
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
	if err := c.made(rawOperation.Name); err != nil {
		return err
	}
	k := &rawCall{out: out, operation: rawOperation}
	k.answer = k
	k.operation.Method, k.operation.Route = method, projectRoute+path
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
	if v := reflect.ValueOf(out); out != nil && (v.Kind() != reflect.Pointer || v.IsNil()) {
		return k.argument("out", "is not a pointer that an answer can be stored behind")
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

func (k *rawCall) accept(d *lenient.Decoder) error {
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
