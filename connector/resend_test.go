package connector_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// http2Server executes each request that it has got whole, and then answers with a
// frame that makes net/http send it again. It needs no HPACK for that.
type http2Server struct {
	answer   func(stream uint32) []byte
	leaves   bool // after the answer
	executed atomic.Int32
}

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

func code(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func (s *http2Server) serve(conn net.Conn) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
		return
	}
	_, _ = conn.Write(frame(4, 0, 0, nil)) // SETTINGS
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if _, err := io.ReadFull(conn, make([]byte, length)); err != nil {
			return
		}
		stream := binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1)
		switch kind, flags := head[3], head[4]; {
		case kind == 4 && flags&1 == 0:
			_, _ = conn.Write(frame(4, 1, 0, nil)) // SETTINGS are acknowledged
		case kind == 0 && flags&1 != 0: // the end of DATA
			s.executed.Add(1)
			_, _ = conn.Write(s.answer(stream))
			if s.leaves {
				return
			}
		}
	}
}

// TestHTTP2DoesNotSendTwice: net/http repeats a request over HTTP/2 on its own, for
// causes that do not say that the server has not begun.
func TestHTTP2DoesNotSendTwice(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(stream uint32) []byte{
		"PROTOCOL_ERROR": func(stream uint32) []byte { return frame(3, 0, stream, code(1)) },
		"REFUSED_STREAM": func(stream uint32) []byte { return frame(3, 0, stream, code(7)) },
		"GOAWAY":         func(stream uint32) []byte { return frame(7, 0, 0, append(code(stream), code(0)...)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certified := httptest.NewTLSServer(http.NotFoundHandler())
			defer certified.Close()
			listener := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				Certificates: certified.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
			}))(t)
			defer listener.Close()
			s := &http2Server{answer: answer, leaves: name == "GOAWAY"} // which names the request as one that may be executed
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go s.serve(conn)
				}
			}()
			transport := certified.Client().Transport.(*http.Transport).Clone() //nolint:forcetypeassert // httptest's own
			transport.ForceAttemptHTTP2, transport.TLSClientConfig.NextProtos = true, []string{"h2"}
			defer transport.CloseIdleConnections()
			c := must(connector.New("https://"+listener.Addr().String()+"/x", canary,
				connector.WithHTTPClient(&http.Client{Transport: transport}), connector.WithTimeout(20*time.Second)))(t)
			_, err := c.Call(t.Context(), connector.Input{Message: "hello"})
			if got := s.executed.Load(); got != 1 || !errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Errorf("%d executions, %v", got, err)
			}
			show(t, err)
		})
	}
}

// deaf is a connection that takes one request and no byte of a second one, as a
// connection is that the server has given up meanwhile.
type deaf struct {
	net.Conn
	answered *atomic.Bool
}

func (d deaf) Write(p []byte) (int, error) {
	if d.answered.Load() {
		return 0, errors.New("broken pipe")
	}
	return d.Conn.Write(p)
}

// TestAKeptConnectionThatIsGone: a connection that took no byte of the request is no
// reason to doubt what has happened.
func TestAKeptConnectionThatIsGone(t *testing.T) {
	t.Parallel()
	var executed atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		executed.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, syncAnswer)
	}))
	defer server.Close()
	var dialed atomic.Int32
	answered := new(atomic.Bool)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if dialed.Add(1) == 1 && err == nil {
			return deaf{conn, answered}, nil
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	c := must(connector.New(server.URL+"/x", canary, connector.WithHTTPClient(&http.Client{Transport: transport})))(t)
	for range 2 {
		if _, err := c.Call(t.Context(), connector.Input{Message: "hello"}); err != nil {
			t.Error(err)
		}
		answered.Store(true)
	}
	if executed.Load() != 2 || dialed.Load() != 2 {
		t.Errorf("%d executions, %d connections", executed.Load(), dialed.Load())
	}
}
