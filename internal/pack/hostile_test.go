package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
)

// sent reads the whole body of an archive, as it is.
func sent(t *testing.T, a *Archive) ([]byte, error) {
	t.Helper()
	r, err := a.Open(Form{Tail: func([]byte) string { return "" }})
	if err != nil {
		return nil, err
	}
	defer Close(r)
	return io.ReadAll(r)
}

// packedFiles makes the archive of a tree, and unpacks it.
func packedFiles(t *testing.T, fsys fs.FS) (map[string]string, error) {
	t.Helper()
	a, err := Selection{}.Tree(t.Context(), fsys)
	if err != nil {
		return nil, err
	}
	b, err := sent(t, a)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(content)
	}
}

func isChanged(err error) bool {
	var source *SourceError
	return errors.As(err, &source) && source.Changed
}

func breaks(err error, reason string) bool {
	var rule *RuleError
	return errors.As(err, &rule) && strings.Contains(rule.Error(), reason)
}

// hooked is a file system that lets somebody act before each opening.
type hooked struct {
	fstest.MapFS
	open func(name string, f fs.File) fs.File
	list func(name string, entries []fs.DirEntry) []fs.DirEntry
}

func (h hooked) Open(name string) (fs.File, error) {
	f, err := h.MapFS.Open(name)
	if err == nil && h.open != nil {
		f = h.open(name, f)
	}
	return f, err
}

func (h hooked) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := h.MapFS.ReadDir(name)
	if h.list != nil {
		entries = h.list(name, entries)
	}
	return entries, err
}

// named is an entry with a name of its own.
type named struct {
	fs.DirEntry
	name string
	size int64
}

func (n named) Name() string               { return n.name }
func (n named) Info() (fs.FileInfo, error) { return sized{n.size}, nil }

type sized struct{ size int64 }

func (sized) Name() string       { return "x" }
func (s sized) Size() int64      { return s.size }
func (sized) Mode() fs.FileMode  { return 0o600 }
func (sized) ModTime() time.Time { return time.Time{} }
func (sized) IsDir() bool        { return false }
func (sized) Sys() any           { return nil }

func TestFileSystemsThatLie(t *testing.T) {
	t.Parallel()
	base := fstest.MapFS{"agents/a.yaml": {Data: []byte("a text")}, ".env": {Data: []byte("secret")}}
	lying := func(name string, size int64) fs.FS {
		return hooked{MapFS: base, list: func(folder string, entries []fs.DirEntry) []fs.DirEntry {
			if folder == "agents" {
				return []fs.DirEntry{named{entries[0], name, size}}
			}
			return entries
		}}
	}
	for _, name := range []string{"../.env", "..", ".", "", "a/b.yaml", "/etc/passwd", "x/../../.env"} {
		if files, err := packedFiles(t, lying(name, 6)); err == nil {
			t.Errorf("the name %q leads to %v", name, files)
		}
	}
	for _, size := range []int64{0, 1, 5, 7, 1 << 20} {
		if files, err := packedFiles(t, lying("a.yaml", size)); !isChanged(err) {
			t.Errorf("a size of %d: %v, %v", size, files, err)
		}
	}
	for _, size := range []int64{1 << 62, 26 << 20, 1<<63 - 1} {
		if _, err := packedFiles(t, lying("a.yaml", size)); !breaks(err, "more than") {
			t.Errorf("a size of %d: %v", size, err)
		}
	}
	// Sizes that add up to a negative one.
	twice := hooked{MapFS: base, list: func(folder string, entries []fs.DirEntry) []fs.DirEntry {
		if folder == "agents" {
			return []fs.DirEntry{named{entries[0], "a.yaml", 1 << 62}, named{entries[0], "b.yaml", 1 << 62}}
		}
		return entries
	}}
	if _, err := packedFiles(t, twice); !breaks(err, "more than") {
		t.Error(err)
	}
	// A folder without end.
	loop := hooked{MapFS: base, list: func(string, []fs.DirEntry) []fs.DirEntry {
		entries, _ := base.ReadDir(".")
		return entries[1:]
	}}
	if _, err := packedFiles(t, endless{loop}); !breaks(err, "folders deep") {
		t.Error(err)
	}
	for _, name := range []string{"a\nb.yaml", "a\x1b[2J.yaml", "a\x7f.yaml", "a\u0085.yaml", "a\xff.yaml"} {
		_, err := packedFiles(t, lying(name, 6))
		if err == nil || strings.ContainsAny(err.Error(), "\n\x1b\x7f") {
			t.Errorf("%q: %q", name, err)
		}
	}
}

// endless answers each folder with that of the root.
type endless struct{ hooked }

func (e endless) ReadDir(string) ([]fs.DirEntry, error) { return e.hooked.ReadDir(".") }

