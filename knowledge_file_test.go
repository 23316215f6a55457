package connic_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestUploadFileTypes(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.IngestionTime(0)
	client := srv.Client(connic.WithEnvironment("env-test"))
	dir := t.TempDir()
	for ending := range strings.FieldsSeq(".txt .md .markdown .csv .json .jsonl .yaml .yml .log .pdf .png .jpg .jpeg .gif .webp") {
		name := filepath.Join(dir, "Grüße, \"Welt\""+ending)
		if err := os.WriteFile(name, []byte("content of "+ending), 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{
			File: connic.LocalFile(name), Namespace: "files", EntryID: "f" + ending, Metadata: map[string]any{"ending": ending},
		})
		if err != nil {
			t.Errorf("%s: %v", ending, err)
			continue
		}
		e, err := client.Knowledge.Get(t.Context(), i.EntryID, &connic.EntryParams{Namespace: "files"})
		if err != nil || e.Content != "content of "+ending || e.Source != filepath.Base(name) || string(e.Metadata) != `{"ending":"`+ending+`"}` {
			t.Errorf("%s became %+v, %v", ending, e, err)
		}
	}
	for _, r := range srv.Requests() {
		if r.Op == "knowledge.upload_file" && r.Header.Get("Content-Length") == "" {
			t.Errorf("a file was sent without a length: %v", r.Header)
		}
	}
}

// TestUploadFileSources uploads from each kind of source.
func TestUploadFileSources(t *testing.T) {
	t.Parallel()
	srv := connictest.NewServer(t)
	srv.IngestionTime(0)
	client := srv.Client(connic.WithEnvironment("env-test"))
	fsys := fstest.MapFS{"docs/a.txt": {Data: []byte("from a file system")}, "docs/b.txt": {Mode: fs.ModeDir}}
	reader := func(make func() io.Reader) connic.FileSource {
		return connic.FileSource{Name: "a.txt", Open: func() (io.Reader, error) { return make(), nil }}
	}
	for name, test := range map[string]struct {
		file   connic.FileSource
		want   string
		length bool
	}{
		"fs.FS":     {connic.FSFile(fsys, "docs/a.txt"), "from a file system", true},
		"ReaderAt":  {connic.ReaderAtFile("a.txt", strings.NewReader("0123456789"), 5), "01234", true},
		"Len":       {reader(func() io.Reader { return bytes.NewBufferString("buffer") }), "buffer", true},
		"unknown":   {reader(func() io.Reader { return io.MultiReader(strings.NewReader("chunked "), strings.NewReader("body")) }), "chunked body", false},
		"one byte":  {reader(func() io.Reader { return &byteByByte{"slowly"} }), "slowly", false},
		"long read": {connic.ReaderAtFile("a.txt", strings.NewReader(strings.Repeat("x", 1<<20)), 1<<20), strings.Repeat("x", 1<<20), true},
	} {
		i, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: test.file, EntryID: "e"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		e, err := client.Knowledge.Get(t.Context(), i.EntryID, nil)
		if err != nil || e.Content != test.want {
			t.Errorf("%s became %.50q, %v", name, e.Content, err)
		}
		sent := srv.Requests()
		if header := sent[len(sent)-2].Header; (header.Get("Content-Length") != "") != test.length {
			t.Errorf("%s was sent with %v", name, header)
		}
	}
	before := len(srv.Requests())
	for name, test := range map[string]struct {
		file  connic.FileSource
		cause error
		text  string
	}{
		"missing":         {connic.LocalFile(filepath.Join(t.TempDir(), "a.txt")), fs.ErrNotExist, "cannot be opened"},
		"missing in FS":   {connic.FSFile(fsys, "docs/c.txt"), fs.ErrNotExist, "cannot be opened"},
		"invalid in FS":   {connic.FSFile(fsys, "../docs/a.txt"), fs.ErrNotExist, "cannot be opened"},
		"directory":       {connic.FSFile(fsys, "docs/b.txt"), nil, "is a directory"},
		"cannot be read":  {reader(func() io.Reader { return failing{errLocal} }), errLocal, "cannot be read"},
		"cannot be asked": {reader(func() io.Reader { return failingStat{} }), errLocal, "cannot be read"},
	} {
		_, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: test.file, StableID: true})
		var argument *connic.ArgumentError
		if !errors.As(err, &argument) || argument.Arg != "file" || !strings.Contains(argument.Reason, test.text) || (test.cause != nil && !errors.Is(err, test.cause)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(srv.Requests()) - before; n != 0 {
		t.Errorf("%d requests for files that cannot be read", n)
	}
}

