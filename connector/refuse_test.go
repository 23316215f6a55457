package connector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
)

// TestS11RefusedDeliveries: the same answer for each that may not be genuine, and the
// handler is not called.
func TestS11RefusedDeliveries(t *testing.T) {
	t.Parallel()
	called := 0
	handle := func(context.Context, connector.Delivery) error { called++; return nil }
	large := append(bytes.Repeat([]byte(" "), 4<<20), "{}"...)
	for name, change := range map[string]func(*http.Request){
		"no signature":    func(r *http.Request) { r.Header.Del(connector.SignatureHeader) },
		"wrong signature": func(r *http.Request) { r.Header.Set(connector.SignatureHeader, strings.Repeat("a", 64)) },
		"upper case": func(r *http.Request) {
			r.Header.Set(connector.SignatureHeader, strings.ToUpper(r.Header.Get(connector.SignatureHeader)))
		},
		"two signatures": func(r *http.Request) {
			r.Header.Add(connector.SignatureHeader, r.Header.Get(connector.SignatureHeader))
		},
		"no timestamp": func(r *http.Request) { r.Header.Del(connector.TimestampHeader) },
		"another body": func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(delivery), "done", "dome", 1)))
		},
		"old":   resign(delivery, -301*time.Second),
		"ahead": resign(delivery, 302*time.Second),
		"large": func(r *http.Request) {
			resign(large, 0)(r)
			r.Body = io.NopCloser(bytes.NewReader(large))
			r.ContentLength = int64(len(large))
		},
		"large, undeclared": func(r *http.Request) {
			resign(large, 0)(r)
			r.Body = io.NopCloser(bytes.NewReader(large))
			r.ContentLength = -1
		},
		"a form":             func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"text":               func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		"a broken type":      func(r *http.Request) { r.Header.Set("Content-Type", "application/json; =") },
		"a body that breaks": func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(delivery[:9]), broken{})) },
		"the secret of others": func(r *http.Request) {
			maps.Copy(r.Header, connector.Sign(delivery, time.Now(), "another"))
		},
	} {
		var told []error
		v := &connector.Receiver{Handle: handle, Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { told = append(told, err) }}
		w := post(v, delivery, change)
		status, text := http.StatusUnauthorized, "refused\n"
		if strings.HasPrefix(name, "large") {
			status, text = http.StatusRequestEntityTooLarge, "too large\n"
		}
		if w.Code != status || w.Body.String() != text || len(w.Result().Header) != 3 {
			t.Errorf("%s: %d %q %v", name, w.Code, w.Body, w.Result().Header)
		}
		if len(told) != 1 || strings.Contains(told[0].Error(), string(signing)) {
			t.Errorf("%s: %v", name, told)
		}
	}
	if called != 0 {
		t.Errorf("the handler was called %d times", called)
	}
}

func resign(body []byte, offset time.Duration) func(*http.Request) {
	return func(r *http.Request) {
		maps.Copy(r.Header, connector.Sign(body, time.Now().Add(offset), signing))
	}
}

// refusals are requests that are refused by their headers, of which the body
// never comes.
var refusals = []struct {
	name   string
	status int
	method string
	change func(http.Header)
}{
	{"not signed", 401, http.MethodPost, func(h http.Header) { h.Del(connector.SignatureHeader) }},
	{"signed twice", 401, http.MethodPost, func(h http.Header) { h.Add(connector.SignatureHeader, h.Get(connector.SignatureHeader)) }},
	{"another time", 401, http.MethodPost, func(h http.Header) { h.Set(connector.TimestampHeader, "1") }},
	{"another type", 401, http.MethodPost, func(h http.Header) { h.Set("Content-Type", "text/plain") }},
	{"another method", 405, http.MethodPut, func(http.Header) {}},
}

// TestRefusalsDoNotWaitForTheBody holds on a server, over HTTP/1.1, where
// net/http would read up to 256 KiB before it answers, and over HTTP/2.
func TestRefusalsDoNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(connector.Handler(func(context.Context, connector.Delivery) error { t.Error("called"); return nil }, signing))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	one := server.Client().Transport.(*http.Transport).Clone() //nolint:forcetypeassert // httptest's own
	one.ForceAttemptHTTP2, one.TLSClientConfig.NextProtos = false, nil
	t.Cleanup(one.CloseIdleConnections)
	for protocol, client := range map[string]*http.Client{"HTTP/1.1": {Transport: one}, "HTTP/2.0": server.Client()} {
		for _, test := range refusals {
			for _, length := range []int64{1000, 1 << 20, -1} {
				t.Run(fmt.Sprint(protocol, " ", test.name, " ", length), func(t *testing.T) {
					t.Parallel()
					body, never := io.Pipe()
					defer never.Close()
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // of a failure
					defer cancel()
					r := must(http.NewRequestWithContext(ctx, test.method, server.URL, body))(t)
					r.ContentLength, r.Header = length, connector.Sign(delivery, time.Now(), signing)
					r.Header.Set("Content-Type", "application/json")
					test.change(r.Header)
					resp, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != test.status || resp.Proto != protocol {
						t.Errorf("%s %v, %v", resp.Proto, resp.Status, err)
					}
				})
			}
		}
	}
}