func TestATreeThatChangesWhileItIsPacked(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(m fstest.MapFS){
		"a file that was packed": func(m fstest.MapFS) { m["agents/a.yaml"] = &fstest.MapFile{Data: []byte("A text")} },
		"a file that comes":      func(m fstest.MapFS) { m["agents/n.yaml"] = &fstest.MapFile{Data: []byte("new")} },
		"a file that goes":       func(m fstest.MapFS) { delete(m, "agents/a.yaml") },
		"another time":           func(m fstest.MapFS) { m["agents/a.yaml"].ModTime = time.Unix(1, 0) },
		"a link": func(m fstest.MapFS) {
			m["agents/a.yaml"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("b.yaml")}
		},
	} {
		m := fstest.MapFS{"agents/a.yaml": {Data: []byte("a text")}, "agents/b.yaml": {Data: []byte("b text")}}
		var done atomic.Bool
		fsys := hooked{MapFS: m, open: func(file string, f fs.File) fs.File {
			if file == "agents/b.yaml" && !done.Swap(true) {
				change(m) // a.yaml was read
			}
			return f
		}}
		if files, err := packedFiles(t, fsys); !isChanged(err) {
			t.Errorf("%s: %q, %v", name, files, err)
		}
		if _, err := packedFiles(t, fsys); err != nil && !breaks(err, "symbolic link") {
			t.Errorf("%s: the tree as it is now: %v", name, err)
		}
	}
}

// disk makes a project on disk with a secret beside it, and one hidden within.
func disk(t *testing.T) (dir, secret string) {
	t.Helper()
	top := t.TempDir()
	dir, secret = filepath.Join(top, "project"), filepath.Join(top, "secrets")
	for name, content := range map[string]string{
		"project/agents/sub/a.yaml": "name: a", "project/.env": "SECRET", "secrets/a.yaml": "SECRET", "secrets/sub/a.yaml": "SECRET",
	} {
		name = filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, secret
}

// TestLinksThatComeAfterTheCheck puts a symbolic link in place of a file, or of a
// folder above it, when the tree was looked at already.
func TestLinksThatComeAfterTheCheck(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(dir, secret string) error{
		"a file, by one outside": func(dir, secret string) error {
			return errors.Join(os.Remove(dir+"/agents/sub/a.yaml"), os.Symlink(secret+"/a.yaml", dir+"/agents/sub/a.yaml"))
		},
		"a file, by a hidden one": func(dir, _ string) error {
			return errors.Join(os.Remove(dir+"/agents/sub/a.yaml"), os.Symlink("../../.env", dir+"/agents/sub/a.yaml"))
		},
		"a file, by a hard link": func(dir, secret string) error {
			return errors.Join(os.Remove(dir+"/agents/sub/a.yaml"), os.Link(secret+"/a.yaml", dir+"/agents/sub/a.yaml"))
		},
		"its folder": func(dir, secret string) error {
			return errors.Join(os.RemoveAll(dir+"/agents/sub"), os.Symlink(secret+"/sub", dir+"/agents/sub"))
		},
		"the folder above": func(dir, secret string) error {
			return errors.Join(os.RemoveAll(dir+"/agents"), os.Symlink(secret, dir+"/agents"))
		},
	} {
		for way, open := range map[string]func(t *testing.T, dir string) fs.FS{
			"os.DirFS": func(_ *testing.T, dir string) fs.FS { return os.DirFS(dir) },
			"os.Root": func(t *testing.T, dir string) fs.FS {
				t.Helper()
				root, err := os.OpenRoot(dir)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = root.Close() })
				return root.FS()
			},
			"another": func(_ *testing.T, dir string) fs.FS { return links{os.DirFS(dir)} },
		} {
			dir, secret := disk(t)
			fsys := open(t, dir)
			a, err := Selection{}.Tree(t.Context(), fsys)
			if err != nil {
				t.Fatal(err)
			}
			if err := replace(dir, secret); err != nil {
				t.Fatal(err)
			}
			b, err := sent(t, a)
			if err == nil {
				t.Errorf("%s, %s: nothing is wrong with it", name, way)
			}
			if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
				if content, _ := io.ReadAll(z); bytes.Contains(content, []byte("SECRET")) {
					t.Errorf("%s, %s: the secret was sent", name, way)
				}
			}
			if _, err := packedFiles(t, fsys); err == nil {
				t.Errorf("%s, %s: it is packed the next time", name, way)
			}
		}
	}
}

// links is another file system than those of package os that knows of links.
type links struct{ fs.FS }

func (l links) Lstat(name string) (fs.FileInfo, error)  { return fs.Lstat(l.FS, name) }
func (l links) ReadLink(name string) (string, error)    { return fs.ReadLink(l.FS, name) }
func (l links) ReadDir(n string) ([]fs.DirEntry, error) { return fs.ReadDir(l.FS, n) }