var errLocal = errors.New("the disk is gone")

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type failingStat struct{ failing }

func (failingStat) Stat() (fs.FileInfo, error) { return nil, errLocal }

type byteByByte struct{ left string }

func (r *byteByByte) Read(p []byte) (int, error) {
	if r.left == "" {
		return 0, io.EOF
	}
	p[0], r.left = r.left[0], r.left[1:]
	return 1, nil
}

// handles counts the open readers of a source.
type handles struct{ opened, open atomic.Int64 }

func (h *handles) source(name, content string) connic.FileSource {
	return connic.FileSource{Name: name, Open: func() (io.Reader, error) {
		h.opened.Add(1)
		h.open.Add(1)
		return &handle{Reader: strings.NewReader(content), of: h}, nil
	}}
}

type handle struct {
	*strings.Reader
	of   *handles
	once sync.Once
}

func (h *handle) Close() error {
	h.once.Do(func() { h.of.open.Add(-1) })
	return nil
}

// TestUploadFileClosesWhatItOpens also counts how often a file is opened.
func TestUploadFileClosesWhatItOpens(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		for _, stable := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				client := srv.Client(connic.WithEnvironment("env-test"))
				f.fault.Op = "knowledge.upload_file"
				srv.Fault(f.fault)
				var h handles
				var sent connic.Response
				_, _ = client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: h.source("a.txt", "text"), StableID: stable}, connic.CaptureResponse(&sent))
				want := 1 + int64(sent.Attempts)
				if stable {
					want++
				}
				if h.open.Load() != 0 || h.opened.Load() != want {
					t.Errorf("%s: after %d attempts %d of %d opened are open", f.name, sent.Attempts, h.open.Load(), h.opened.Load())
				}
			})
		}
	}
}

// TestUploadFileThatChanges changes a file after it was first read.
func TestUploadFileThatChanges(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		srv.IngestionTime(0)
		changing := func(contents ...string) connic.FileSource {
			n := -1
			return connic.FileSource{Name: "a.log", Open: func() (io.Reader, error) {
				n = min(n+1, len(contents)-1)
				if contents[n] == "" {
					return nil, errLocal
				}
				return strings.NewReader(contents[n]), nil
			}}
		}
		_, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: changing("line 1\n", "line 1\nline 2\n"), EntryID: "grows"})
		if e, err2 := client.Knowledge.Get(t.Context(), "grows", nil); err != nil || err2 != nil || e.Content != "line 1\n" {
			t.Errorf("a file that grows became %+v, %v, %v", e, err, err2)
		}
		_, err = client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: changing("line 1\n", "li"), EntryID: "shrinks"})
		if err == nil || !strings.Contains(err.Error(), "became shorter") {
			t.Errorf("a file that shrinks: %v", err)
		}
		sent := len(srv.Requests())
		_, err = client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: changing("line 1\n", "")})
		if !errors.Is(err, errLocal) || errors.Is(err, connic.ErrOutcomeUnknown) || len(srv.Requests()) != sent {
			t.Errorf("a file that vanishes: %v after %d requests", err, len(srv.Requests())-sent)
		}
		if n := srv.Executions("knowledge.upload_file"); n != 1 {
			t.Errorf("%d uploads were executed, want 1", n)
		}
	})
}

// pattern is a large file that is generated while it is read.
type pattern int64

var patternBlock = bytes.Repeat([]byte("0123456789abcdef\n"), 4096)

