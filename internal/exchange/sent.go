package exchange

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"

	"github.com/connic-go/connic/internal/api"
)

// evidence is what an attempt knows of its own connection, from a trace of what
// net/http does. It decides whether a byte of the request can have left the
// process, and whether net/http is about to repeat the request by itself. It must
// not, because a repetition has to pass the gate and the retry table.
//
// net/http repeats a request over HTTP/2 after REFUSED_STREAM, GOAWAY and even
// after a PROTOCOL_ERROR from the server, whatever the method, and over
// HTTP/1.1 if a reused connection broke. It then asks for the body again, or for
// another connection after it has written the headers.
//
// A RoundTripper supplied by the user may make requests of its own with the
// context of the attempt. Their connections prove nothing about the attempt.
type evidence struct {
	trace httptrace.ClientTrace
	end   *deadline

	mu      sync.Mutex
	host    string // the address of the last requested connection
	asked   bool   // a connection was requested
	got     bool   // a connection was obtained
	began   bool   // writing of the headers began or finished
	wrote   bool   // the headers were written
	own     bool   // they are those of the attempt
	sent    bool   // so were those on any connection
	left    bool   // and something was written to an earlier one
	resent  bool   // net/http was about to repeat the request
	answer  bool   // the response has begun, so that net/http does not repeat the request
	informs int    // number of informational responses
	earlier bool   // a response to an earlier request came before this one
	reused  bool   // the connection had served another request
	http1   bool   // the connection is known to serve HTTP/1.1
	refused bool   // the attempt closed the connection before anything was written
	goaway  bool   // the server named an earlier stream as the last one that it executes
	conn    net.Conn
	counted *countedConn
	written int64 // what had been written to counted before the attempt
}

// Value implements [context.Context]. The trace of an attempt is created when a
// transport asks for it, which one in memory does not do.
func (d *deadline) Value(key any) any {
	if traceKey == nil || key != traceKey {
		return d.Exchange.Value(key)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.evidence == nil {
		d.evidence = &evidence{end: d}
		d.evidence.watch(d.Exchange)
	}
	return &d.evidence.trace
}

// collected returns the evidence of an attempt, or nil if its transport did not
// ask for a trace.
func (d *deadline) collected() *evidence {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.evidence
}

// watch creates the trace, which also calls the one that the caller may have
// put into the context of x.
func (e *evidence) watch(x *Exchange) {
	e.trace.GetConn = e.getConn
	e.trace.GotConn = e.gotConn
	e.trace.WroteHeaders = e.wroteHeaders
	e.trace.GotFirstResponseByte = e.answered
	e.trace.Got1xxResponse = e.informed
	if x.Class == api.Unsafe {
		// Over HTTP/2 the headers can be sent before WroteHeaders is called.
		e.trace.WroteHeaderField = e.wroteField
	}
	httptrace.WithClientTrace(x, &e.trace)
}

func (e *evidence) getConn(host string) {
	e.mu.Lock()
	// A request with a body is not repeated without asking for the body.
	repeats := e.end.Body == nil && e.repeats(host)
	if e.resent = e.resent || repeats; !repeats {
		// This is the first connection, or it is to another host, with which a
		// RoundTripper supplied by the user may communicate, or nothing was
		// written to the previous one.
		// Repeated by a transport of the user's, perhaps with other headers.
		again := e.got && !e.answer && e.host == e.target() && e.end.taken.Load()
		e.left = e.left || (e.own || again) && !e.untouched()
		e.host = host
		e.earlier, e.answer = e.earlier || e.answer, false
		e.asked = true
		e.leave()
		e.got, e.began, e.wrote, e.own, e.http1, e.refused = false, false, false, false, false, false
	}
	e.mu.Unlock()
	if repeats {
		e.end.abort()
	}
}

func (e *evidence) gotConn(info httptrace.GotConnInfo) {
	engine, class := e.end.engine, e.end.Class
	engine.clean()
	counted, ours := info.Conn.(*countedConn)
	http1, name := ours || engine.noH2C, "" // ours asks for HTTP/2 over TLS only
	secure, encrypted := info.Conn.(*tls.Conn)
	if encrypted {
		state := secure.ConnectionState()
		http1, name = state.NegotiatedProtocol != "h2", state.ServerName
		counted, ours = secure.NetConn().(*countedConn)
	}
	e.mu.Lock()
	repeats := e.end.Body == nil && e.repeats(e.host)
	if e.resent = e.resent || repeats; !repeats {
		e.leave()
		e.asked, e.got, e.began, e.wrote, e.own, e.reused, e.http1 = true, true, false, false, false, info.Reused, http1
		e.conn = info.Conn
		if ours {
			e.counted, e.written = counted, counted.written.Load()
		}
		if (encrypted || http1) && (e.host == e.target() || name == e.end.URL.Hostname()) {
			engine.kept.negotiated(http1)
		}
		e.refused = engine.kept.refuses(class, &info, http1, counted)
	}
	shut := repeats && http1 || e.refused && closes(info.Conn)
	e.refused = e.refused && shut
	e.mu.Unlock()
	if repeats {
		e.end.abort()
	}
	if shut {
		// Over HTTP/1.1 net/http writes to it without checking the context
		// again. Over HTTP/2 it does check, and other requests use the
		// connection.
		_ = info.Conn.Close()
	}
	// The time spent waiting for a connection is no part of the attempt.
	e.end.alive()
}

// closes reports whether nothing can be written to conn after its Close.
func closes(conn net.Conn) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	switch conn.(type) {
	case *countedConn, *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// leave ends the use of a connection.
func (e *evidence) leave() {
	if e.counted != nil && !e.http1 && e.end.Class == api.Unsafe {
		e.counted.unsafe.Add(-1)
	}
	e.conn, e.counted = nil, nil
}

func (e *evidence) wroteField(name string, values []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.began = true
	agent := e.end.engine.UserAgent
	if strings.EqualFold(name, "User-Agent") && len(values) > 0 && len(agent) > 0 && values[0] == agent[0] {
		e.own, e.sent = true, true
	}
}

func (e *evidence) wroteHeaders() {
	e.mu.Lock()
	e.began, e.wrote = true, true
	e.mu.Unlock()
}

// answered records a response. A connection that is requested after it is not
// for a repetition by net/http but for a RoundTripper supplied by the user,
// which may fetch a token or make a call of this client.
func (e *evidence) answered() {
	e.mu.Lock()
	e.answer = true
	e.mu.Unlock()
}

// informed discards an informational response: over HTTP/2 a stream can be
// refused after one. With this hook, net/http no longer limits their number.
func (e *evidence) informed(int, textproto.MIMEHeader) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = false
	if e.informs++; e.informs > maxInforms {
		return errInforms
	}
	return nil
}

// maxInforms is the maximum number of responses with a status below 200 before
// the actual one.
const maxInforms = 16

var errInforms = errors.New("too many informational responses")

// repeats reports whether net/http, which asks for a connection to host or for
// the body, would repeat a request that may have arrived.
func (e *evidence) repeats(host string) bool {
	if e.resent {
		return true
	}
	// A connection that was dialed for another attempt can be obtained without
	// being requested, and its host is not reported.
	if !e.wrote || e.answer || e.host != "" && e.host != host || e.untouched() {
		return false
	}
	return !e.http1 || replayable(e.end.Method, e.end.Header)
}

// replayable reports whether net/http repeats a request over HTTP/1.1 although
// something was written.
func replayable(method string, h http.Header) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return h["Idempotency-Key"] != nil || h["X-Idempotency-Key"] != nil
}

