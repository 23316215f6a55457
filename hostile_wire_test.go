package connic

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wireServer answers each connection with what serve writes, after the request's
// headers. It counts the requests.
func wireServer(t *testing.T, serve func(net.Conn)) (url string, requests *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = new(atomic.Int32)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				requests.Add(1)
				_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength)
				serve(conn)
			}()
		}
	}()
	return "http://" + listener.Addr().String(), requests
}

// Whatever comes before or in place of an answer ends an attempt in bounded time and
// memory, and starts nothing twice.
func TestHostileWires(t *testing.T) { //nolint:paralleltest // it measures the heap
	flood := func(line string) func(net.Conn) {
		chunk := []byte(strings.Repeat(line, 1024))
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for range 4096 {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	for name, serve := range map[string]func(net.Conn){ //nolint:paralleltest // each fills memory
		"headers without end":  flood("X-A: " + strings.Repeat("a", 1000) + "\r\n"),
		"a header without end": flood(strings.Repeat("a", 1000)),
		"a status without end": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 "+strings.Repeat("\x1b[2J", 4<<20)+"\r\n\r\n") },
		"informational for ever": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"); err != nil {
					return
				}
			}
		},
		"100 for ever": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
					return
				}
			}
		},
		"switching protocols": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{\"run_id\":\"r1\"}")
		},
		"a captive portal": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><title>Log in</title>")
		},
		"another protocol": func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n") },
		"a length that lies": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n{")
		},
		"trailers without end": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
			for range 4096 {
				if _, err := io.WriteString(c, strings.Repeat("X-A: aaaaaaaa\r\n", 512)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, requests := wireServer(t, serve)
			c, err := New("p", testKey, WithBaseURL(url), WithTimeout(2*time.Minute), WithRetry(RetryPolicy{MaxAttempts: 1}))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err = c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if err == nil || requests.Load() != 1 || took > time.Minute {
				t.Errorf("%d requests, %v, %v", requests.Load(), took, err)
			}
			text := err.Error()
			var inner *TransportError
			if errors.As(err, &inner) {
				text += inner.Err.Error()
			}
			if len(text) > 3*maxText || strings.ContainsAny(text, "\x1b\r\n") {
				t.Errorf("the text has %d bytes: %.100q", len(text), text)
			}
			if total := after.TotalAlloc - before.TotalAlloc; total > 64<<20 {
				t.Errorf("%d MiB are allocated", total>>20)
			}
			t.Logf("%.200s (%v, %d MiB)", err, took, (after.TotalAlloc-before.TotalAlloc)>>20)
		})
	}
}

// A transport may have business of its own with the same host, and may call the
// client: neither is taken for a repetition of the request.
func TestTransportsWithBusinessOfTheirOwn(t *testing.T) {
	t.Parallel()
	var triggers atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			triggers.Add(1)
		}
		_, _ = io.WriteString(w, `{"id": "r1", "run_id": "r1", "status": "completed"}`)
	}))
	t.Cleanup(server.Close)
	type nested struct{}
	var c *Client
	for name, before := range map[string]bool{"before": true, "after": false} {
		for kind, business := range map[string]func(context.Context, http.RoundTripper) error{
			"client": func(ctx context.Context, _ http.RoundTripper) error {
				_, err := c.Runs.Get(context.WithValue(ctx, nested{}, 1), "r1")
				return err
			},
			"request": func(ctx context.Context, next http.RoundTripper) error {
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/token", nil)
				resp, err := next.RoundTrip(r)
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				return err
			},
		} {
			var err error
			c, err = New("p", testKey, WithBaseURL(server.URL), WithTransport(func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Context().Value(nested{}) != nil {
						return next.RoundTrip(r)
					}
					if before {
						if err := business(r.Context(), next); err != nil {
							return nil, err
						}
						return next.RoundTrip(r)
					}
					resp, err := next.RoundTrip(r)
					if err == nil {
						err = business(r.Context(), next)
					}
					return resp, err
				})
			}))
			if err != nil {
				t.Fatal(err)
			}
			triggers.Store(0)
			if _, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"}); err != nil || triggers.Load() != 1 {
				t.Errorf("%s %s: %d triggers, %v", kind, name, triggers.Load(), err)
			}
			var answer Response
			if _, err := c.Runs.Get(t.Context(), "r1", CaptureResponse(&answer)); err != nil || answer.Attempts != 1 {
				t.Errorf("%s %s: a read takes %d attempts, %v", kind, name, answer.Attempts, err)
			}
			_ = c.Close()
		}
	}
}

// The places where Go asks no method of a key are these; SECURITY.md names them.
func TestWhereAKeyShows(t *testing.T) {
	t.Parallel()
	const key = APIKey("cnc_0123456789abcdef")
	shown := make(map[string]bool)
	for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%+q", "%#q", "%s", "%x", "%X", "% x", "%d", "%t", "%c", "%U", "%e", "%b", "%o", "%T", "%10s", "%p", "%w", "%z"} {
		for _, value := range []any{key, []APIKey{key}, map[string]APIKey{"k": key}, map[APIKey]int{key: 1}, struct{ Key APIKey }{key}, &struct{ Key APIKey }{key}, [1]any{key}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(strings.ToLower(text), "0123456789") || strings.Contains(strings.ToLower(text), "3031323334") {
				shown[verb] = true
			}
		}
	}
	encoded, _ := json.Marshal(map[APIKey]int{key: 1})
	shown["JSON map key"] = strings.Contains(string(encoded), "0123456789")
	encoded, _ = json.Marshal([]any{key, &key2, map[string]any{"a": key}, struct{ K APIKey }{key}})
	shown["JSON"] = strings.Contains(string(encoded), "0123456789")
	for where, shows := range shown {
		if known := where == "%p" || where == "%w" || where == "JSON map key"; shows && !known {
			t.Errorf("it shows in %s", where)
		}
	}
}

var key2 = APIKey("cnc_0123456789abcdef")
