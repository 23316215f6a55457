package chat_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/chat"
)

// connected is a listener for one end of a pipe.
type connected struct {
	conn chan net.Conn
	done chan struct{}
	once sync.Once
}

func (c *connected) Accept() (net.Conn, error) {
	select {
	case conn := <-c.conn:
		return conn, nil
	case <-c.done:
		return nil, net.ErrClosed
	}
}

func (c *connected) Close() error   { c.once.Do(func() { close(c.done) }); return nil }
func (c *connected) Addr() net.Addr { return &net.TCPAddr{} }

// wrapped is a transport that the handshake knows nothing of.
type wrapped struct{ http.RoundTripper }

// Close during a reply is prompt whatever the service does, and with any
// transport it takes a second at most.
func TestCloseUnderFaults(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	config := server.TLS.Clone()
	server.Close()
	for name, do := range map[string]script{
		"silent":        func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); <-ctx.Done() },
		"reads":         func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); hear(ctx, c) },
		"does not read": func(ctx context.Context, _ *websocket.Conn) { <-ctx.Done() },
		"goes on":       streams(5_000, time.Millisecond),
		"waits": func(ctx context.Context, c *websocket.Conn) {
			hear(ctx, c)
			say(ctx, c, `{"type":"approval_required"}`)
			<-ctx.Done()
		},
		"stops in a frame": func(ctx context.Context, c *websocket.Conn) {
			hear(ctx, c)
			w, _ := c.Writer(ctx, websocket.MessageText)
			_, _ = w.Write(make([]byte, 8<<10))
			<-ctx.Done()
		},
		"has closed": func(ctx context.Context, c *websocket.Conn) {
			hear(ctx, c)
			_ = c.Close(websocket.StatusNormalClosure, "")
		},
		"does not answer a ping": func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); <-ctx.Done() },
	} {
		for _, encrypted := range []bool{false, true} {
			for _, foreign := range []bool{false, true} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						closeDuring(t, name, do, config, encrypted, foreign)
					})
				})
			}
		}
	}
}

func closeDuring(t *testing.T, name string, do script, config *tls.Config, encrypted, foreign bool) {
	t.Helper()
	listener := &connected{conn: make(chan net.Conn), done: make(chan struct{})}
	base, end := context.WithCancel(t.Context())
	service := &http.Server{BaseContext: func(net.Listener) context.Context { return base }, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		say(r.Context(), c, `{"type": "connected", "connector_run_id": "cr-1"}`)
		do(r.Context(), c)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = service.Serve(listener) })
	dial := func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		if encrypted {
			listener.conn <- tls.Server(far, config)
			return tls.Client(near, &tls.Config{InsecureSkipVerify: true}), nil
		}
		listener.conn <- far
		return near, nil
	}
	var transport http.RoundTripper = &http.Transport{DialContext: dial, DialTLSContext: dial}
	if foreign {
		transport = wrapped{transport}
	}
	url := "ws://localhost/x"
	if encrypted {
		url = "wss://localhost/x"
	}
	s, err := chat.Dial(t.Context(), url, canary, chat.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error)
	go func() {
		_, err := s.Ask(t.Context(), chat.Message{Text: strings.Repeat("m", 16<<10)})
		sent <- err
	}()
	time.Sleep(time.Second)
	if name == "does not answer a ping" {
		time.Sleep(31 * time.Second)
	}
	start, limit := time.Now(), 50*time.Millisecond
	if foreign {
		limit = time.Second
	}
	_ = s.Close()
	took := time.Since(start)
	err = <-sent
	if took > limit || time.Since(start) > limit {
		t.Errorf("TLS %v, foreign %v: closed after %v, and the reply after %v", encrypted, foreign, took, time.Since(start))
	}
	var reply *chat.ReplyError
	if !errors.As(err, &reply) || !errors.Is(err, chat.ErrClosed) && !errors.Is(err, chat.ErrEnded) {
		t.Errorf("%v", err)
	}
	if unsent := name == "does not read"; !errors.Is(err, context.Canceled) && name != "has closed" || errors.Is(err, connic.ErrOutcomeUnknown) == unsent {
		t.Errorf("%v", err)
	}
	end()
	_ = service.Close()
	serving.Wait()
	time.Sleep(10 * time.Second) // TLS says goodbye for 5 s
}
