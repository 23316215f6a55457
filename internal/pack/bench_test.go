package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// benchTree makes a project of nearly 25 MiB on disk, for P6: of noise, which
// cannot be compressed, or of text.
func benchTree(tb testing.TB, noise bool) (dir string, names []string) {
	tb.Helper()
	dir = tb.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "tests", "files"), 0o700); err != nil {
		tb.Fatal(err)
	}
	source := rand.NewChaCha8([32]byte{6})
	for i := range 5 {
		content := make([]byte, 5<<20-64<<10)
		if noise {
			_, _ = source.Read(content)
		} else {
			var b bytes.Buffer
			for n := 0; b.Len() < len(content); n++ {
				fmt.Fprintf(&b, "%d: the west region did best in the third quarter, with %d in all.\n", n, source.Uint64()%100_000)
			}
			content = b.Bytes()[:len(content)]
		}
		name := fmt.Sprintf("tests/files/%d.bin", i)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			tb.Fatal(err)
		}
		names = append(names, name)
	}
	return dir, names
}

// BenchmarkBody makes the whole body of a deployment, as JSON: tar, gzip, SHA-256
// and base64, with the files read twice.
func BenchmarkBody(b *testing.B) { benchmark(b, packBody) }

// BenchmarkGzip is what the body is compared with: the same files, read once and
// compressed.
func BenchmarkGzip(b *testing.B) { benchmark(b, gzipOnly) }

func benchmark(b *testing.B, run func(tb testing.TB, dir string, names []string)) {
	for _, kind := range []string{"noise", "text"} {
		b.Run(kind, func(b *testing.B) {
			dir, names := benchTree(b, kind == "noise")
			b.SetBytes(25 << 20)
			b.ReportAllocs()
			for b.Loop() {
				run(b, dir, names)
			}
		})
	}
}

func packBody(tb testing.TB, dir string, _ []string) {
	tb.Helper()
	a, err := Selection{}.Tree(tb.Context(), os.DirFS(dir))
	if err != nil {
		tb.Fatal(err)
	}
	r, err := a.Open(Form{Text: true, Head: `{"files_data":"`, Tail: func([]byte) string { return `"}` }})
	if err != nil {
		tb.Fatal(err)
	}
	defer Close(r)
	buf := make([]byte, 32<<10)
	for {
		if _, err := r.Read(buf); err == io.EOF {
			return
		} else if err != nil {
			tb.Fatal(err)
		}
	}
}

func gzipOnly(tb testing.TB, dir string, names []string) {
	tb.Helper()
	z := gzip.NewWriter(io.Discard)
	w := tar.NewWriter(z)
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			tb.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			tb.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size()}); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.Copy(w, f); err != nil {
			tb.Fatal(err)
		}
		_ = f.Close()
	}
	_, _ = w.Close(), z.Close()
}
