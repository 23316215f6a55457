package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// NewTransport returns a transport for one service. It counts what is written to
// its connections, so that an Engine knows whether a request can have left the
// process. It keeps every connection for reuse, where net/http keeps two, and
// opens at most conns at once, or any number if conns is 0. If that is less than
// the gate admits, attempts wait for each other.
//
// All attempts may share one connection of HTTP/2. One that is silent while in use
// is pinged, and given up after another silence. The headers of an answer are
// bounded by 512 KiB.
func NewTransport(silence time.Duration, conns int) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: conn}, nil
		},
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence, WriteByteTimeout: 2 * silence},
		MaxConnsPerHost:        conns,
		MaxIdleConnsPerHost:    max(conns, 64),
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 512 << 10,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

// countedConn counts the writes to a connection.
type countedConn struct {
	net.Conn
	written atomic.Int64
	unsafe  atomic.Int32 // unsafe attempts that use it, or -1 if nothing may be written any more
}

const retired = -1 << 30

var errRetired = errors.New("the connection was given up before the request")

func (c *countedConn) Write(b []byte) (int, error) {
	if c.unsafe.Load() < 0 {
		return 0, errRetired
	}
	c.written.Add(1) // before the write, since the other side may be faster than the return
	n, err := c.Conn.Write(b)
	if n == 0 && err != nil {
		c.written.Add(-1)
	}
	return n, err
}

// retires reports whether an attempt must not use a connection of HTTP/2, which
// others may share. If give is set it is given up, unless an unsafe attempt uses
// it.
func (c *countedConn) retires(class api.Class, give bool) bool {
	if give && c.unsafe.CompareAndSwap(0, retired) {
		return true
	}
	if class == api.Unsafe {
		return c.unsafe.Add(1) < 0
	}
	return c.unsafe.Load() < 0
}

// UserAgent returns the name of a version of the module and of its platform.
func UserAgent(version string) string {
	return "connic-go/" + version + " (" + runtime.Version() + "; " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