// reopen reports whether the body may be sent again within the attempt, and
// otherwise remembers that net/http was about to.
func (e *evidence) reopen() bool {
	if e == nil {
		return true // the transport does not report its steps
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resent = e.repeats(e.host)
	return !e.resent
}

// untouched reports whether it is certain that no byte was written to the
// connection since the attempt obtained it.
func (e *evidence) untouched() bool {
	return e.refused || e.counted != nil && e.counted.written.Load() == e.written
}

// unsent reports whether it is certain that the request has not left the
// process. A transport that does not report its steps may have sent everything.
// taken says whether anything has taken from the body, which is nil for a request
// without one.
func (e *evidence) unsent(taken bool) bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.resent, e.left:
		return false
	case e.earlier || e.answer:
		// The transport has made requests of its own. Without its body this one
		// was not among them.
		return e.bodied() && !taken && !e.sent
	case !e.asked:
		return false
	case !e.got:
		// If something has taken the body, a connection to another address may be
		// for another request.
		_, _, err := net.SplitHostPort(e.host)
		return !taken || err != nil || e.host == e.target()
	}
	// The reports of a foreign transport may be incomplete.
	unbegun := e.counted != nil && e.trace.WroteHeaderField != nil && !e.began
	return unbegun || e.untouched() || e.wrote && e.bodied() && !taken && !e.sent
}

// bodied reports whether the attempt has a body, and the fields of its headers
// were reported.
func (e *evidence) bodied() bool { return e.end.Body != nil && e.trace.WroteHeaderField != nil }

// target returns the address of the request's host.
func (e *evidence) target() string {
	u := &e.end.URL
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// unexecuted reports whether err says that the server closed the connection
// without executing the request: with the GOAWAY of HTTP/2 it names the last
// stream that it has executed, or may (RFC 9113, 6.8). net/http has only texts for
// that, and for what it would repeat if it could.
func (e *evidence) unexecuted(err error) bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.own || e.http1 || e.answer || e.resent {
		return false
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner // the user's transports may wrap it
	}
	text, repeats := strings.CutPrefix(err.Error(), "http2: Transport: cannot retry err [")
	e.goaway = e.informs == 0 && (strings.HasPrefix(text, "http2: Transport received Server's graceful shutdown GOAWAY") ||
		strings.HasPrefix(text, "http2: Transport received GOAWAY from server ErrCode:"))
	e.resent = repeats && !e.goaway
	return e.goaway
}

// sentAgain reports whether net/http was about to repeat the request.
func (e *evidence) sentAgain() bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.resent
}

// gaveUp reports whether the attempt has given its connection up before anything
// was written to it.
func (e *evidence) gaveUp() bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refused
}

// close ends the use of the connection.
func (e *evidence) close() {
	if e != nil {
		e.mu.Lock()
		e.leave()
		e.mu.Unlock()
	}
}

// stale reports whether the attempt failed because the server had closed, or was
// about to close, a kept connection.
func (e *evidence) stale() bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return (e.resent || e.goaway || e.untouched()) && e.reused
}

// connection returns the last connection of the attempt, if it is known to serve
// HTTP/1.1 and nothing but the attempt.
func (e *evidence) connection() net.Conn {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.earlier && !e.resent {
		return e.conn
	}
	return nil
}
