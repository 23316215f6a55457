package connic

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// parseBaseURL validates a base URL and returns it without a trailing slash.
func parseBaseURL(s string) (*url.URL, error) {
	if s == DefaultBaseURL {
		return &url.URL{Scheme: "https", Host: "api.connic.co", Path: "/v1"}, nil
	}
	bad := func(reason string) (*url.URL, error) { return nil, badOption("base URL", reason) }
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case err != nil:
		return bad("is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("is not an absolute https URL")
	case u.Host == "" || u.Hostname() == "":
		return bad("has no host")
	case u.User != nil:
		return bad("contains a user; the API key is the only credential")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("has a query or a fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return bad("is not https; http is accepted for loopback addresses only")
	}
	path := strings.TrimRight(u.Path, "/")
	for _, segment := range strings.Split(path, "/")[min(1, strings.Count(path, "/")):] {
		if path != "" && checkSegment(segment) != "" {
			return bad("has an empty segment, a dot segment or a control character in its path")
		}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

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
