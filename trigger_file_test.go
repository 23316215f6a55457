package connic_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// TestTriggerFiles sends files from a disk among others, with texts that look
// like their keys, twice because of a 429.
func TestTriggerFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "Report.PDF")
	content := make([]byte, 1<<20+1)
	seeded := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(seeded.Uint32())
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := connictest.New()
	t.Cleanup(srv.Close)
	var in connictest.Input
	srv.Agent("support", func(_ context.Context, got connictest.Input) (any, error) {
		in = got
		return "read", nil
	})
	srv.Fault(connictest.Fault{Op: "agents.trigger", Nth: 1, Status: 429, RetryAfter: "0"})
	odd := connic.TriggerFile(connic.FileSource{Name: `","data":".txt`, Open: func() (io.Reader, error) { return iotest.OneByteReader(strings.NewReader("odd")), nil }})
	request := connic.TriggerRequest{
		Message: `{"data":"`, Payload: map[string]any{"data": "", "k": 1},
		Files: []connic.File{
			{Name: "empty.txt", MIMEType: "text/plain"}, connic.TriggerFile(connic.LocalFile(path)), {Name: `"data":"`, MIMEType: "text/plain", Data: []byte("held")}, odd,
		},
	}
	run, err := srv.Client().Agents.TriggerAndWait(t.Context(), "support", request)
	if err != nil || run.Output != "read" {
		t.Fatal(run, err)
	}
	if len(in.Files) != 4 || in.Message != request.Message || in.Files[1].Name != "Report.PDF" || in.Files[1].MIMEType != "application/pdf" {
		t.Fatalf("%d files, %q", len(in.Files), in.Message)
	}
	for i, want := range [][]byte{{}, content, []byte("held"), []byte("odd")} {
		if got := in.Files[i]; sha256.Sum256(got.Data) != sha256.Sum256(want) || i != 1 && i != 3 && got.Name != request.Files[i].Name {
			t.Errorf("file %d is %d bytes as %q, want %d", i, len(got.Data), got.Name, len(want))
		}
	}
}

func TestTriggerFilesAreRefused(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("support", nil)
	client := srv.Client()
	source := func(r io.Reader, err error) connic.File {
		return connic.TriggerFile(connic.FileSource{Name: "a.txt", Open: func() (io.Reader, error) { return r, err }})
	}
	both := source(strings.NewReader("a"), nil)
	both.Data = []byte("b")
	failed := errors.New("worn out")
	for want, file := range map[string]connic.File{
		"has both Data and Open":            both,
		"has more than 10 MB":               source(endless{}, nil),
		"cannot be read: worn out":          source(iotest.ErrReader(failed), nil),
		"cannot be read: there is nothing ": source(nil, nil),
		"cannot be read: open ":             connic.TriggerFile(connic.LocalFile(filepath.Join(t.TempDir(), "none.txt"))),
		"has no MIME type":                  connic.TriggerFile(connic.LocalFile("a.exe")),
		"has no name":                       {MIMEType: "text/plain", Open: both.Open},
	} {
		_, err := client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Files: []connic.File{file}})
		var argument *connic.ArgumentError
		if !errors.As(err, &argument) || argument.Arg != "file" || !strings.Contains(argument.Reason, want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan struct{})
	t.Cleanup(func() { close(blocked) })
	hanging := connic.TriggerFile(connic.FileSource{Name: "a.txt", Open: func() (io.Reader, error) { cancel(); <-blocked; return nil, io.EOF }})
	if _, err := client.Agents.Trigger(ctx, "support", connic.TriggerRequest{Files: []connic.File{hanging}}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := srv.Executions("agents.trigger"); n != 0 {
		t.Errorf("%d were executed", n)
	}
}

// endless is a file without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// counted is a file that counts what is read of it.
type counted struct {
	*strings.Reader
	n *int
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += n
	return n, err
}

// TestTriggerFilesAreStreamed reads a body of 11 MB in pieces, and looks how far
// the file was read.
func TestTriggerFilesAreStreamed(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("a line of text.\n", 1<<19)
	read := 0
	client := must[*connic.Client](t)(connic.New("p", "cnc_streamed_test_key", connic.WithoutRateLimit(), connic.WithHTTPClient(&http.Client{
		Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			sent, piece := 0, make([]byte, 1<<10)
			for {
				n, err := r.Body.Read(piece)
				if sent += n; read > sent+64<<10 {
					t.Fatalf("%d bytes of the file were read for %d of the body", read, sent)
				}
				if err != nil {
					break
				}
			}
			if sent < len(content)*4/3 || int64(sent) != r.ContentLength || read != len(content) {
				t.Errorf("%d bytes of %d were sent, %d of the file were read", sent, r.ContentLength, read)
			}
			return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(`{"run_id": "r1", "status": "queued"}`))}, nil
		}),
	})))
	file := connic.TriggerFile(connic.FileSource{Name: "a.txt", Open: func() (io.Reader, error) {
		read = 0
		return counted{strings.NewReader(content), &read}, nil
	}})
	if _, err := client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Files: []connic.File{file}}); err != nil {
		t.Fatal(err)
	}
}