// TestAFloodWithoutSignatures comes over 500 connections at once that send no
// body: each is answered and closed, and nothing is kept.
func TestAFloodWithoutSignatures(t *testing.T) { //nolint:paralleltest // it measures the heap
	var opened, closed atomic.Int64
	server := httptest.NewUnstartedServer(connector.Handler(func(context.Context, connector.Delivery) error { t.Error("called"); return nil }, signing))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		default:
		}
	}
	server.Start()
	defer server.Close()
	flood := func(connections int) {
		var senders sync.WaitGroup
		for i := range connections {
			senders.Go(func() {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				h := connector.Sign(delivery, time.Now(), signing)
				refusals[i%4].change(h)
				_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n")
				_ = h.Write(conn)
				_, _ = io.WriteString(conn, "\r\n{")
				_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // of a failure
				answer, err := io.ReadAll(conn)                            // to the end of the connection
				if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") {
					t.Errorf("%q, %v", answer, err)
				}
			})
		}
		senders.Wait()
		for opened.Load() != closed.Load() && t.Context().Err() == nil {
			runtime.Gosched()
		}
	}
	flood(500) // the runtime keeps what its goroutines took
	before := live()
	flood(500)
	if grown := int64(live()) - int64(before); grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// TestABodyReadByMiddleware: the receiver says so, and does not blame the
// signature, whether the length of the body is known or not.
func TestABodyReadByMiddleware(t *testing.T) {
	t.Parallel()
	for name, middleware := range map[string]func(io.Reader){
		"all":  func(body io.Reader) { _, _ = io.Copy(io.Discard, body) },
		"some": func(body io.Reader) { _, _ = io.CopyN(io.Discard, body, 10) },
	} {
		for _, length := range []int64{int64(len(delivery)), -1} {
			if name == "some" && length < 0 {
				continue // that is not to be seen
			}
			var told error
			v := &connector.Receiver{
				Secrets: []connector.Secret{signing}, OnError: func(_ *http.Request, err error) { told = err },
				Handle: func(context.Context, connector.Delivery) error { t.Error("called"); return nil },
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				middleware(r.Body)
				v.ServeHTTP(w, r)
			}))
			r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.NopCloser(bytes.NewReader(delivery))))(t)
			r.ContentLength, r.Header = length, connector.Sign(delivery, time.Now(), signing)
			resp := must(server.Client().Do(r))(t)
			_ = resp.Body.Close()
			server.Close()
			if resp.StatusCode != http.StatusInternalServerError || !errors.Is(told, connector.ErrBodyConsumed) {
				t.Errorf("%s of %d: %d, %v", name, length, resp.StatusCode, told)
			}
		}
	}
}

// TestABodyThatTrickles has 30 s to arrive, and its sender is told.
func TestABodyThatTrickles(t *testing.T) {
	t.Parallel()
	for _, version := range httpVersions {
		synctest.Test(t, func(t *testing.T) {
			v := connector.Handler(func(context.Context, connector.Delivery) error { t.Error("called"); return nil }, signing)
			n := &virtualServer{handler: v}
			transport := n.start(t, version)
			body, sender := io.Pipe()
			defer sender.Close()
			go func() {
				for sleepFor(t.Context(), time.Second) == nil {
					if _, err := sender.Write([]byte(" ")); err != nil {
						return
					}
				}
			}()
			r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, virtualURL, body))(t)
			r.ContentLength, r.Header = 1000, connector.Sign(delivery, time.Now(), signing)
			start := time.Now()
			resp := must(transport.RoundTrip(r))(t)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized || time.Since(start) != 30*time.Second {
				t.Errorf("HTTP/%d: %s after %v", version, resp.Status, time.Since(start))
			}
			time.Sleep(time.Second) // net/http waits before it closes the connection
		})
	}
}
