package connictest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// maxBody is the maximum number of bytes that the fake reads of a request.
const maxBody = 64 << 20

// ServeHTTP implements [http.Handler], to mount the fake in another server.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return // the request was truncated; nothing is executed
	}
	if s.ctx.Err() != nil {
		cut(w)
		return
	}
	a := s.respond(r, body)
	a.write(w)
}

// write writes a response over a connection.
func (a answer) write(w http.ResponseWriter) {
	if a.drop {
		cut(w)
		return
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	if a.truncate >= 0 && a.truncate < len(a.body) {
		_, _ = w.Write(a.body[:a.truncate])
		_ = http.NewResponseController(w).Flush()
		cut(w)
		return
	}
	_, _ = w.Write(a.body)
}

// cut resets the connection of a response.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// Transport returns a RoundTripper that reaches the fake in process, without a
// connection. It reports the steps of a connection to net/http/httptrace as
// net/http would.
func (s *Server) Transport() http.RoundTripper {
	return &inProcess{s.reachable, func(r *http.Request, body []byte) (answer, error) {
		if s.ctx.Err() != nil {
			return answer{}, errClosed
		}
		return s.respond(r, body), nil
	}}
}

// inProcess is a transport without a connection.
type inProcess struct {
	ready   func() error // asked before the request is read
	respond func(r *http.Request, body []byte) (answer, error)
}

// RoundTrip implements [http.RoundTripper].
func (t *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.ready(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	if err := r.Context().Err(); err != nil { // net/http looks before it connects
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	var body []byte
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		if trace.GetConn != nil {
			trace.GetConn(r.URL.Host)
		}
		if trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{})
		}
	}
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(r.Body, maxBody))
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a, err := t.respond(r, body)
	if err != nil {
		return nil, err
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if a.drop {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	header := make(http.Header, len(a.header))
	for name, value := range a.header {
		header.Set(name, value)
	}
	length := int64(len(a.body))
	if r.Method == http.MethodHead {
		a.body = nil
	}
	var content io.Reader = bytes.NewReader(a.body)
	if a.truncate >= 0 && a.truncate < len(a.body) {
		content = io.MultiReader(bytes.NewReader(a.body[:a.truncate]), broken{})
	}
	reason := http.StatusText(a.status)
	if reason == "" {
		reason = "status code " + strconv.Itoa(a.status) // as net/http writes it
	}
	return &http.Response{
		Status:     strconv.Itoa(a.status) + " " + reason,
		StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(content), ContentLength: length, Request: r,
	}, nil
}

// whole completes a response, so that it is the same in process and over the
// listener. Responses with status 204 or 304 have no body.
func (a answer) whole() answer {
	if a.drop {
		return a
	}
	if a.header == nil {
		a.header = make(map[string]string)
	}
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		a.body, a.truncate = nil, -1
		delete(a.header, "Content-Type")
		return a
	}
	a.header["Content-Length"] = strconv.Itoa(len(a.body))
	return a
}

// broken is the body of a connection that breaks.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// object is a JSON object to be written.
type object map[string]any

// ok is a JSON response.
func ok(v any) answer { return reply(http.StatusOK, v) }

func reply(status int, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		return problem(http.StatusInternalServerError, "connictest: "+err.Error())
	}
	return answer{status: status, body: body, header: map[string]string{"Content-Type": "application/json"}, truncate: -1}
}

// noContent is a response with status 204.
func noContent() answer {
	return answer{status: http.StatusNoContent, header: map[string]string{}, truncate: -1}
}

// problem is an error response in the format of the service.
func problem(status int, detail string) answer { return reply(status, object{"detail": detail}) }

func notFound(what string) answer { return problem(http.StatusNotFound, what+" not found") }

// invalid is a validation error in the format of the service's framework.
func invalid(msg, kind string, loc ...string) *answer {
	a := reply(http.StatusUnprocessableEntity, object{"detail": []object{{"loc": loc, "msg": msg, "type": kind}}})
	if isTold(kind) {
		a.told = strings.Join(loc, " ") + ": " + msg
	}
	return &a
}

