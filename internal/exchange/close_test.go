package exchange

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// Engines that are dropped give their connections back when they are collected.
func TestDroppedEnginesCloseTheirConnections(t *testing.T) {
	t.Parallel()
	var open atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		open.Add(map[http.ConnState]int32{http.StateNew: 1, http.StateClosed: -1}[state])
	}
	server.Start()
	t.Cleanup(server.Close)
	call := func(e *Engine) {
		f := newCall(t.Context(), server.URL, http.MethodPost, api.Unsafe, jsonBody("{}"))
		if out := e.Run(&f.x, f); out.Cause != CauseNone {
			t.Errorf("%+v", out)
		}
	}
	kept := newEngine(NewTransport(time.Second, 0))
	kept.Transport, _ = kept.http.HTTPClient.Transport.(attempts).next.(*http.Transport)
	call(kept)
	for range 100 {
		transport := NewTransport(time.Second, 0)
		e := newEngine(transport)
		e.Transport = transport
		call(e)
	}
	for open.Load() > 1 { // until the timeout of the test
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	call(kept)
	if n := open.Load(); n != 1 {
		t.Errorf("%d connections are open", n)
	}
	kept.Close()
	for open.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}
