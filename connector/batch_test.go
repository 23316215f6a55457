package connector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
)

// spaced returns a body of n bytes.
func spaced(start, end string, n int) []byte {
	return []byte(start + strings.Repeat(" ", n-len(start)-len(end)) + end)
}

// TestBoundsOfBodies: a list has a bound of its own, whatever is declared, and what
// is too large is never refused as forged.
func TestBoundsOfBodies(t *testing.T) {
	t.Parallel()
	type bounds struct{ plain, batch int64 }
	for name, test := range map[string]struct {
		bounds bounds
		body   []byte
		want   int
	}{
		"object":           {bounds{}, spaced("{", "}", 4<<20), 204},
		"larger object":    {bounds{}, spaced("{", "}", 4<<20+1), 413},
		"batch":            {bounds{}, spaced("\n[", "]", 32<<20), 204},
		"larger batch":     {bounds{}, spaced("[", "]", 32<<20+1), 413},
		"late object":      {bounds{}, spaced(strings.Repeat(" ", 65<<10)+"{", "}", 4<<20+1), 413},
		"late batch":       {bounds{}, spaced(strings.Repeat(" ", 65<<10)+"[", "]", 4<<20+1), 413},
		"spaces":           {bounds{}, spaced("", "", 4<<20+1), 413},
		"own":              {bounds{10, 20}, spaced("{", "}", 11), 413},
		"own batch":        {bounds{10, 20}, spaced("[", "]", 20), 204},
		"own larger batch": {bounds{10, 20}, spaced("[", "]", 21), 413},
		"small batch":      {bounds{20, 10}, spaced("[", "]", 11), 413},
		"large object":     {bounds{20, 10}, spaced("{", "}", 20), 204},
		"empty":            {bounds{}, nil, 400},
		"buffer":           {bounds{}, spaced("{", "}", 64<<10), 204},
		"beyond a buffer":  {bounds{}, spaced("{", "}", 64<<10+1), 204},
		"several buffers":  {bounds{}, spaced("[", "]", 3<<20), 204},
	} {
		for _, declared := range []int64{int64(len(test.body)), -1} {
			handled := 0
			v := &connector.Receiver{
				Secrets: []connector.Secret{signing}, MaxBytes: test.bounds.plain, MaxBatchBytes: test.bounds.batch,
				Handle: func(_ context.Context, d connector.Delivery) error {
					if !bytes.Equal(d.Body, test.body) {
						t.Errorf("%s: another body", name)
					}
					handled++
					return nil
				},
			}
			w := post(v, test.body, func(r *http.Request) { r.ContentLength = declared })
			if w.Code != test.want || (handled == 1) != (test.want == 204) {
				t.Errorf("%s of %d: %d, handled %d times", name, declared, w.Code, handled)
			}
		}
	}
}

// TestADeclaredLengthIsAClaim: a sender that declares a large body and sends little
// does not make the receiver allocate much, over a socket.
func TestADeclaredLengthIsAClaim(t *testing.T) { //nolint:paralleltest // it measures the heap
	v := connector.Handler(func(context.Context, connector.Delivery) error { t.Error("called"); return nil }, signing)
	const sent = 100 << 10
	var before, after runtime.MemStats
	r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(bytes.NewReader(spaced("[", "", sent)), readerFunc(func([]byte) (int, error) {
		runtime.ReadMemStats(&after)
		return 0, errors.New("gone")
	})))
	r.Header = connector.Sign(nil, time.Now(), signing)
	r.ContentLength = 32 << 20
	runtime.ReadMemStats(&before)
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	if n := after.TotalAlloc - before.TotalAlloc; w.Code != 401 || n > 33*sent {
		t.Errorf("%d: %d bytes allocated for %d sent", w.Code, n, sent)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestUnsigned: accepted only where that is asked for, and never beside secrets.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	run := strings.ReplaceAll(envelope, "%", "7")
	plain := func(r *http.Request) { r.Header = http.Header{"Content-Type": {"application/json"}} }
	forged := func(r *http.Request) {
		r.Header.Set(connector.SignatureHeader, strings.Repeat("a", 64))
		r.Header.Set(connector.TimestampHeader, "1")
	}
	for name, test := range map[string]struct {
		secrets  []connector.Secret
		unsigned bool
		body     string
		change   func(*http.Request)
		want     int
		calls    int // of two equal deliveries
		told     error
	}{
		"drain":       {nil, true, "[1]", plain, 204, 2, nil},
		"run":         {nil, true, run, plain, 204, 2, nil},
		"signed":      {nil, true, "[1]", nil, 204, 2, nil},
		"forged":      {nil, true, "[1]", forged, 204, 2, nil},
		"blank":       {[]connector.Secret{" "}, true, "[1]", plain, 204, 2, nil},
		"not asked":   {nil, false, "[1]", plain, 500, 0, connector.ErrNoSecret},
		"with secret": {[]connector.Secret{signing}, true, "[1]", plain, 500, 0, connector.ErrUnsigned},
		"and signed":  {[]connector.Secret{signing}, true, "[1]", nil, 500, 0, connector.ErrUnsigned},
		"no JSON":     {nil, true, "[1", plain, 400, 0, connector.ErrNotJSON},
		"a form":      {nil, true, "[1]", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 401, 0, connector.ErrContentType},
		"consumed":    {nil, true, "[1]", func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, 500, 0, connector.ErrBodyConsumed},
		"in part":     {nil, true, "0[1]", func(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 1) }, 500, 0, connector.ErrBodyConsumed},
	} {
		calls := 0
		var told error
		v := &connector.Receiver{
			Secrets: test.secrets, Unsigned: test.unsigned, OnError: func(_ *http.Request, err error) { told = err },
			Handle: func(context.Context, connector.Delivery) error { calls++; return nil },
		}
		for range 2 {
			if w := post(v, []byte(test.body), test.change); w.Code != test.want {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		if calls != test.calls || !errors.Is(told, test.told) {
			t.Errorf("%s: %d calls, %v", name, calls, told)
		}
	}
}

// TestMiddlewareOfTheStandardLibrary wraps a receiver.
func TestMiddlewareOfTheStandardLibrary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := connector.NewMux()
		m.HandlePayload("wait", "", func(ctx context.Context, _ connector.Delivery) error { return sleepFor(ctx, time.Minute) })
		m.Fallback(func(context.Context, connector.Delivery) error { return nil })
		serve := http.NewServeMux()
		serve.Handle("POST /hooks/", http.StripPrefix("/hooks", http.TimeoutHandler(http.MaxBytesHandler(connector.Handler(m.Deliver, signing), 1000), time.Second, "too slow")))
		for body, want := range map[string]int{"{}": 204, `{"wait": true}`: 503, string(spaced("{", "}", 1001)): 413, "[": 400} {
			for _, declared := range []int64{int64(len(body)), -1} {
				if w := post(serve, []byte(body), func(r *http.Request) { r.ContentLength = declared }); w.Code != want {
					t.Errorf("%.20s of %d: %d", body, declared, w.Code)
				}
			}
		}
	})
}

