package exchange

import (
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// A kept connection may be one that the server is about to close. An unsafe
// request takes none that was idle for longer than unnamedIdle or, if the server
// names its own timeout, half of that up to maxIdle. Over HTTP/2 the limit is
// maxIdle: there a server says which requests it has not executed.
const (
	unnamedIdle = 500 * time.Millisecond
	maxIdle     = 4 * time.Second
)

// kept is what an Engine knows of the connections of its transport.
type kept struct {
	idle     atomic.Int64 // the limit that the server's Keep-Alive headers imply, or 0
	protocol atomic.Int32 // over TLS
	broken   connections  // through which the service was unavailable
	cleaned  atomic.Bool  // the connections are closed when the Engine is unreachable
}

// clean arranges that connections are closed when the Engine is unreachable. It is
// called when there is one.
func (e *Engine) clean() {
	if e.Transport != nil && !e.kept.cleaned.Load() && e.kept.cleaned.CompareAndSwap(false, true) {
		runtime.AddCleanup(e, (*http.Transport).CloseIdleConnections, e.Transport)
	}
}

// The protocols of a service, as last negotiated.
const (
	protocolUnknown = iota
	protocolHTTP1
	protocolHTTP2
)

// negotiated records the protocol of a connection over TLS.
func (k *kept) negotiated(http1 bool) {
	if http1 {
		k.protocol.Store(protocolHTTP1)
	} else {
		k.protocol.Store(protocolHTTP2)
	}
}

// learn records the Keep-Alive header of an answer that came through conn, and
// whether the service behind conn was unavailable.
func (k *kept) learn(resp *http.Response, conn net.Conn) {
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if conn != nil {
			k.broken.add(conn)
		}
	}
	for _, value := range resp.Header["Keep-Alive"] {
		for param := range strings.SplitSeq(value, ",") {
			name, seconds, _ := strings.Cut(strings.TrimSpace(param), "=")
			if d, err := time.ParseDuration(strings.Trim(seconds, `"`) + "s"); err == nil && strings.EqualFold(name, "timeout") {
				k.idle.Store(int64(max(min(d/2, maxIdle), 1)))
			}
		}
	}
}

// refuses reports whether an attempt must not use the connection that it was
// given.
func (k *kept) refuses(class api.Class, info *httptrace.GotConnInfo, http1 bool, counted *countedConn) bool {
	limit := maxIdle
	if http1 {
		if limit = time.Duration(k.idle.Load()); limit == 0 {
			limit = unnamedIdle
		}
	}
	refused := k.broken.find(info.Conn, http1) || class == api.Unsafe && info.WasIdle && info.IdleTime > limit
	if http1 {
		return refused
	}
	return counted != nil && counted.retires(class, refused && info.WasIdle)
}

// connections are a few connections, the oldest of which make place for others.
type connections struct {
	any   atomic.Bool // there has been one
	mu    sync.Mutex
	conns [8]net.Conn
	next  int
}

func (c *connections) add(conn net.Conn) {
	c.any.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[c.next] = conn
	c.next = (c.next + 1) % len(c.conns)
}

// find reports whether conn is among them, and may remove it.
func (c *connections) find(conn net.Conn, remove bool) (found bool) {
	if !c.any.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.conns {
		if c.conns[i] == conn {
			found = true
			if remove {
				c.conns[i] = nil
			}
		}
	}
	return found
}
