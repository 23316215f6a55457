package exchange

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// A link carries bytes one way, and each of them takes a while. What is on its way
// when the other side closes is lost.
type link struct {
	delay  time.Duration
	pieces chan piece
	rest   []byte
	once   sync.Once
	closed chan struct{}
}

type piece struct {
	at time.Time
	b  []byte
}

func newLink(delay time.Duration) *link {
	return &link{delay: delay, pieces: make(chan piece, 1000), closed: make(chan struct{})}
}

func (l *link) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		select {
		case next := <-l.pieces:
			time.Sleep(time.Until(next.at))
			if l.rest = next.b; next.b == nil {
				return 0, io.EOF
			}
		case <-l.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *link) send(b []byte) { l.pieces <- piece{time.Now().Add(l.delay), b} }

// side is one side of a connection.
type side struct {
	net.Conn
	in, out *link
	open    atomic.Bool
}

func (s *side) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *side) Write(p []byte) (int, error) {
	if !s.open.Load() {
		return 0, net.ErrClosed
	}
	s.out.send(append([]byte{}, p...))
	return len(p), nil
}

func (s *side) Close() error {
	if s.open.Swap(false) {
		s.out.send(nil)
		s.in.once.Do(func() { close(s.in.closed) })
	}
	return nil
}

// idleServer closes connections that have been idle for a while.
type idleServer struct {
	idle     time.Duration
	named    bool // it says so
	executed atomic.Int64
	dialed   atomic.Int64
}

func (s *idleServer) dial(context.Context, string, string) (net.Conn, error) {
	s.dialed.Add(1)
	delay := 10*time.Millisecond + rand.N(150*time.Millisecond)
	up, down := newLink(delay), newLink(delay)
	near, far := &side{in: down, out: up}, &side{in: up, out: down}
	near.open.Store(true)
	far.open.Store(true)
	go func() {
		defer far.Close()
		for reader := bufio.NewReader(far); ; {
			timer := time.AfterFunc(s.idle, func() { _ = far.Close() })
			r, err := http.ReadRequest(reader)
			if err != nil || !timer.Stop() {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			s.executed.Add(1)
			keep := ""
			if s.named {
				keep = fmt.Sprintf("Keep-Alive: timeout=%d\r\n", int(s.idle.Seconds()))
			}
			_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\n"+keep+"Content-Length: 2\r\n\r\n{}")
		}
	}()
	return &countedConn{Conn: near}, nil
}

// F7: 20,000 unsafe requests at random times, many of which meet a server that is about to
// close the connection.
func TestUnsafeRequestsMeetNoClosingConnection(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{time.Second, 5 * time.Second, time.Minute, 75 * time.Second} {
		for _, named := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, named %v", idle, named), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &idleServer{idle: idle, named: named}
					transport := NewTransport(10*time.Second, 0)
					transport.DialContext = s.dial
					defer time.Sleep(5 * time.Minute) // until the servers have closed their sides
					defer transport.CloseIdleConnections()
					e := newEngine(transport)
					const n = 2_500
					unknown := 0
					for range n {
						f := newCall(t.Context(), "http://api.test/run", http.MethodPost, api.Unsafe, jsonBody("{}"))
						out := e.Run(&f.x, f)
						if out.Unknown {
							unknown++
						} else if out.Cause != CauseNone {
							t.Fatalf("%+v", out)
						}
						switch rand.N(4) {
						case 0: // just when the server closes it
							time.Sleep(max(0, idle-rand.N(400*time.Millisecond)))
						case 1:
							time.Sleep(rand.N(2 * idle))
						default:
							time.Sleep(rand.N(time.Second))
						}
					}
					if unknown > 0 || s.executed.Load() != n {
						t.Errorf("%d unknown outcomes, %d of %d executed", unknown, s.executed.Load(), n)
					}
					if dialed := s.dialed.Load(); dialed > n*9/10 {
						t.Errorf("%d connections for %d requests", dialed, n)
					}
				})
			})
		}
	}
}

// After a 502, 503 or 504 neither the retry nor a later call uses the connection.
func TestUnavailableServicesAreLeft(t *testing.T) {
	t.Parallel()
	for _, status := range []int{502, 503, 504} {
		var mu sync.Mutex
		backends := make(map[string]bool) // by the address of the connection; the first one is down
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if _, known := backends[r.RemoteAddr]; !known {
				backends[r.RemoteAddr] = len(backends) == 0
			}
			down := backends[r.RemoteAddr]
			mu.Unlock()
			_, _ = io.Copy(io.Discard, r.Body)
			if down {
				w.WriteHeader(status)
			}
			_, _ = io.WriteString(w, "{}")
		})
		for name, s := range services(t, handler) {
			if name == "HTTP/2, own false" {
				continue // net/http does not let anybody choose there
			}
			for _, class := range []api.Class{api.Safe, api.Unsafe} {
				backends = make(map[string]bool)
				s.transport.CloseIdleConnections()
				e := newEngine(s.transport)
				for i := range 3 {
					f := newCall(t.Context(), s.url, http.MethodPost, class, jsonBody("{}"))
					out := e.Run(&f.x, f)
					switch {
					case i == 0 && class == api.Unsafe:
						if !out.Unknown || out.Status != status {
							t.Errorf("%s: %+v", name, out)
						}
					case i == 0:
						if out.Cause != CauseNone || out.Attempts > 3 {
							t.Errorf("%s: %d: %+v", name, status, out)
						}
					case out.Cause != CauseNone || out.Attempts > 2:
						t.Errorf("%s: %d: call %d: %+v", name, status, i, out)
					}
				}
				if len(backends) != 2 {
					t.Errorf("%s: %d: %d connections", name, status, len(backends))
				}
			}
		}
	}
}

// The time that an attempt waits for a connection of the pool is no part of it.
func TestWaitingForAConnectionIsNoTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := NewTransport(10*time.Second, 1)
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				for reader := bufio.NewReader(far); ; {
					r, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					time.Sleep(8 * time.Second)
					if _, err := io.WriteString(far, okAnswer); err != nil {
						return
					}
				}
			}()
			return near, nil
		}
		defer transport.CloseIdleConnections()
		e := newEngine(transport)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				f := newCall(t.Context(), "http://api.test/run", http.MethodPost, api.Unsafe, jsonBody("{}"))
				if out := e.Run(&f.x, f); out.Cause != CauseNone { // after 10 s an attempt times out
					t.Errorf("%+v", out)
				}
			})
		}
		wg.Wait()
	})
}

// A connection of HTTP/2 is not given up while an unsafe attempt uses it.
func TestSharedConnectionsAreNotTakenAway(t *testing.T) {
	t.Parallel()
	c := new(countedConn)
	if c.retires(api.Unsafe, false) || c.retires(api.Safe, true) {
		t.Error("it is given up while an unsafe attempt uses it")
	}
	e := evidence{end: &deadline{Exchange: &Exchange{Spec: Spec{Class: api.Unsafe}}}, counted: c}
	e.close()
	if !c.retires(api.Safe, true) || !c.retires(api.Unsafe, false) {
		t.Error("it is not given up")
	}
	if _, err := c.Write([]byte("x")); err == nil || c.written.Load() != 0 {
		t.Errorf("it is written to: %v", err)
	}
}
