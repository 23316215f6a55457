package exchange

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

const testKey = "cnc_0123456789abcdef"

// fake is a Caller that admits everything, and records what it is told.
type fake struct {
	context.Context
	at func(place string) // is called first by every method
	x  Exchange

	mu     sync.Mutex
	steps  []string
	ends   []End
	events []Event
	admit  func(again bool) error
	body   string // of the last success
}

func (f *fake) reach(place string) {
	f.mu.Lock()
	f.steps = append(f.steps, place)
	f.mu.Unlock()
	if f.at != nil {
		f.at(place)
	}
}

func (f *fake) Admit(ctx context.Context, again bool) error {
	f.mu.Lock()
	f.steps = append(f.steps, "admit")
	f.mu.Unlock()
	if f.admit != nil {
		if err := f.admit(again); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (f *fake) Release(end End, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps, f.ends = append(f.steps, "release"), append(f.ends, end)
}

func (f *fake) Decode(d *lenient.Decoder) error {
	f.reach("decode")
	start := d.Offset()
	if err := d.End(d.Skip()); err != nil {
		return err
	}
	f.body = string(d.Since(start))
	return nil
}

func (f *fake) Salvage([]byte)                  { f.reach("salvage") }
func (f *fake) Sending() func()                 { f.reach("sending"); return func() { f.reach("landed") } }
func (f *fake) Received(*http.Response, []byte) { f.reach("received") }

func (f *fake) Observe(e Event) {
	f.mu.Lock()
	f.events = append(f.events, e)
	f.mu.Unlock()
	f.reach("observe")
}

// count returns how often a step was taken.
func (f *fake) count(step string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.steps {
		if s == step {
			n++
		}
	}
	return n
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newEngine returns an Engine with a fixed key and short waits.
func newEngine(transport http.RoundTripper) *Engine {
	e := &Engine{
		Policy: Policy{MaxAttempts: 4, MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond, MaxRetryAfter: 2 * time.Minute, Budget: -1},
		Key:    Key{Name: "Authorization", Value: func(context.Context) ([]string, error) { return []string{"Bearer " + testKey}, nil }},

		UserAgent: []string{"engine/1"}, MaxBody: 1 << 20, MaxErrorBody: 1 << 16,
	}
	e.Start(transport)
	return e
}

// newCall returns an exchange with base, and its Caller.
func newCall(ctx context.Context, base, method string, class api.Class, body *Body) *fake {
	f := &fake{Context: ctx}
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	f.x.Spec = Spec{Method: method, URL: *u, Class: class, MaxAttempts: 4, Timeout: 10 * time.Second, Body: body}
	return f
}

func jsonBody(text string) *Body {
	return &Body{ContentType: []string{"application/json"}, Encoded: []byte(text)}
}

func streamed(open func() (io.Reader, error)) *Body {
	return &Body{ContentType: []string{"text/plain"}, Open: open}
}

func answer(status int, body string, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Add(header[i], header[i+1])
	}
	return resp
}

// A service is a server on loopback, with a transport that trusts it.
type service struct {
	url       string
	transport *http.Transport
	server    *httptest.Server
}

// services returns the same server over both protocols, each with the transport of
// NewTransport and with one of the user's.
func services(t *testing.T, handler http.Handler) map[string]service {
	t.Helper()
	all := make(map[string]service)
	for _, own := range []bool{true, false} {
		for _, protocol := range []string{"HTTP/1.1", "HTTP/1.1 over TLS", "HTTP/2"} {
			server := httptest.NewUnstartedServer(handler)
			server.Config.ErrorLog = quiet()
			transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
			if own {
				transport = NewTransport(5*time.Second, 0)
			}
			if server.EnableHTTP2 = protocol == "HTTP/2"; protocol == "HTTP/1.1" {
				server.Start()
			} else {
				server.StartTLS()
				transport.TLSClientConfig.RootCAs = x509.NewCertPool()
				transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
			}
			t.Cleanup(func() {
				transport.CloseIdleConnections()
				server.CloseClientConnections()
				server.Close()
			})
			all[fmt.Sprintf("%s, own %v", protocol, own)] = service{server.URL, transport, server}
		}
	}
	return all
}

// reading returns a streamed body that can be opened any number of times.
func reading(text string) *Body {
	return streamed(func() (io.Reader, error) { return strings.NewReader(text), nil })
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
