package connictest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/hook"
)

// rawExchange is a request as it was sent, and its response.
type rawExchange struct {
	op         string
	poll       bool
	method     string
	url        *url.URL
	header     http.Header // of the request
	body       []byte
	status     int // 0: the connection broke
	response   http.Header
	answer     []byte
	unanswered bool // the client gave up
}

// recorder is the transport of a Recording that records.
type recorder struct {
	*Recording
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (r recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	x := &rawExchange{method: q.Method, url: q.URL, header: q.Header.Clone(), unanswered: true}
	x.op, x.poll = operationOf(q)
	r.mu.Lock()
	r.raw = append(r.raw, x)
	r.mu.Unlock()

	sent := new(tee)
	q = q.Clone(q.Context())
	q.Header.Del("Accept-Encoding") // what is compressed cannot be read; transports of net/http add their own
	if q.Body != nil && q.Body != http.NoBody {
		sent.ReadCloser, q.Body, q.GetBody = q.Body, sent, nil
	}
	resp, err := r.next.RoundTrip(q)
	var answer []byte
	var broken error
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusSwitchingProtocols:
		r.refuse("it has a conversation over WebSocket, which cannot be recorded")
	case resp.Header.Get("Content-Encoding") != "":
		r.refuse("it has a compressed response, which cannot be searched")
	default:
		answer, broken = io.ReadAll(io.LimitReader(resp.Body, maxRecording+1))
		// If the response breaks off, so does what follows the answer.
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(answer), resp.Body), resp.Body}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x.body = sent.bytes()
	switch {
	case err != nil && (q.Context().Err() != nil || errors.Is(err, context.Canceled)):
		return nil, err
	case err != nil:
		x.unanswered = false
		return nil, err
	case broken != nil: // as if the connection had broken before
		x.unanswered = q.Context().Err() != nil
		return resp, nil
	}
	x.unanswered, x.status, x.response, x.answer = false, resp.StatusCode, resp.Header.Clone(), answer
	if r.size += len(x.body) + len(x.answer); r.size > maxRecording {
		r.wrong = "it has more than 64 MiB of bodies"
		x.body, x.answer = nil, nil
	}
	return resp, nil
}

// refuse notes why the recording cannot be written.
func (r *Recording) refuse(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = reason
}

// operationOf returns the operation of a request, and whether it is a poll of a
// wait.
func operationOf(q *http.Request) (op string, poll bool) {
	if o, ok := connic.OperationFromContext(q.Context()); ok && o.Route != hook.Route {
		return o.Name, o.Lane == connic.LanePoll
	}
	if op, _, _, ok := route(q.Method, "/v1"+afterBase(q.URL.EscapedPath())); ok {
		return op.Name, false
	}
	if q.Header.Get(hook.SecretHeader) != "" || q.Header.Get("Authorization") == "" {
		return connectorOperation, false
	}
	return "do", false
}

const connectorOperation = "connector"

// tee keeps what is read from a body.
type tee struct {
	io.ReadCloser
	mu   sync.Mutex
	kept bytes.Buffer
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept.Len() <= maxRecording {
		t.kept.Write(p[:n])
	}
	return n, err
}

func (t *tee) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.kept.Bytes())
}
