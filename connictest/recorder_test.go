package connictest_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/connic-go/connic/connictest"
)

type skipped struct{ reports }

func (*skipped) Skipped() bool { return true }

// TestSkippedTestsRecordNothing: a test that is skipped needs no request.
func TestSkippedTestsRecordNothing(t *testing.T) {
	t.Parallel()
	s := new(skipped)
	connictest.Record(s, filepath.Join(t.TempDir(), "x.json"), nil)
	if told := s.end(); told != "" {
		t.Error(told)
	}
}

// TestRecordingsOfOtherClients records a client that accepts compressed responses,
// below another base URL.
func TestRecordingsOfOtherClients(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recording.json")
	upstream := httptest.NewServer(gzipped())
	defer upstream.Close()
	r := new(reports)
	rec := connictest.Record(r, path, nil)
	h, err := rec.Handler(upstream.URL + "/base/v1")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(h http.Handler, project string) string {
		q := httptest.NewRequest("GET", "/v1/projects/"+project, nil)
		q.Header.Set("Accept-Encoding", "gzip, deflate, br")
		q.Header.Set("Authorization", "Bearer cnc_abcdefghijklmnop")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		return w.Body.String()
	}
	if got := ask(h, "p"); !strings.Contains(got, "completed") {
		t.Errorf("%q", got)
	}
	if told := r.end(); told != "" {
		t.Fatal(told)
	}
	r = new(reports)
	h, err = connictest.Replay(r, path, nil).Handler("")
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(h, "project-1"); !strings.Contains(got, "completed") {
		t.Errorf("%q", got)
	}
	text, _ := os.ReadFile(path)
	if told := r.end(); told != "" || !bytes.Contains(text, []byte("project.get")) {
		t.Errorf("%s\n%s", told, text)
	}
}

// TestUpgradesAreRefused passes a WebSocket connection through, and writes nothing.
func TestUpgradesAreRefused(t *testing.T) {
	t.Parallel()
	r := new(reports)
	pr, pw := io.Pipe()
	defer pw.Close()
	rec := connictest.Record(r, filepath.Join(t.TempDir(), "x.json"), nil)
	resp, err := rec.Transport(service(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusSwitchingProtocols, Body: pr, Header: http.Header{}}, nil
	})).RoundTrip(httptest.NewRequest(http.MethodGet, "https://x.example/ws", nil))
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Body != pr {
		t.Error(resp, err)
	}
	if told := r.end(); !strings.Contains(told, "WebSocket") {
		t.Error(told)
	}
}

func gzipped() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body := []byte(`{"id": "p", "status": "completed"}`)
		if strings.Contains(q.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(body)
			_ = z.Close()
			return
		}
		_, _ = w.Write(body)
	})
}
