package connic_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/connic-go/connic"
)

// heapGrowth returns how much the heap grows while f runs. Tests that use it do
// not run in parallel.
func heapGrowth(f func()) int64 {
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var now runtime.MemStats
		most := uint64(0)
		for {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	return int64(<-peak) - int64(before.HeapAlloc)
}

// TestS5BombsStayWithinTheHeap sends answers that are far too large, over a real
// connection: the heap grows by at most three times what may be read of them.
func TestS5BombsStayWithinTheHeap(t *testing.T) { //nolint:paralleltest // it measures the heap
	const mebi = 1 << 20
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 16*mebi))
	_ = z.Close()
	blanks := bytes.Repeat([]byte(" "), mebi)
	repeat := func(w io.Writer, piece []byte, n int) {
		for range n {
			if _, err := w.Write(piece); err != nil {
				return // the client has read enough
			}
		}
	}
	tests := map[string]struct {
		answer func(w http.ResponseWriter)
		status int
		limit  int64
	}{
		"1 GiB in gzip": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			repeat(w, member.Bytes(), 64) // a gzip may have several members
		}, 200, 64 * mebi},
		"10 GiB in chunks": {func(w http.ResponseWriter) { repeat(w, blanks, 10<<10) }, 200, 64 * mebi},
		"an error of 1 GiB": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			repeat(w, blanks, 1<<10)
		}, 400, mebi},
	}
	for name, test := range tests { //nolint:paralleltest // as above
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.answer(w) }))
			defer srv.Close()
			c := newClient(t, srv.URL)
			var err error
			growth := heapGrowth(func() { _, err = c.Runs.Get(t.Context(), "r1") })
			var e *connic.Error
			if test.status == 200 && !errors.Is(err, connic.ErrTooLarge) || test.status != 200 && (!errors.As(err, &e) || e.StatusCode != test.status) {
				t.Errorf("it ends with %v", err)
			}
			t.Logf("the heap grew by %.1f MiB", float64(growth)/mebi)
			const own = mebi / 2 // of the server, which shares the process
			if growth > 3*test.limit+own && !raceDetector {
				t.Errorf("the heap grew by %d bytes", growth)
			}
		})
	}
}
