package connic_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testName matches the tests and fuzz targets that a document names.
var testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z0-9]\w+`)

// block matches the Go code of a document.
var block = regexp.MustCompile("(?s)```go.*?\n```")

// inline matches code within a line.
var inline = regexp.MustCompile("`[^`\n]+`")

// link matches the relative links of a document.
var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

// TestDocumentsNameWhatExists verifies that the tests named and the files
// linked in documents exist.
func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"TestCase": true} // a type
	var documents []string
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			documents = append(documents, path)
		case strings.HasSuffix(path, "_test.go"):
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, declaration := range file.Decls {
				if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil {
					known[f.Name.Name] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, path := range documents {
		text := string(must[[]byte](t)(os.ReadFile(path)))
		if path == filepath.Join("docs", "api-coverage.md") {
			text = testName.ReplaceAllString(text, "") // types of test runs, not tests
		}
		text = block.ReplaceAllString(text, "") // whose tests belong to the reader
		for _, name := range testName.FindAllString(text, -1) {
			named++
			if !known[name] && !strings.HasPrefix(name, "TestRun") {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
		for _, target := range link.FindAllStringSubmatch(inline.ReplaceAllString(text, ""), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, target[1], err)
			}
		}
	}
	if named < 30 {
		t.Errorf("the documents name %d tests", named)
	}
}