// check refuses parameters and body keys that the operation does not have.
func (x *exchange) check() *answer {
	for name := range x.query {
		if !slices.Contains(x.op.Query, name) && !x.lenient {
			return invalid("Unknown parameter; expected "+expected(x.op.Query), "extra_forbidden", "query", name)
		}
	}
	if len(x.body) == 0 || x.op.Name == "knowledge.upload_file" || x.op.Name == "dev_sessions.upload" {
		return nil
	}
	if len(x.body) > maxSmallBody && !slices.Contains(largeBodies, x.op.Op) {
		a := problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes", maxSmallBody))
		return &a
	}
	if len(x.op.Body) == 0 {
		if x.lenient {
			return nil
		}
		return invalid("The operation takes no body", "extra_forbidden", "body")
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(x.body, &keys); err != nil {
		if x.op.Op == api.AgentsTrigger && isValue(x.body) {
			return nil
		}
		return invalid("The body is not a JSON object: "+err.Error(), "json_invalid", "body")
	}
	if keys == nil {
		return invalid("The body is null, not a JSON object", "json_invalid", "body")
	}
	for name, value := range keys {
		free := x.op.Body[0] == "*" && name != "message" && name != "files"
		if x.op.Body[0] != "*" && !x.lenient && !slices.Contains(x.op.Body, name) {
			return invalid("Unknown key; expected "+expected(x.op.Body), "extra_forbidden", "body", name)
		}
		// null clears some keys of judges; their handlers know which.
		if string(value) == "null" && x.op.Method == http.MethodPost && x.op.Op != api.JudgesCreate && !free {
			return invalid("Input should not be null", "null_forbidden", "body", name)
		}
	}
	return nil
}

// largeBodies are the operations whose bodies may have more than maxSmallBody
// bytes; they have bounds of their own.
var largeBodies = []api.Op{api.AgentsTrigger, api.KnowledgeUploadText, api.DeploymentsUpload, api.TestRunsCreate}

func expected(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return "one of " + strings.Join(names, ", ")
}

// decode decodes the body.
func (x *exchange) decode(v any) *answer {
	if len(x.body) == 0 {
		return invalid("Field required", "missing", "body")
	}
	if err := json.Unmarshal(x.body, v); err != nil {
		return invalid(err.Error(), "type_error", "body")
	}
	return nil
}

// param returns a query parameter.
func (x *exchange) param(name string) string {
	if values := x.query[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// has reports whether a query parameter is present, even if empty.
func (x *exchange) has(name string) bool { return len(x.query[name]) > 0 }

// time returns a query parameter as a time.
func (x *exchange) time(name string) (time.Time, *answer) {
	if !x.has(name) {
		return time.Time{}, nil
	}
	text := x.param(name)
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, invalid("Input should be a valid datetime", "datetime_parsing", "query", name)
	}
	return t, nil
}

const (
	defaultLimit = 50
	maxLimit     = 100
)

// page selects a page of a list by limit and offset, and wraps it in the
// envelope.
func (x *exchange) page(items []object) answer {
	limit, offset := defaultLimit, 0
	for name, target := range map[string]*int{"limit": &limit, "offset": &offset} {
		if x.has(name) {
			n, err := strconv.Atoi(x.param(name))
			if err != nil || n < 0 || (name == "limit" && (n == 0 || n > maxLimit)) {
				return *invalid(fmt.Sprintf("Input should be an integer between 0 and %d", maxLimit), "int_parsing", "query", name)
			}
			*target = n
		}
	}
	total := len(items)
	from := min(offset, total)
	to := min(from+limit, total)
	return ok(object{
		"items": nonNil(items[from:to]), "total": total, "limit": limit, "offset": offset, "has_more": to < total,
	})
}

func nonNil(items []object) []object {
	if items == nil {
		return []object{}
	}
	return items
}

func unescape(segment string) string {
	if plain, err := url.PathUnescape(segment); err == nil {
		return plain
	}
	return segment
}

// timestamp returns a time as the service formats it, or nil for the zero time.
func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// text returns a string, or nil if it is empty.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}
