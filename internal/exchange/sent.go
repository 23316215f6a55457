package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"

	"github.com/connic-go/connic/internal/api"
)

// wire traces what net/http does with one attempt. It decides two things by
// evidence rather than by the text of an error: whether a byte of the request
// can have left the process, and whether net/http is about to repeat the
// request by itself. It must not, because a repetition has to pass the limiter
// and the retry table.
//
// net/http repeats a request over HTTP/2 after REFUSED_STREAM, GOAWAY and even
// after a PROTOCOL_ERROR from the server, whatever the method, and over
// HTTP/1.1 if a reused connection broke. In either case it asks for another
// connection after it has written the headers.
type wire struct {
	trace  httptrace.ClientTrace
	end    *deadline
	method string
	fields bool // whether wroteField is reported

	mu      sync.Mutex
	host    string // the address of the last requested connection
	asked   bool   // a connection was requested
	got     bool   // a connection was obtained
	began   bool   // writing of the headers began or finished
	wrote   bool   // the headers were written
	resent  bool   // net/http was about to repeat the request
	answer  bool   // the response has begun, so that net/http does not repeat the request
	informs int    // number of informational responses
	earlier bool   // a response to an earlier request came before this one
	reused  bool   // the connection had served another request
	http1   bool   // the connection is known to serve HTTP/1.1
	conn    *countedConn
	written int64 // what had been written to conn before the attempt
}

// sentAgain reports whether net/http was about to repeat the request.
func (w *wire) sentAgain() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resent
}

// traceKey is the context key under which package httptrace looks for a trace.
var traceKey = func() any {
	var spy keySpy
	httptrace.ContextClientTrace(&spy)
	return spy.key
}()

// keySpy is a context that records the keys it was asked for.
type keySpy struct {
	context.Context
	key any
}

func (s *keySpy) Value(key any) any {
	s.key = key
	return nil
}

// Value implements [context.Context]. The trace of an attempt is created when a
// transport asks for it, which one in memory does not do.
func (d *deadline) Value(key any) any {
	if traceKey == nil || key != traceKey {
		return d.Exchange.Value(key)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wire == nil {
		d.wire = &wire{end: d, method: d.Method}
		d.wire.watch(d.Exchange, d.Class)
	}
	return &d.wire.trace
}

// watched returns the trace of an attempt, or nil if its transport did not ask
// for one.
func (d *deadline) watched() *wire {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wire
}

// watch creates the trace, which also calls the one that the caller may have
// put into ctx.
func (w *wire) watch(ctx context.Context, class api.Class) {
	w.trace.GetConn = w.getConn
	w.trace.GotConn = w.gotConn
	w.trace.WroteHeaders = w.wroteHeaders
	w.trace.GotFirstResponseByte = w.answered
	w.trace.Got1xxResponse = w.informed
	if class == api.Unsafe {
		// Over HTTP/2 the headers can be sent before WroteHeaders is called.
		w.fields = true
		w.trace.WroteHeaderField = w.wroteField
	}
	httptrace.WithClientTrace(ctx, &w.trace)
}

func (w *wire) getConn(host string) {
	w.mu.Lock()
	resend := w.resend(host)
	if !resend {
		// This is the first connection, or it is to another host, with which a
		// RoundTripper supplied by the user may communicate, or nothing was
		// written to the previous one.
		w.host, w.conn = host, nil
		w.earlier, w.answer = w.earlier || w.answer, false
		w.asked, w.got, w.began, w.wrote, w.http1 = true, false, false, false, false
	}
	w.mu.Unlock()
	if resend {
		w.end.abort()
	}
}

func (w *wire) gotConn(info httptrace.GotConnInfo) {
	w.mu.Lock()
	resend := w.resend(w.host)
	counted, ours := info.Conn.(*countedConn)
	http1 := ours || w.end.engine.NoH2C // ours asks for HTTP/2 over TLS only
	if secure, ok := info.Conn.(*tls.Conn); ok {
		http1 = secure.ConnectionState().NegotiatedProtocol != "h2"
		counted, ours = secure.NetConn().(*countedConn)
	}
	if !resend {
		w.asked, w.got, w.began, w.wrote, w.reused, w.http1 = true, true, false, false, info.Reused, http1
		if ours {
			w.conn, w.written = counted, counted.written.Load()
		}
	}
	w.mu.Unlock()
	if resend {
		w.end.abort()
		if http1 {
			// Over HTTP/1.1 net/http writes to it without checking the context
			// again. Over HTTP/2 it does check, and other requests use the
			// connection.
			_ = info.Conn.Close()
		}
	}
}

func (w *wire) wroteField(string, []string) {
	w.mu.Lock()
	w.began = true
	w.mu.Unlock()
}

func (w *wire) wroteHeaders() {
	w.mu.Lock()
	w.began, w.wrote = true, true
	w.mu.Unlock()
}

// answered records a response. A connection that is requested after it is not
// for a repetition by net/http but for a RoundTripper supplied by the user,
// which may fetch a token or make a call of this client.
func (w *wire) answered() {
	w.mu.Lock()
	w.answer = true
	w.mu.Unlock()
}

// informed discards an informational response: over HTTP/2 a stream can be
// refused after one. With this hook, net/http no longer limits their number.
func (w *wire) informed(int, textproto.MIMEHeader) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = false
	if w.informs++; w.informs > maxInforms {
		return errInforms
	}
	return nil
}

// maxInforms is the maximum number of responses with a status below 200 before
// the actual one.
const maxInforms = 16

var errInforms = errors.New("too many informational responses")

// resend reports whether net/http would repeat a request that may have arrived.
func (w *wire) resend(host string) bool {
	if w.resent {
		return true
	}
	// A connection that was dialed for another attempt can be obtained without
	// being requested, and its host is not reported.
	if !w.wrote || w.answer || w.host != "" && w.host != host || w.untouched() {
		return false
	}
	if w.http1 && w.method != http.MethodGet && w.method != http.MethodHead {
		return false // over HTTP/1.1 it repeats those only if nothing was written
	}
	w.resent = true
	return true
}

// untouched reports whether it is certain that no byte was written to the
// connection since the attempt obtained it.
func (w *wire) untouched() bool { return w.conn != nil && w.conn.written.Load() == w.written }

// unsent reports whether it is certain that the request has not left the
// process. A transport that does not report its steps may have sent everything.
func (w *wire) unsent() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resent || !w.asked || w.earlier || w.answer {
		return false
	}
	// The reports of a foreign transport may be incomplete.
	unbegun := w.conn != nil && w.fields && !w.began
	return !w.got || unbegun || w.untouched()
}

// stale reports whether the attempt failed because the server had closed a kept
// connection.
func (w *wire) stale() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resent && w.reused
}

// countedConn counts the writes to a connection.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.written.Add(1) // before the write, since the other side may be faster than the return
	n, err := c.Conn.Write(b)
	if n == 0 && err != nil {
		c.written.Add(-1)
	}
	return n, err
}