// TestLinksThatFlicker swaps a file and a link to a secret without a pause, while
// the tree is packed again and again: nothing of the secret may go out.
func TestLinksThatFlicker(t *testing.T) {
	t.Parallel()
	dir, secret := disk(t)
	// Of the same size, so that only what stands there tells them apart.
	if err := os.WriteFile(dir+"/agents/sub/a.yaml", []byte("SAFEST"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(dir+"/agents/sub", dir+"/kept")
			_ = os.Symlink(secret+"/sub", dir+"/agents/sub")
			_ = os.Remove(dir + "/agents/sub")
			_ = os.Rename(dir+"/kept", dir+"/agents/sub")
		}
	}()
	whole := 0
	for range 500 {
		files, err := packedFiles(t, os.DirFS(dir))
		if err == nil {
			whole++
		}
		for name, content := range files {
			if strings.Contains(content, "SECRET") {
				t.Errorf("%s was sent with the secret", name)
			}
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d of 500 were packed", whole)
}

func TestHardLinksAreRefused(t *testing.T) {
	t.Parallel()
	dir, secret := disk(t)
	if err := os.Link(secret+"/a.yaml", dir+"/agents/b.yaml"); err != nil {
		t.Skipf("the file system has no hard links: %v", err)
	}
	if _, err := packedFiles(t, os.DirFS(dir)); !breaks(err, "agents/b.yaml is a hard link") {
		t.Error(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "agents/a.yaml"})
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: "agents/b.yaml", Linkname: "/etc/passwd"})
	_, _ = w.Close(), z.Close()
	_, err := Selection{}.File(t.Context(), "x", func() (io.Reader, error) { return bytes.NewReader(b.Bytes()), nil })
	if !breaks(err, "agents/b.yaml is a hard link") {
		t.Error(err)
	}
}

// TestDeepFolders takes what a disk can hold.
func TestDeepFolders(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d/", maxDepth-1)
	m := fstest.MapFS{"tests/files/" + deep[:2*(maxDepth-3)] + "a.bin": {Data: []byte("x")}}
	files, err := packedFiles(t, m)
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	m = fstest.MapFS{"tests/files/" + deep + deep + "a.bin": {Data: []byte("x")}}
	if _, err := packedFiles(t, m); !breaks(err, "folders deep") {
		t.Error(err)
	}
}

func TestAContextThatEndsWhileATreeIsRead(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	fsys := hooked{MapFS: fstest.MapFS{"agents/a/b.yaml": {}}, list: func(name string, entries []fs.DirEntry) []fs.DirEntry {
		if name == "agents" {
			cancel()
		}
		return entries
	}}
	if _, err := (Selection{}).Tree(ctx, fsys); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// bomb is a small tar.gz with one file of very many zeros: many members of a gzip.
func bomb(t *testing.T, size int64) []byte {
	t.Helper()
	var b, zeros bytes.Buffer
	member := func(w io.Writer, content []byte) {
		z := gzip.NewWriter(w)
		_, _ = z.Write(content)
		_ = z.Close()
	}
	var header bytes.Buffer
	w := tar.NewWriter(&header)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "tests/files/a.bin", Size: size}); err != nil {
		t.Fatal(err)
	}
	member(&b, header.Bytes())
	const mebi = 1 << 20
	member(&zeros, make([]byte, mebi))
	for range size / mebi {
		b.Write(zeros.Bytes())
	}
	member(&b, make([]byte, 1024)) // the end of a tar
	return b.Bytes()
}

func TestArchivesThatUnpackToVeryMuch(t *testing.T) {
	t.Parallel()
	open := func(b []byte) func() (io.Reader, error) {
		return func() (io.Reader, error) { return bytes.NewReader(b), nil }
	}
	b := bomb(t, 26<<20)
	if _, err := (Selection{}).File(t.Context(), "x", open(b)); !breaks(err, "all files together are 27262976 bytes") {
		t.Error(err)
	}
	b = bomb(t, maxUnpacked+1<<20)
	if _, err := (Selection{}).File(t.Context(), "x", open(b)); !errors.Is(err, errUnpacked) {
		t.Error(err)
	}
	// Many entries, each with something wrong.
	var many bytes.Buffer
	z := gzip.NewWriter(&many)
	w := tar.NewWriter(z)
	for range 2 * maxProblems {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "docs/" + strings.Repeat("x", 4*maxShown)})
	}
	_, _ = w.Close(), z.Close()
	_, err := Selection{}.File(t.Context(), "x", open(many.Bytes()))
	var rule *RuleError
	if !errors.As(err, &rule) || len(rule.Problems) != maxProblems || len(rule.Problems[0].Path) != maxShown {
		t.Errorf("%.200v", err)
	}
}

func TestTheFilesOfAFileSystemStayAsTheyAre(t *testing.T) {
	t.Parallel()
	dir, _ := disk(t)
	want := map[string]string{"agents/sub/a.yaml": "name: a"}
	for _, fsys := range []fs.FS{os.DirFS(dir), links{os.DirFS(dir)}} {
		if files, err := packedFiles(t, fsys); err != nil || !maps.Equal(files, want) {
			t.Errorf("%v, %v", files, err)
		}
	}
	if _, err := packedFiles(t, os.DirFS(dir+"/nowhere")); err == nil || isChanged(err) {
		t.Error(err)
	}
	if _, err := packedFiles(t, os.DirFS("")); err == nil {
		t.Error("a folder without a name")
	}
}
