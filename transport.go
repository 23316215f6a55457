package connic

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// newTransport returns the default transport of a client. It keeps every
// connection for reuse, where net/http keeps two, and opens at most 64: far
// more than a quota of 60 requests a minute can use.
//
// All attempts may share one HTTP/2 connection, so a dead one must be detected
// and abandoned before an attempt times out. A connection that is silent while
// in use is pinged after a sixth of the timeout, and given up after another
// sixth.
func newTransport(timeout time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	silence := min(timeout, defaultTimeout) / 6
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: conn}, nil
		},
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence, WriteByteTimeout: 2 * silence},
		MaxConnsPerHost:       64,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Net/http reads 10 MiB of headers, and allocates ten times that.
		MaxResponseHeaderBytes: 512 << 10,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
}
