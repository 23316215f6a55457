// Package gen generates Go source for the agents of a project: a constant for each
// agent, and the types of the schemas that they use.
package gen

import (
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"maps"
	"slices"
)

// Options select what is generated.
type Options struct {
	Package string // the name of the package
	// Names holds Go names in place of those that would be made. A key is a file of
	// the project, or a file with "#" and a JSON pointer.
	Names map[string]string
}

// A Result is what was generated.
type Result struct {
	Code     []byte
	Warnings []string
}

// Generate generates the source for a project. The error joins all that is wrong
// with the project, each with its file and place.
func Generate(project fs.FS, o Options) (*Result, error) {
	g := &generator{fsys: project, names: o.Names, used: make(map[string]bool), taken: make(map[string]string), schemas: make(map[string]*schemaFile)}
	if !token.IsIdentifier(o.Package) || o.Package == "_" {
		g.errorf("--package", "%q is no name of a package", o.Package)
	}
	for _, what := range slices.Sorted(maps.Keys(o.Names)) {
		if name := o.Names[what]; !token.IsIdentifier(name) || !token.IsExported(name) {
			g.errorf("--name "+what, "%q is no exported identifier", name)
		}
	}
	g.readAgents()
	g.nameAgents()
	for _, a := range g.agents {
		g.typesOf(a)
	}
	g.variants()
	g.leftContracts()
	g.nameConstants()
	for _, what := range slices.Sorted(maps.Keys(o.Names)) {
		if !g.used[what] && len(g.errs) == 0 {
			g.errorf("--name "+what, "there is no such name to be made")
		}
	}
	if len(g.errs) > 0 {
		return &Result{Warnings: g.warnings}, errors.Join(g.errs...)
	}
	code, err := g.emit(o.Package)
	return &Result{Code: code, Warnings: g.warnings}, err
}

type generator struct {
	fsys     fs.FS
	names    map[string]string
	used     map[string]bool // the names that were asked for
	agents   []*agent        // by their files
	byName   map[string]*agent
	schemas  map[string]*schemaFile // by their files
	types    []*declaration         // outer ones first
	taken    map[string]string      // where an identifier comes from
	errs     []error
	warnings []string
}

func (g *generator) errorf(where, format string, args ...any) {
	err := fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
	for _, known := range g.errs {
		if known.Error() == err.Error() {
			return
		}
	}
	g.errs = append(g.errs, err)
}

func (g *generator) warnf(where, format string, args ...any) {
	text := where + ": " + fmt.Sprintf(format, args...)
	if !slices.Contains(g.warnings, text) {
		g.warnings = append(g.warnings, text)
	}
}

// name returns the Go name for something in the project.
func (g *generator) name(what, made string) string {
	if own, ok := g.names[what]; ok {
		g.used[what] = true
		return own
	}
	return made
}

// take claims an identifier of the package.
func (g *generator) take(name, what string) {
	if other, ok := g.taken[name]; ok && other != what {
		g.errorf(what, "its Go name %s is that of %s too; choose one with --name %s=GoName", name, other, what)
		return
	}
	g.taken[name] = what
}

func (g *generator) nameAgents() {
	for _, a := range g.agents {
		a.goName = g.name(a.file, pascal(a.name))
		g.take(a.goName, a.file)
	}
}

// typesOf finds the types of an agent's input and output.
func (g *generator) typesOf(a *agent) {
	if a.out != "" {
		return
	}
	a.in, a.out = "connic.TriggerRequest", "string"
	if file := "contracts/" + a.name + ".input.json"; g.exists(file) {
		a.inFile = file
		a.in = g.root(file, a.goName+"Input")
	}
	contract := "contracts/" + a.name + ".output.json"
	if g.exists(contract) && a.kind != kindTool {
		g.warnf(contract, "it is ignored: it types the output of agents of type tool, and %s is one of type %s", a.name, a.kind)
	}
	if a.schema != "" && a.kind != kindLLM {
		g.warnf(a.file, "output_schema is ignored for agents of type %s", a.kind)
	}
	switch {
	case a.kind == kindLLM && a.schema != "":
		if !isBare(a.schema) {
			g.errorf(a.file, "output_schema %q is no name of a file in schemas, without its ending", a.schema)
			return
		}
		a.outFile = "schemas/" + a.schema + ".json"
		made := pascal(a.schema)
		for _, other := range g.agents {
			if other.goName == made {
				made += "Output"
				break
			}
		}
		a.out = g.root(a.outFile, made)
	case a.kind == kindTool && g.exists(contract):
		a.outFile = contract
		a.out = g.root(contract, a.goName+"Output")
	case a.kind == kindSequential && len(a.steps) > 0 && a.last == nil:
		g.sequence(a)
	}
	if a.last != nil {
		g.typesOf(a.last)
		a.out = a.last.out
	}
}

// sequence finds the last agent of a sequence, and checks the others.
func (g *generator) sequence(a *agent) {
	for _, step := range a.steps {
		if g.byName[step] == nil {
			g.errorf(a.file, "there is no agent %q, a step of the sequence", step)
		}
	}
	if cycle := g.path(a, a, make(map[*agent]bool)); cycle != nil {
		g.errorf(a.file, "the sequence contains itself: %s", joined(cycle, " -> "))
		return
	}
	a.last = g.byName[a.steps[len(a.steps)-1]]
}

// path returns the names of the sequences from a to a step that is the agent to, or
// nil. It passes none that was seen.
func (g *generator) path(a, to *agent, seen map[*agent]bool) []string {
	if a == nil || seen[a] || a.kind != kindSequential {
		return nil
	}
	seen[a] = true
	for _, step := range a.steps {
		next := g.byName[step]
		if next == to {
			return []string{a.name, to.name}
		}
		if rest := g.path(next, to, seen); rest != nil {
			return append([]string{a.name}, rest...)
		}
	}
	return nil
}

// variants warns of variants whose output is not that of their base.
func (g *generator) variants() {
	for _, a := range g.agents {
		if a.base != nil && a.base.out != a.out {
			g.warnf(a.file, "its output is %s, and that of its base %s is %s", a.out, a.base.name, a.base.out)
		}
	}
}

func (g *generator) exists(file string) bool {
	info, err := fs.Stat(g.fsys, file)
	return err == nil && info.Mode().IsRegular()
}
