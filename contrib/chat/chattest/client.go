package chattest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Client returns a client for [chat.WithHTTPClient] that reaches a handler, such
// as a [Server], at any address, over connections in memory. In a bubble of
// package testing/synctest it makes tests in virtual time possible. Both ends
// are closed by t.Cleanup.
//
// [chat.WithHTTPClient]: https://pkg.go.dev/github.com/connic-go/connic/contrib/chat#WithHTTPClient
func Client(t TB, handler http.Handler) *http.Client {
	t.Helper()
	p := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	base, end := context.WithCancel(context.Background())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return base }}
	transport := &http.Transport{DialContext: p.dial}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(p) })
	t.Cleanup(func() {
		end()
		_ = server.Close()
		transport.CloseIdleConnections()
		serving.Wait()
	})
	return &http.Client{Transport: transport}
}

// pipes is a listener whose connections are pipes.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.accept <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
