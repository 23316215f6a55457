package chat_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/chat"
)

// caller is a transport of the user's that makes a call of its own with the
// context of each request.
type caller struct {
	auditing
	when string
}

func (c *caller) RoundTrip(r *http.Request) (*http.Response, error) {
	switch c.when {
	case "before":
		c.call(r.Context())
	case "after":
		defer c.call(r.Context())
	case "instead":
		c.call(r.Context())
		return nil, errors.New("not sent")
	}
	return c.base.RoundTrip(r)
}

// A handshake reaches the service once at most, whatever fails and whatever calls
// the transport makes of its own, and opens a session only if it succeeded. It uses
// HTTP/1.1 where the server has HTTP/2, too.
func TestF6Handshakes(t *testing.T) {
	t.Parallel()
	greet := func(ctx context.Context, w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		say(ctx, c, `{"type": "connected", "connector_run_id": "cr-1"}`)
		hear(ctx, c)
	}
	status := func(code int) func(context.Context, http.ResponseWriter, *http.Request) {
		return func(_ context.Context, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	faults := map[string]func(context.Context, http.ResponseWriter, *http.Request){
		"none": greet, "200": status(200), "401": status(401), "408": status(408), "425": status(425), "429": status(429), "500": status(500), "502": status(502), "503": status(503),
		"reset":         func(context.Context, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"closed":        func(_ context.Context, w http.ResponseWriter, r *http.Request) { closing(1011)(w, r) },
		"broken":        func(_ context.Context, w http.ResponseWriter, r *http.Request) { closing(0)(w, r) },
		"no connection": nil,
	}
	for _, http2 := range []bool{false, true} {
		for fault, serve := range faults {
			for _, when := range []string{"never", "before", "after", "instead"} {
				for _, own := range []bool{true, false} {
					var shaken, called atomic.Int32
					srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.URL.Path == "/own" {
							called.Add(1)
							return
						}
						shaken.Add(1)
						serve(r.Context(), w, r)
					}))
					srv.EnableHTTP2 = http2
					srv.StartTLS()
					base, at := srv.Client().Transport.(*http.Transport), srv.URL //nolint:forcetypeassert // as httptest has it
					transport := &caller{auditing{base: base, audit: srv.URL + "/own"}, when}
					if !own {
						transport.audit = "https://127.0.0.1:1"
					}
					if fault == "no connection" {
						at = "https://127.0.0.1:1"
					}
					s, err := chat.Dial(t.Context(), "wss"+strings.TrimPrefix(at, "https"), canary, chat.WithHTTPClient(&http.Client{Transport: transport}))
					if err == nil {
						_ = s.Close()
					}
					want := int32(1)
					if fault == "no connection" || when == "instead" {
						want = 0
					}
					calls := int32(0)
					if own && when != "never" {
						calls = 1
					}
					if shaken.Load() != want || called.Load() != calls || (err == nil) != (want == 1 && fault == "none") || errors.Is(err, connic.ErrOutcomeUnknown) {
						t.Errorf("HTTP/2 %v, %s, a call %s: %d handshakes, %d calls: %v", http2, fault, when, shaken.Load(), called.Load(), err)
					}
					base.CloseIdleConnections()
					srv.CloseClientConnections()
					srv.Close()
				}
			}
		}
	}
}
