package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

// obeys reports what is wrong with a file that was taken. It says the rules in
// other words than rules.go does.
func obeys(name string) string {
	segments := strings.Split(name, "/")
	ext := ""
	if i := strings.LastIndexByte(segments[len(segments)-1], '.'); i >= 0 {
		ext = strings.ToLower(segments[len(segments)-1][i:])
	}
	for _, segment := range segments {
		if segment == "" || segment[0] == '.' || strings.Contains(segment, "__pycache__") {
			return "a segment that is left out"
		}
	}
	switch {
	case !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\n\r\x1b\x7f"):
		return "its characters"
	case name == "requirements.txt":
		return ""
	case len(segments) < 2 || !strings.Contains("|agents|tools|middleware|schemas|guardrails|hooks|tests|connectors|", "|"+segments[0]+"|"):
		return "its folder"
	case strings.HasPrefix(name, "tests/files/"):
		if strings.HasSuffix(name, ".pyc") {
			return "compiled Python"
		}
		return ""
	case strings.HasPrefix(name, "tests/builders/"):
		if !strings.HasSuffix(name, ".py") {
			return "its ending"
		}
		return ""
	case !strings.Contains("|.py|.yaml|.txt|.json|.csv|.md|.toml|.jsonl|", "|"+ext+"|") || ext == "":
		return "its ending"
	}
	return ""
}

// FuzzFile reads archives that anybody made. What is accepted keeps to the rules,
// and is sent as it is.
func FuzzFile(f *testing.F) {
	add := func(headers ...tar.Header) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for _, h := range headers {
			_ = w.WriteHeader(&h)
			_, _ = w.Write(make([]byte, h.Size))
		}
		_, _ = w.Close(), z.Close()
		f.Add(b.Bytes())
	}
	add(tar.Header{Name: "agents/a.yaml", Size: 10})
	add(tar.Header{Name: "./agents/", Typeflag: tar.TypeDir}, tar.Header{Name: "./agents/a.py"}, tar.Header{Name: "requirements.txt", Size: 3})
	add(tar.Header{Name: "agents/b.py", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})
	add(tar.Header{Name: "agents/b.py", Typeflag: tar.TypeLink, Linkname: "x"}, tar.Header{Name: "../x.py"}, tar.Header{Name: "/agents/x.py"})
	add(tar.Header{Name: "tests/files/" + strings.Repeat("ä", 200), Size: 600}, tar.Header{Name: "tests/builders/x.json"})
	add(tar.Header{Name: "agents/.env"}, tar.Header{Name: "agents/__pycache__/a.py"}, tar.Header{Name: "agents/pipe.py", Typeflag: tar.TypeFifo})
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Selection{}.File(t.Context(), "x.tar.gz", func() (io.Reader, error) { return bytes.NewReader(b), nil })
		if err != nil {
			return
		}
		got, err := sent(t, a)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("it is sent as other bytes: %v", err)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch h.Typeflag {
			case tar.TypeDir, tar.TypeXGlobalHeader:
				continue
			case tar.TypeReg:
			default:
				t.Fatalf("it has an entry of type %q", h.Typeflag)
			}
			total += h.Size
			if bad := obeys(path.Clean(h.Name)); bad != "" || slices.Contains(strings.Split(h.Name, "/"), "..") {
				t.Fatalf("%q is accepted in spite of %s", h.Name, bad)
			}
		}
		if total > 25<<20 {
			t.Fatalf("it has %d bytes", total)
		}
	})
}

// FuzzTree packs trees of two files with any names. What is packed keeps to the
// rules, and is an archive that File accepts.
func FuzzTree(f *testing.F) {
	for _, names := range [][2]string{
		{"agents/a.yaml", "requirements.txt"},
		{"tools/x.pyc", "tests/builders/b.PY"},
		{"agents/.env", "connectors/c.yml"},
		{"tests/files/ä\n", "agents/my__pycache__/x.py"},
		{"tools", "agents/" + strings.Repeat("x/", 120) + "a.py"},
	} {
		f.Add(names[0], names[1], []byte("content"))
	}
	f.Fuzz(func(t *testing.T, one, two string, content []byte) {
		if !fs.ValidPath(one) || !fs.ValidPath(two) || one == "." || two == "." || strings.HasPrefix(one, two+"/") || strings.HasPrefix(two, one+"/") {
			return // no tree
		}
		tree := fstest.MapFS{one: {Data: content}, two: {Data: content}}
		files, err := packedFiles(t, tree)
		if err != nil {
			return
		}
		a, err := Selection{}.Tree(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		b, err := sent(t, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (Selection{}).File(t.Context(), "x", func() (io.Reader, error) { return bytes.NewReader(b), nil }); err != nil {
			t.Fatalf("%q makes an archive that is refused: %v", []string{one, two}, err)
		}
		for name, got := range files {
			if bad := obeys(name); bad != "" || got != string(content) {
				t.Fatalf("%q is packed in spite of %s", name, bad)
			}
		}
	})
}
