package form

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// reading returns a function that opens a reader of a text.
func reading(text string) func() (io.Reader, error) {
	return func() (io.Reader, error) { return strings.NewReader(text), nil }
}

func TestForms(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for name, files := range map[string][]File{
		"none": nil, "one": {{Name: "a.txt", Type: "text/plain", Size: 3, Open: reading("abc")}},
		"several": {{Name: "a", Type: "text/csv", Size: 0, Open: reading("")}, {Name: `b"c`, Type: "x/y", Size: 100_000, Open: reading(long)}},
		"grown":   {{Name: "a", Type: "x/y", Size: 2, Open: reading("abc")}},
		"unknown": {{Name: "a", Type: "x/y", Size: -1, Open: reading("abc")}},
	} {
		f := New()
		f.Field("k", "v")
		for _, file := range files {
			f.File("file", file)
		}
		f.End()
		for range 2 { // for a retry
			body, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			sized, known := body.(interface{ Len() int })
			b, err := io.ReadAll(iotest.HalfReader(body))
			if err != nil || known != (name != "unknown") || known && sized.Len() != len(b) {
				t.Errorf("%s: %d bytes, %v", name, len(b), err)
			}
			_ = body.(io.Closer).Close()
			_, params, err := mime.ParseMediaType(f.ContentType())
			if err != nil {
				t.Fatal(err)
			}
			r := multipart.NewReader(bytes.NewReader(b), params["boundary"])
			if p, err := r.NextPart(); err != nil || p.FormName() != "k" {
				t.Errorf("%s: %v", name, err)
			}
			for _, file := range files {
				p, err := r.NextPart()
				if err != nil {
					t.Fatal(name, err)
				}
				want, _ := file.Open()
				content, _ := io.ReadAll(want)
				if file.Size >= 0 {
					content = content[:file.Size]
				}
				got, err := io.ReadAll(p)
				if err != nil || !bytes.Equal(got, content) || p.FileName() != file.Name || p.Header.Get("Content-Type") != file.Type {
					t.Errorf("%s: %q of %d bytes, %v, %v", name, p.FileName(), len(got), p.Header, err)
				}
			}
			if _, err := r.NextPart(); !errors.Is(err, io.EOF) {
				t.Errorf("%s: more: %v", name, err)
			}
		}
	}
}

// closing counts what is open.
type closing struct {
	io.Reader
	open *atomic.Int32
}

func (c closing) Close() error {
	c.open.Add(-1)
	return nil
}

func TestFilesAreClosed(t *testing.T) {
	t.Parallel()
	var open atomic.Int32
	most := int32(0)
	file := File{Name: "a", Type: "x/y", Size: 10, Open: func() (io.Reader, error) {
		most = max(most, open.Add(1))
		return closing{strings.NewReader("0123456789"), &open}, nil
	}}
	f := New()
	for range 5 {
		f.File("file", file)
	}
	f.End()
	for read := range int(f.length) + 1 {
		body, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.CopyN(io.Discard, body, int64(read))
		_ = body.(io.Closer).Close()
		if n, err := body.Read(make([]byte, 1)); n > 0 && err == nil && open.Load() > 0 {
			t.Fatalf("a file is opened after the end, at %d", read)
		}
		if open.Load() != 0 || most != 1 {
			t.Fatalf("%d files are open after %d bytes, at most %d were", open.Load(), read, most)
		}
	}
}

func TestFilesThatFail(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	for name, test := range map[string]struct {
		file File
		want error
	}{
		"shorter": {File{Size: 4, Open: reading("abc")}, ErrShorter},
		"empty":   {File{Size: 4, Open: func() (io.Reader, error) { return iotest.ErrReader(nil), nil }}, io.ErrNoProgress},
		"gone":    {File{Size: 4, Open: func() (io.Reader, error) { return nil, gone }}, gone},
		"broken":  {File{Size: 4, Open: func() (io.Reader, error) { return iotest.ErrReader(gone), nil }}, gone},
	} {
		for _, first := range []bool{true, false} {
			f := New()
			if !first {
				f.File("file", File{Size: 1, Open: reading("x")})
			}
			f.File("file", test.file)
			f.End()
			body, err := f.Open()
			if err == nil {
				_, err = io.Copy(io.Discard, body)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		}
	}
	nothing := New()
	nothing.File("file", File{Size: 1, Open: func() (io.Reader, error) { return nil, nil }})
	nothing.End()
	if _, err := nothing.Open(); err == nil {
		t.Error("a nil reader is opened")
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	content := "one"
	file := File{Size: 3, Open: func() (io.Reader, error) { return strings.NewReader(content), nil }}
	own, err := Identify(t.Context(), file, func() hash.Hash { return sha256.New() })
	if err != nil || len(own.Sum) != 64 {
		t.Fatal(own, err)
	}
	body := func() error {
		f := New()
		f.File("file", own.File())
		f.End()
		r, err := f.Open()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		return err
	}
	if err := body(); err != nil || own.Changed() {
		t.Errorf("unchanged: %v", err)
	}
	content = "two"
	for range 2 { // the second time it is not even opened
		if err := body(); !errors.Is(err, ErrChanged) || !own.Changed() {
			t.Errorf("changed: %v", err)
		}
		content = "one"
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "abc": 3, strings.Repeat("x", 1<<20): -1} {
		size, err := Measure(t.Context(), File{Size: -1, Open: reading(text)}, 1000)
		if err != nil || size != want && (want >= 0 || size <= 1000) {
			t.Errorf("%d bytes are %d, %v", len(text), size, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, File{Size: -1, Open: reading("abc")}, 1000); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
