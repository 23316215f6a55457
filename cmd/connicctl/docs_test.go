package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "write the pages of the commands")

// The pages in docs are those of the commands. To write them: go test . -update
func TestPages(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if *update {
		folder = "docs"
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := doc.GenMarkdownTree(cli.Root(cli.OS(), commands()...), folder); err != nil {
		t.Fatal(err)
	}
	pages := make(map[string]bool)
	for _, where := range []string{folder, "docs"} {
		files, err := filepath.Glob(filepath.Join(where, "*.md"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			pages[filepath.Base(file)] = true
		}
	}
	for page := range pages {
		want, _ := os.ReadFile(filepath.Join(folder, page))
		got, _ := os.ReadFile(filepath.Join("docs", page))
		if string(got) != string(want) {
			t.Errorf("docs/%s is not up to date: go test . -run TestPages -update", page)
		}
	}
}