func (p pattern) ReadAt(b []byte, at int64) (int, error) {
	n := 0
	for n < len(b) && at < int64(p) {
		k := copy(b[n:], patternBlock[at%int64(len(patternBlock)):])
		k = int(min(int64(k), int64(p)-at))
		n, at = n+k, at+int64(k)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

const large = pattern(25 << 20)

var largeSum = sync.OnceValue(func() string {
	h := sha256.New()
	_, _ = io.Copy(h, io.NewSectionReader(large, 0, int64(large)))
	return hex.EncodeToString(h.Sum(nil))
})

// receive reads a form without keeping it, and returns the hash of its file.
func receive(r *http.Request) (string, error) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return "", err
	}
	sum := ""
	for reader := multipart.NewReader(r.Body, params["boundary"]); ; {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return "", err
		}
		h := sha256.New()
		if _, err := io.Copy(h, part); err != nil {
			return "", err
		}
		if part.FormName() == "file" {
			sum = hex.EncodeToString(h.Sum(nil))
		}
	}
}

// receiver is a client of a server on loopback.
func receiver(t *testing.T, handler http.HandlerFunc) *connic.Client {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	client, err := connic.New("p", "cnc_0123456789", connic.WithBaseURL(srv.URL+"/v1"), connic.WithEnvironment("e"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

//nolint:paralleltest // it counts what the whole process allocates
func TestUploadFileIsNotHeldInMemory(t *testing.T) {
	want := largeSum()
	for name, file := range map[string]connic.FileSource{
		"known size": connic.ReaderAtFile("a.txt", large, int64(large)),
		"unknown size": {Name: "a.txt", Open: func() (io.Reader, error) {
			return io.MultiReader(io.NewSectionReader(large, 0, int64(large))), nil
		}},
	} {
		var got string
		client := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			var err error
			if got, err = receive(r); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, `{"entry_id": "e"}`)
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: file, StableID: true})
		runtime.ReadMemStats(&after)
		if err != nil || got != want {
			t.Errorf("%s: %v, and the service got something with the hash %s", name, err, got)
		}
		// The total allocation on both sides is an upper bound for the growth
		// of the heap, whenever the collector runs.
		allocated := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %d KiB allocated for %d KiB sent", name, allocated>>10, int64(large)>>10)
		if allocated > 2<<20 {
			t.Errorf("%s: %d KiB were allocated to send %d KiB", name, allocated>>10, int64(large)>>10)
		}
	}
}

// TestUploadFileIsSentAgainFromTheStart cuts the first connection in the middle
// of the body.
func TestUploadFileIsSentAgainFromTheStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file connic.FileSource
		safe bool
	}{
		"with id":              {connic.ReaderAtFile("a.txt", large, int64(large)), true},
		"without id":           {connic.ReaderAtFile("a.txt", large, int64(large)), false},
		"of an unknown length": {connic.FileSource{Name: "a.txt", Open: func() (io.Reader, error) { return io.MultiReader(io.NewSectionReader(large, 0, int64(large))), nil }}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			var got, id string
			client := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				if requests.Add(1) == 1 {
					_, _ = io.CopyN(io.Discard, r.Body, int64(large)/2)
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_ = conn.(*net.TCPConn).SetLinger(0)
					_ = conn.Close()
					return
				}
				var err error
				if got, err = receive(r); err != nil {
					t.Error(err)
				}
				id = "e"
				_, _ = io.WriteString(w, `{"entry_id": "e"}`)
			})
			up := connic.FileUpload{File: test.file}
			if test.safe {
				up.EntryID = "e"
			}
			i, err := client.Knowledge.UploadFile(t.Context(), up)
			if !test.safe {
				if !errors.Is(err, connic.ErrOutcomeUnknown) || requests.Load() != 1 {
					t.Errorf("it ended with %v after %d requests", err, requests.Load())
				}
				return
			}
			if err != nil || requests.Load() != 2 || got != largeSum() || i.EntryID != id {
				t.Errorf("it ended with %v after %d requests, and the service got something with the hash %s", err, requests.Load(), got)
			}
		})
	}
}

// TestUploadFileRefusedEarly refuses a large file before it has read it.
func TestUploadFileRefusedEarly(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	client := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"detail": "Invalid API key"}`)
	})
	_, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: connic.ReaderAtFile("a.txt", large, int64(large)), EntryID: "e"})
	if !errors.Is(err, connic.ErrUnauthorized) || requests.Load() != 1 {
		t.Errorf("it ended with %v after %d requests", err, requests.Load())
	}
}
