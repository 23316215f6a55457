package tests

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frameServer speaks HTTP/2 over TLS on loopback, frame by frame, so that it can
// break off wherever a frame can.
type frameServer struct {
	listener net.Listener
	pool     *x509.CertPool
	config   *tls.Config

	// fault is asked for every request: once when its headers are there, and again
	// when its body is, which is when it is executed. It reports whether it dealt
	// with the request.
	fault func(c *frameConn, stream uint32, whole bool) bool
	// greet, if not nil, may end a connection after the handshake.
	greet func(c *frameConn) (goOn bool)
	body  string

	connections atomic.Int32
	requests    atomic.Int32 // headers that arrived
	executions  atomic.Int32 // requests that arrived whole

	mu    sync.Mutex
	conns map[net.Conn]bool
	done  sync.WaitGroup
}

// frameConn is one connection to a frameServer.
type frameConn struct {
	net.Conn
	*http2.Framer
	server *frameServer
}

func newFrameServer(t *testing.T, body string) *frameServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &frameServer{
		listener: listener, body: body, conns: make(map[net.Conn]bool), pool: x509.NewCertPool(),
		config: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}},
	}
	s.pool.AddCert(certificate)
	s.done.Go(s.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		s.cut()
		s.done.Wait()
	})
	return s
}

// cut closes all connections.
func (s *frameServer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

func (s *frameServer) accept() {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.connections.Add(1)
		s.mu.Lock()
		s.conns[raw] = true
		s.mu.Unlock()
		s.done.Go(func() {
			defer func() {
				_ = raw.Close()
				s.mu.Lock()
				delete(s.conns, raw)
				s.mu.Unlock()
			}()
			s.serve(tls.Server(raw, s.config))
		})
	}
}

func (s *frameServer) serve(conn *tls.Conn) {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	preface := make([]byte, len(http2.ClientPreface))
	if conn.Handshake() != nil {
		return
	}
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	c := &frameConn{conn, http2.NewFramer(conn, conn), s}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if c.WriteSettings() != nil || s.greet != nil && !s.greet(c) {
		return
	}
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			s.requests.Add(1)
			c.request(f.StreamID, false)
			if f.StreamEnded() {
				c.request(f.StreamID, true)
			}
		case *http2.DataFrame:
			_ = c.WriteWindowUpdate(0, max(1, uint32(len(f.Data()))))
			if f.StreamEnded() {
				c.request(f.StreamID, true)
			}
		}
	}
}

// request answers a request, unless the fault does.
func (c *frameConn) request(stream uint32, whole bool) {
	if whole {
		c.server.executions.Add(1)
	}
	if c.server.fault != nil && c.server.fault(c, stream, whole) || !whole {
		return
	}
	_ = c.answer(stream, "200", c.server.body, true)
}

// answer writes the headers of an answer, and a body.
func (c *frameConn) answer(stream uint32, status, body string, end bool) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: status})
	_ = encoder.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/json"})
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
	if err != nil {
		return err
	}
	return c.WriteData(stream, end, []byte(body))
}

// inform sends an answer that is none yet.
func (c *frameConn) inform(stream uint32) error {
	var block bytes.Buffer
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "103"})
	return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
}

// client makes a client of the server.
func (s *frameServer) client(t *testing.T, opts ...connic.Option) *connic.Client {
	t.Helper()
	c, err := connic.New("p", "cnc_http2-test-key", append([]connic.Option{
		connic.WithBaseURL("https://" + s.listener.Addr().String() + "/v1"),
		connic.WithRetry(connic.RetryPolicy{MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond, Budget: -1}),
		connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
			own, ok := next.(*http.Transport)
			require.True(t, ok)
			own.TLSClientConfig.RootCAs = s.pool
			return next
		}),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}