// logBatch is what a log drain posts at most.
func logBatch(tb testing.TB, lines, size int) []byte {
	tb.Helper()
	items := make([]map[string]any, lines)
	for i := range items {
		items[i] = map[string]any{
			"timestamp": "2026-01-02T12:00:00Z", "level": "info", "run_id": fmt.Sprint("run-", i), "agent_name": "clerk",
			"message": strings.Repeat("0123456789abcdef", size/16),
		}
	}
	return must(json.Marshal(items))(tb)
}

// TestALargeBatchIsHeldOnce: 500 lines of 9 KB, over a socket. While it is handled
// by its lines, raw or typed, or as slices, the heap holds the body and little else.
func TestALargeBatchIsHeldOnce(t *testing.T) { //nolint:paralleltest // it measures the heap
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	body := logBatch(t, 500, 9<<10)
	for name, register := range map[string]func(m *connector.Mux, look func(n int)){
		"raw": func(m *connector.Mux, look func(int)) {
			m.Handle(connector.KindLog, func(context.Context, connector.Delivery) error { look(1); return nil })
		},
		"typed": func(m *connector.Mux, look func(int)) {
			m.Handle(connector.KindLog, func(_ context.Context, d connector.Delivery) error {
				if line := d.LogLine(); len(line.Message) < 16 {
					return errors.New("a short line")
				}
				look(1)
				return nil
			})
		},
		"slice": func(m *connector.Mux, look func(int)) {
			m.HandleItems(connector.KindLog, func(_ context.Context, items []connector.Delivery) error { look(len(items)); return nil })
		},
	} {
		m := connector.NewMux()
		m.Fallback(func(context.Context, connector.Delivery) error { return errors.New("not a line") })
		seen, held := 0, uint64(0)
		register(m, func(n int) {
			if seen += n; seen == 500 {
				held = live()
			}
		})
		server := httptest.NewServer(connector.Handler(m.Deliver, signing))
		send := func(body []byte) {
			t.Helper()
			seen = 0
			r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader(body)))(t)
			maps.Copy(r.Header, connector.Sign(body, time.Now(), signing))
			resp := must(server.Client().Do(r))(t)
			_ = resp.Body.Close()
			if resp.StatusCode != 204 || seen != 500 {
				t.Fatalf("%s: %d, %d lines", name, resp.StatusCode, seen)
			}
		}
		send(logBatch(t, 500, 16)) // connects
		idle := live()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		send(body)
		runtime.ReadMemStats(&after)
		server.Close()
		size := float64(len(body))
		ratio, allocated := float64(held-min(idle, held))/size, float64(after.TotalAlloc-before.TotalAlloc)/size
		t.Logf("%s: of %d bytes, %.2f times that is held, and %.2f allocated", name, len(body), ratio, allocated)
		if ratio > 1.1 || allocated > 1.5 && name != "typed" {
			t.Errorf("%s: it holds %.2f times the batch, and allocates %.2f", name, ratio, allocated)
		}
	}
}
