package cli_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

func TestSave(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	save := func(name, text string, failed error) error {
		return cli.Save(name, 0o640, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, failed)
		})
	}
	holds := func(want string, mode os.FileMode) {
		t.Helper()
		got, err := os.ReadFile(name)
		info, failed := os.Stat(name)
		if err != nil || failed != nil || string(got) != want || info.Mode() != mode {
			t.Errorf("got %q, %v, %v", got, info.Mode(), errors.Join(err, failed))
		}
	}
	if err := save(name, "one", nil); err != nil {
		t.Fatal(err)
	}
	holds("one", 0o640)
	if err := errors.Join(os.Chmod(name, 0o644), os.Symlink("file", link), save(link, "two", nil)); err != nil {
		t.Fatal(err)
	}
	holds("two", 0o644)
	if err := save(name, "thr", io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	holds("two", 0o644)
	if err := save(os.DevNull, "nothing", nil); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("the device has been replaced: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v are left: %v", left, err)
	}
}
