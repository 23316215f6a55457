package measure

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Wire is an HTTP/1.1 server on loopback that responds to every request with
// the same bytes, without an allocation.
type Wire struct {
	listener net.Listener
	opened   atomic.Int64
	open     sync.Map
	done     sync.WaitGroup
}

// NewWire starts a server.
func NewWire(status int, body string) (*Wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it lives as long as the program
	if err != nil {
		return nil, err
	}
	answer := fmt.Appendf(nil, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	w := &Wire{listener: l}
	w.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.opened.Add(1)
			w.open.Store(conn, nil)
			w.done.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn, answer)
			})
		}
	})
	return w, nil
}

// serve responds to requests without a body.
func serve(conn net.Conn, answer []byte) {
	buf := make([]byte, 0, 8<<10)
	for {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		for {
			end := bytes.Index(buf, []byte("\r\n\r\n"))
			if end < 0 {
				break
			}
			buf = buf[:copy(buf, buf[end+4:])]
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}

// URL returns the base URL.
func (w *Wire) URL() string { return "http://" + w.listener.Addr().String() }

// Close closes the server and its connections.
func (w *Wire) Close() {
	_ = w.listener.Close()
	w.open.Range(func(conn, _ any) bool {
		if c, ok := conn.(net.Conn); ok {
			_ = c.Close()
		}
		return true
	})
	w.done.Wait()
}
