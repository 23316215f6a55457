package chat

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

const maxHeaderBytes = 64 << 10 // of the response to the handshake

// A handshake is the transport of the handshake of one session.
type handshake struct {
	next http.RoundTripper

	mu   sync.Mutex
	last net.Conn // that the transport has used
	wire *wire    // of the session; nil before the handshake has succeeded
}

// newHandshake returns a handshake over the transport of a client. Without one,
// no connection remains after a handshake that has failed.
func newHandshake(client *http.Client) *handshake {
	if client != nil && client.Transport != nil {
		return &handshake{next: client.Transport}
	}
	return &handshake{next: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaderBytes,
	}}
}

// RoundTrip implements [http.RoundTripper].
func (h *handshake) RoundTrip(r *http.Request) (*http.Response, error) {
	// Transports of other types may make requests of their own with the context,
	// and the trace does not tell whose a connection is.
	if _, ok := h.next.(*http.Transport); ok {
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.last = info.Conn
		}}))
	}
	resp, err := h.next.RoundTrip(r)
	if err != nil || resp == nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	if stream, ok := resp.Body.(io.ReadWriteCloser); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.wire = &wire{ReadWriteCloser: stream, conn: h.last}
		resp.Body = h.wire
	}
	return resp, nil
}

// A wire is the connection of a session.
type wire struct {
	io.ReadWriteCloser
	conn    net.Conn // under it; nil if not known
	written atomic.Int64
}

// Write implements [io.Writer].
func (w *wire) Write(p []byte) (int, error) {
	n, err := w.ReadWriteCloser.Write(p)
	w.written.Add(int64(n))
	return n, err
}

// abort closes the connection. Closing TLS would send a close notification
// first, and wait for the peer to read it for up to 5 s.
func (w *wire) abort() {
	switch conn := w.conn.(type) {
	case nil:
		_ = w.Close()
	case *tls.Conn:
		_ = conn.NetConn().Close()
	default:
		_ = conn.Close()
	}
}
