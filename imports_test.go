package connic_test

import (
	"cmp"
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

// imports says what each folder of the root module may import of the module
// and of other modules. Tests may import anything in the module. A subfolder
// without an entry has that of the folder above it. Modules below contrib and cmd may
// import of internal only api, environ, fakecmd, governor, grace, hook, inject, lenient, mask, problem and scrub: see
// TestImportsOfOtherModules.
var imports = map[string][]string{
	".": {
		"internal/api", "internal/bulk", "internal/encode", "internal/environ", "internal/exchange", "internal/form", "internal/governor", "internal/grace", "internal/hook", "internal/inject", "internal/journal", "internal/lenient",
		"internal/list", "internal/mask", "internal/pack", "internal/problem", "internal/route", "internal/typed", "internal/watch",
	},
	"internal/api":      {},
	"internal/bulk":     {"internal/grace"},
	"internal/grace":    {},
	"internal/exchange": {"internal/api", "internal/inject", "internal/lenient", "internal/mask", "internal/problem", "github.com/hashicorp/go-retryablehttp"},
	"internal/encode":   {"internal/mask"},
	"internal/environ":  {},
	"internal/form":     {"internal/pack"},
	"internal/governor": {"golang.org/x/time/rate"},
	"internal/hook":     {"internal/route"},
	"internal/inject":   {},
	"internal/journal":  {},
	"internal/lenient":  {},
	"internal/list":     {"internal/lenient"},
	"internal/mask":     {},
	"internal/pack":     {},
	"internal/problem":  {"internal/lenient", "internal/mask"},
	"internal/route":    {},
	"internal/scrub":    {"internal/mask"},
	"internal/typed":    {},
	"internal/watch":    {"internal/exchange", "internal/grace", "internal/list", "internal/mask"},
	"internal/yaml":     {}, // the suites of a project, for the fake
	"connector":         {".", "internal/api", "internal/bulk", "internal/encode", "internal/exchange", "internal/form", "internal/hook", "internal/inject", "internal/lenient", "internal/mask", "internal/problem", "internal/route"},
	"connictest":        {".", "connector", "internal/api", "internal/lenient", "internal/hook", "internal/leaktest", "internal/mask", "internal/pack", "internal/route", "internal/scrub", "internal/typed", "internal/yaml"},
	"connictest/cmd":    {"internal/fakecmd"},
	"internal/fakecmd":  {".", "connictest", "docs", "internal/mask"}, // the program connic-fake
	"docs":              {},
	"examples":          {".", "connector", "connictest", "examples/internal/service", "examples/team/internal/assistant"},

	// Generators and benchmarks may import anything.
	"internal/api/coverage": {".", "internal/api", "internal/api/coverage/source"},
	"internal/api/openapi":  {".", "connector", "connictest", "internal/api", "internal/api/coverage/source"},
	"internal/api/surface":  {},
	"internal/bench":        {".", "connector", "connictest", "internal/api", "internal/bench/cases", "internal/bench/measure"},
}

// allowedImports returns the imports allowed in a folder.
func allowedImports(folder string) ([]string, bool) {
	for ; ; folder = filepath.Dir(folder) {
		if allowed, ok := imports[folder]; ok {
			return allowed, true
		}
		if folder == "." {
			return nil, false
		}
	}
}

// importsOf calls f for every import of another package than those of the
// standard library in a folder's source files, tests aside, and returns their
// number. A package of this module is given by its folder. Other modules below
// the folder are left out.
func importsOf(t *testing.T, root string, f func(path, folder, imported string)) (seen int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
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
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
				continue
			}
			seen++
			if rest, ok := strings.CutPrefix(imported, module); ok {
				imported = cmp.Or(strings.TrimPrefix(rest, "/"), ".")
			}
			f(path, filepath.ToSlash(filepath.Dir(path)), imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// TestImports reads the imports of every file of the root module.
func TestImports(t *testing.T) {
	t.Parallel()
	seen := importsOf(t, ".", func(path, folder, imported string) {
		allowed, ok := allowedImports(folder)
		if !ok {
			t.Errorf("%s has no entry", folder)
		}
		if imported != folder && !slices.Contains(allowed, imported) {
			t.Errorf("%s imports %s, which its folder may not", path, imported)
		}
	})
	if seen == 0 {
		t.Fatal("no import was read")
	}
}

// TestImportsOfOtherModules reads the imports of the modules for users. Each is
// released on its own and may be built with a newer root, so what it imports of
// internal is an interface between releases.
func TestImportsOfOtherModules(t *testing.T) {
	t.Parallel()
	frozen := []string{"internal/api", "internal/environ", "internal/fakecmd", "internal/governor", "internal/grace", "internal/hook", "internal/inject", "internal/lenient", "internal/mask", "internal/problem", "internal/scrub"}
	modules, err := filepath.Glob("c*/*/go.mod") // contrib and cmd
	if err != nil || len(modules) < 6 {
		t.Fatal(modules, err)
	}
	for _, mod := range modules {
		importsOf(t, filepath.Dir(mod), func(path, _, imported string) {
			if strings.HasPrefix(imported, "internal/") && !slices.Contains(frozen, imported) {
				t.Errorf("%s imports %s, which may change with any release", path, imported)
			}
		})
	}
}
