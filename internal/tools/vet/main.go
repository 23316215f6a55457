// Command vet reports what go vet reports of the modules in the folders that it is
// given, for other systems:
//
//	vet [-os GOOS/GOARCH,...] folder ...
//
// Unlike go vet, it compiles nothing: it reads the declarations of all dependencies
// from their source, and once for all modules, which it loads as one workspace. So
// it takes seconds where go vet takes minutes. What it cannot see is which functions
// of dependencies are wrappers of fmt.Printf.
//
// It exits with 1 if it has reported something.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/packages"
)

func main() {
	systems := flag.String("os", "", "the `systems`, separated by commas; empty is the one that it runs on")
	flag.Parse()
	count := 0
	for _, system := range strings.Split(*systems, ",") {
		n, err := report(system, flag.Args())
		if err != nil {
			fmt.Fprintln(os.Stderr, "vet:", err)
			os.Exit(2)
		}
		count += n
	}
	if count > 0 {
		os.Exit(1)
	}
}

// report prints what is found for one system, and returns how much that is.
func report(system string, folders []string) (count int, err error) {
	environ := os.Environ()
	if goos, goarch, ok := strings.Cut(system, "/"); ok {
		environ = append(environ, "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	}
	patterns := make([]string, len(folders))
	for i, folder := range folders {
		if folders[i], err = filepath.Abs(folder); err != nil {
			return 0, err
		}
		patterns[i] = folders[i] + "/..."
	}
	work, err := workspace(folders)
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(filepath.Dir(work))) }()

	loaded, err := packages.Load(&packages.Config{
		Mode:  packages.LoadAllSyntax | packages.NeedModule,
		Dir:   folders[0],
		Env:   append(environ, "GOWORK="+work),
		Tests: true,
		ParseFile: func(fset *token.FileSet, name string, src []byte) (*ast.File, error) {
			return parse(folders, fset, name, src)
		},
	}, patterns...)
	if err != nil {
		return 0, err
	}
	seen := make(map[string]bool)
	found := func(text string) {
		if text = system + " " + text; !seen[text] { // a package and its variant for tests have files in common
			seen[text] = true
			fmt.Println(text)
		}
	}
	packages.Visit(loaded, nil, func(p *packages.Package) {
		if p.Module != nil && slices.Contains(folders, p.Module.Dir) && !strings.HasSuffix(p.ID, ".test") {
			for _, e := range p.Errors {
				found(e.Error())
			}
		}
		p.IllTyped = false // for what parse has left out
	})
	if len(seen) > 0 { // what has errors cannot be analyzed
		return len(seen), nil
	}
	graph, err := checker.Analyze(vet.Suite, loaded, nil)
	if err != nil {
		return 0, err
	}
	for action := range graph.All() {
		if !action.IsRoot {
			continue
		}
		if action.Err != nil {
			found(fmt.Sprintf("%s: %v", action, action.Err))
		}
		for _, d := range action.Diagnostics {
			found(fmt.Sprintf("%s: %s", action.Package.Fset.Position(d.Pos), d.Message))
		}
	}
	fmt.Printf("%s: %d packages\n", cmp.Or(system, "this system"), len(loaded))
	return len(seen), nil
}

// parse parses a file. Of dependencies, which are needed for their declarations,
// it leaves out what functions do.
func parse(folders []string, fset *token.FileSet, name string, src []byte) (*ast.File, error) {
	ours := slices.ContainsFunc(folders, func(folder string) bool { return strings.HasPrefix(name, folder+string(filepath.Separator)) })
	mode := parser.SkipObjectResolution
	if ours {
		mode |= parser.ParseComments
	}
	file, err := parser.ParseFile(fset, name, src, mode)
	if err != nil || ours {
		return file, err
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			f.Body = &ast.BlockStmt{Lbrace: f.Body.Lbrace, Rbrace: f.Body.Rbrace}
		}
	}
	return file, nil
}

// workspace writes a file go.work that contains modules, and returns its name.
func workspace(folders []string) (string, error) {
	dir, err := os.MkdirTemp("", "vet")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", append([]string{"work", "init"}, folders...)...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go work init: %w: %s", err, output)
	}
	return filepath.Join(dir, "go.work"), nil
}
