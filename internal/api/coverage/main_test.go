package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/api"
)

var root = filepath.Join("..", "..", "..")

func TestTheDocumentIsFresh(t *testing.T) {
	t.Parallel()
	want, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: run go generate ./... in the root", document)
	}
}

func TestTheDocumentHasEveryOperation(t *testing.T) {
	t.Parallel()
	text, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i := range api.Table {
		op := &api.Table[i]
		found := 0
		for _, line := range lines {
			if strings.HasPrefix(line, "| `"+op.Name+"` | `"+op.Method+" "+op.Route+"` |") && strings.Contains(line, "| "+string(op.Mark)+" |") {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s is there %d times", op.Name, found)
		}
	}
}

func TestWriteMakesTheDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, document))
	if err != nil {
		t.Fatal(err)
	}
	// There is no method in an empty directory. A login is not one.
	want := 0
	for i := range api.Table {
		if !api.Table[i].Keyless {
			want++
		}
	}
	if n := strings.Count(string(text), "| none yet |"); n != want {
		t.Errorf("%d operations have no method, want %d", n, want)
	}
}
