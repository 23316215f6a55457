package connic

import (
	"bytes"
	"net/http"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/problem"
)

const (
	maxDetail    = problem.MaxDetail
	maxErrorBody = 64 << 10
	maxID        = 200 // characters of a request id, a path or a redirect's target
)

// parseError returns the *Error of a response. body is not retained.
func parseError(op *api.Operation, method, path string, resp *http.Response, body []byte, m *mask.Mask) *Error {
	e := &Error{
		Op: op.Name, Method: method, Path: m.Line(path, maxID), StatusCode: resp.StatusCode,
		Section: op.Section, Access: op.Access,
		RequestID:  m.Line(requestID(resp.Header), maxID),
		RetryAfter: retryAfter(resp.Header, time.Now()),
	}
	if len(body) == 0 {
		return e
	}
	e.Body = m.Head(body, maxErrorBody)
	var fields []problem.Field
	e.Detail, fields = problem.Parse(e.Body)
	for _, f := range fields {
		e.Fields = append(e.Fields, FieldError(f))
	}
	if bytes.IndexByte(body, '\\') >= 0 { // the key may be escaped in the body
		e.Detail = m.Text(e.Detail)
	}
	return e
}

func requestID(h http.Header) string {
	for _, name := range [...]string{"X-Request-Id", "X-Correlation-Id", "Cf-Ray"} {
		if id := h[name]; len(id) > 0 {
			return id[0]
		}
	}
	return ""
}
