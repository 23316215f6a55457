package connic_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/connic-go/connic"

// The law of the house: what a folder of the root module may import in addition
// to the standard library. Tests may import anything in the module. A subfolder
// is subject to the same law unless it has its own.
var law = map[string][]string{
	".":                 {"internal/api", "internal/governor", "internal/hook", "internal/inject", "internal/lenient", "internal/mask", "internal/pack", "github.com/hashicorp/go-retryablehttp"},
	"internal/api":      {},
	"internal/governor": {"golang.org/x/time/rate"},
	"internal/lenient":  {},
	"internal/inject":   {},
	"internal/mask":     {},
	"internal/pack":     {},
	"internal/yaml":     {}, // the suites of a project, for the fake
	"internal/hook":     {}, // what connector needs of connic, and users do not
	"connector":         {".", "internal/hook", "internal/lenient", "internal/mask"},
	"connictest":        {".", "connector", "internal/api", "internal/lenient", "internal/mask", "internal/pack", "internal/yaml"},
	"connictest/cmd":    {".", "connictest", "docs", "internal/api", "internal/mask"},
	"docs":              {},
	"examples":          {".", "connector", "connictest"},

	// Generators and benchmarks may import anything.
	"internal/api/coverage": {".", "internal/api", "internal/api/coverage/source"},
	"internal/api/openapi":  {".", "connector", "connictest", "internal/api", "internal/api/coverage/source"},
	"internal/api/surface":  {},
	"internal/bench":        {".", "connector", "connictest", "internal/api", "internal/bench/cases", "internal/bench/measure"},
}

// lawOf returns the law that applies to a folder.
func lawOf(folder string) ([]string, bool) {
	for ; ; folder = filepath.Dir(folder) {
		if allowed, ok := law[folder]; ok {
			return allowed, true
		}
		if folder == "." {
			return nil, false
		}
	}
}

// TestTheLawOfTheHouse reads the imports of every file of the root module.
func TestTheLawOfTheHouse(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == "." {
				return nil
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		folder := filepath.ToSlash(filepath.Dir(path))
		allowed, ok := lawOf(folder)
		if !ok {
			t.Errorf("%s is under no law", folder)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(first, ".") {
				continue // the standard library
			}
			seen++
			own := imported
			if rest, ok := strings.CutPrefix(imported, module); ok {
				own = strings.TrimPrefix(rest, "/")
				if own == "" {
					own = "."
				}
			}
			if own != folder && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s, which the law of its folder does not allow", path, own)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal("no import was read")
	}
}
