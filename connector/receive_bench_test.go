package connector_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic/connector"
)

// floor is what is written by hand: the HMAC, and encoding/json into exactly the
// fields. It has no bound, no timestamp to check, and handles repetitions again.
func floor(handle func(body []byte) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h := hmac.New(sha256.New, []byte(signing))
		h.Write([]byte(r.Header.Get(connector.TimestampHeader) + "."))
		h.Write(body)
		mac, _ := hex.DecodeString(r.Header.Get(connector.SignatureHeader))
		switch {
		case !hmac.Equal(h.Sum(nil), mac):
			w.WriteHeader(http.StatusUnauthorized)
		case handle(body) != nil:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

var errShort = errors.New("something is missing")

// deliveries are what is received, and what is needed of it.
var deliveries = []struct {
	name   string
	body   func(tb testing.TB) []byte
	floor  func(body []byte) error
	handle func(m *connector.Mux)
}{
	{"envelope of 1 KB", func(testing.TB) []byte {
		return []byte(`{"run_id": "3f0c1a7e-5f0e-4b55-9f5e-0d4c5d6f7a8b", "agent_name": "clerk", "status": "completed", "output": "` +
			strings.Repeat(`The invoice of \"Tea & Co\" is due on Friday.\n`, 15) + `", "error": null, "started_at": "2026-01-02T03:04:05.123456Z",
			"ended_at": "2026-01-02T03:04:15.654321Z", "token_usage": {"input": 812, "output": 155, "total": 967}}`)
	}, func(body []byte) error {
		var run struct {
			ID     string    `json:"run_id"`
			Agent  string    `json:"agent_name"`
			Status string    `json:"status"`
			Output string    `json:"output"`
			Error  string    `json:"error"`
			Start  time.Time `json:"started_at"`
			End    time.Time `json:"ended_at"`
			Usage  struct {
				Input  int64 `json:"input"`
				Output int64 `json:"output"`
				Total  int64 `json:"total"`
			} `json:"token_usage"`
		}
		if err := json.Unmarshal(body, &run); err != nil || len(run.Output) < 600 {
			return errShort
		}
		return nil
	}, func(m *connector.Mux) {
		m.HandleAgent(connector.KindRun, "clerk", func(_ context.Context, d connector.Delivery) error {
			if len(d.Output) < 600 || d.TokenUsage.Total == 0 {
				return errShort
			}
			return nil
		})
	}},
	{"500 lines of 9 KB", func(tb testing.TB) []byte { tb.Helper(); return logBatch(tb, 500, 9<<10) }, func(body []byte) error {
		var lines []struct {
			Time    time.Time `json:"timestamp"`
			Level   string    `json:"level"`
			Message string    `json:"message"`
			RunID   string    `json:"run_id"`
			Agent   string    `json:"agent_name"`
		}
		if err := json.Unmarshal(body, &lines); err != nil || len(lines) != 500 {
			return errShort
		}
		return nil
	}, func(m *connector.Mux) {
		m.Handle(connector.KindLog, func(_ context.Context, d connector.Delivery) error {
			if d.LogLine().Message == "" {
				return errShort
			}
			return nil
		})
	}},
}

// discard is a response of which the status is kept.
type discard struct {
	header http.Header
	status int
}

func (w *discard) Header() http.Header         { return w.header }
func (w *discard) WriteHeader(status int)      { w.status = status }
func (w *discard) Write(p []byte) (int, error) { return len(p), nil }

// served is a way to receive a delivery, which is repeated.
type served struct {
	name    string
	handler http.Handler
}

// serve returns the floor and the receiver.
func serve(handFloor func([]byte) error, handle func(*connector.Mux)) []served {
	m := connector.NewMux()
	handle(m)
	m.Fallback(func(context.Context, connector.Delivery) error { return errShort })
	return []served{
		{"floor", floor(handFloor)},
		// It claims and records as ever, and forgets at once.
		{"receiver", &connector.Receiver{Handle: m.Deliver, Secrets: []connector.Secret{signing}, Store: connector.NewMemory(1000, 0)}},
	}
}

// again returns a function that delivers a body, without a connection.
func again(tb testing.TB, h http.Handler, body []byte) func() {
	tb.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header = connector.Sign(body, time.Now(), signing)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(body))
	return func() {
		r.Body = io.NopCloser(bytes.NewReader(body))
		w := discard{header: make(http.Header)}
		if h.ServeHTTP(&w, r); w.status != http.StatusNoContent {
			tb.Fatal(w.status)
		}
	}
}

// BenchmarkReceiver compares a receiver and a Mux with the floor.
func BenchmarkReceiver(b *testing.B) {
	for _, d := range deliveries {
		for _, side := range serve(d.floor, d.handle) {
			b.Run(d.name+"/"+side.name, func(b *testing.B) {
				body := d.body(b)
				deliver := again(b, side.handler, body)
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					deliver()
				}
			})
		}
	}
}

// TestReceiverAllocates about what the floor does for a run, and less for a batch.
func TestReceiverAllocates(t *testing.T) { //nolint:paralleltest // it measures the heap
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	for i, d := range deliveries {
		var bytes [2]float64
		body := d.body(t)
		for i, side := range serve(d.floor, d.handle) {
			deliver := again(t, side.handler, body)
			deliver()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 20 {
				deliver()
			}
			runtime.ReadMemStats(&after)
			bytes[i] = float64(after.TotalAlloc-before.TotalAlloc) / 20
		}
		most := []float64{1.5, 0.8}[i]
		t.Logf("%s: %.0f bytes by hand, %.2f times as many by the receiver", d.name, bytes[0], bytes[1]/bytes[0])
		if bytes[1] > most*bytes[0] {
			t.Errorf("%s: %.0f bytes, and %.0f by hand", d.name, bytes[1], bytes[0])
		}
	}
}
