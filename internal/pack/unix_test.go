//go:build unix

package pack

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// within fails the test if f blocks for ever.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("%s blocks", what)
		return nil
	}
}

// TestNamedPipesDoNotBlock has pipes that nobody writes to: in place of a file
// when the project is looked at, and after it was.
func TestNamedPipesDoNotBlock(t *testing.T) {
	t.Parallel()
	dir, _ := disk(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "agents", "pipe.yaml"), 0o600); err != nil {
		t.Skipf("the file system has no pipes: %v", err)
	}
	// One that stands there is left out, as the vendor's client does.
	err := within(t, "a pipe in the tree", func() error {
		files, err := packedFiles(t, os.DirFS(dir))
		if _, ok := files["agents/pipe.yaml"]; ok {
			t.Error("it was packed")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	a, err := Selection{}.Tree(t.Context(), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agents", "sub", "a.yaml")
	if err := os.Rename(filepath.Join(dir, "agents", "pipe.yaml"), file); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "a pipe that comes later", func() error { _, err := sent(t, a); return err }); !isChanged(err) {
		t.Error(err)
	}
	for name, open := range map[string]func() (io.Reader, error){
		"OpenFile":   func() (io.Reader, error) { return OpenFile(file) },
		"OpenFSFile": func() (io.Reader, error) { return OpenFSFile(os.DirFS(dir), "agents/sub/a.yaml") },
	} {
		if err := within(t, name, func() error { _, err := open(); return err }); err == nil {
			t.Errorf("%s opens a pipe", name)
		}
	}
}

// BenchmarkP6 reports what a body costs in relation to tar and gzip alone: the
// processor's time, of the best of several rounds that alternate, since other
// programs share the machine.
func BenchmarkP6(b *testing.B) {
	spent := func(run func()) time.Duration {
		var before, after syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		run()
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		return time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	}
	for _, kind := range []string{"noise", "text"} {
		b.Run(kind, func(b *testing.B) {
			dir, names := benchTree(b, kind == "noise")
			body, floor := time.Hour, time.Hour
			for b.Loop() {
				floor = min(floor, spent(func() { gzipOnly(b, dir, names) }))
				body = min(body, spent(func() { packBody(b, dir, names) }))
			}
			b.ReportMetric(float64(body)/float64(floor), "times-gzip")
			b.ReportMetric(float64(body.Milliseconds()), "ms-body")
			b.ReportMetric(float64(floor.Milliseconds()), "ms-gzip")
		})
	}
}

// TestFilesThatBecomePipes swaps a file for a named pipe, again and again, while it
// is opened.
func TestFilesThatBecomePipes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, pipe, file := filepath.Join(dir, "a.txt"), filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var swaps sync.WaitGroup
	defer swaps.Wait()
	defer stop.Store(true)
	swaps.Go(func() {
		for !stop.Load() {
			_ = syscall.Mkfifo(pipe, 0o600)
			_ = os.WriteFile(file, []byte("x"), 0o600)
			_ = os.Rename(pipe, name)
			_ = os.Rename(file, name)
		}
	})
	for what, open := range map[string]func() (io.Reader, error){
		"OpenFile":   func() (io.Reader, error) { return OpenFile(name) },
		"OpenFSFile": func() (io.Reader, error) { return OpenFSFile(os.DirFS(dir), "a.txt") },
	} {
		_ = within(t, what, func() error {
			opened := 0
			for tries := 0; tries < 2000 || opened == 0; tries++ {
				if r, err := open(); err == nil {
					Close(r)
					opened++
				}
			}
			return nil
		})
	}
}

func TestFilesOfFileSystemsSayTheirName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var named *fs.PathError
	if _, err := OpenFSFile(os.DirFS(dir), "none/a.txt"); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &named) || named.Path != "none/a.txt" {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"../a.txt", "/a.txt", ""} {
		if _, err := OpenFSFile(os.DirFS(dir), bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := OpenFSFile(os.DirFS(""), "a.txt"); err == nil {
		t.Error("a file of nowhere is opened")
	}
}
