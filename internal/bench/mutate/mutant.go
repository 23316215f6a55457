package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mutant is one change of one file.
type mutant struct {
	file          string
	line          int
	from, to      int // byte offsets in the file
	before, after string
	within        string // the line, for the report
	tests         [][]string
}

func (m mutant) String() string {
	return fmt.Sprintf("%s:%d: %q becomes %q in: %s", m.file, m.line, m.before, m.after, m.within)
}

// flips maps operators to their replacements.
var flips = map[token.Token]string{
	token.EQL: "!=", token.NEQ: "==",
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
	token.LAND: "||", token.LOR: "&&",
	token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*",
	token.ADD_ASSIGN: "-=", token.SUB_ASSIGN: "+=",
}

// mutants returns the mutations of the files of a group.
func mutants(g group) ([]mutant, error) {
	files, err := filepath.Glob(g.files)
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, source, 0)
		if err != nil {
			return nil, err
		}
		lines := strings.Split(string(source), "\n")
		add := func(pos token.Pos, before, after string) {
			at := set.Position(pos)
			all = append(all, mutant{
				file: file, line: at.Line, from: at.Offset, to: at.Offset + len(before), before: before, after: after,
				within: strings.TrimSpace(lines[at.Line-1]), tests: g.tests,
			})
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GenDecl:
				return n.Tok != token.IMPORT
			case *ast.BinaryExpr:
				if after, ok := flips[n.Op]; ok {
					add(n.OpPos, n.Op.String(), after)
				}
			case *ast.AssignStmt:
				if after, ok := flips[n.Tok]; ok {
					add(n.TokPos, n.Tok.String(), after)
				}
			case *ast.IncDecStmt:
				after := "--"
				if n.Tok == token.DEC {
					after = "++"
				}
				add(n.TokPos, n.Tok.String(), after)
			case *ast.UnaryExpr:
				if n.Op == token.NOT {
					add(n.OpPos, "!", "")
				}
			case *ast.Ident:
				switch n.Name {
				case "true":
					add(n.Pos(), "true", "false")
				case "false":
					add(n.Pos(), "false", "true")
				}
			case *ast.BasicLit:
				if v, err := strconv.Atoi(n.Value); n.Kind == token.INT && err == nil {
					add(n.Pos(), n.Value, strconv.Itoa(v+1))
				}
			case *ast.IfStmt:
				// Negate a condition.
				cond := string(source[set.Position(n.Cond.Pos()).Offset:set.Position(n.Cond.End()).Offset])
				add(n.Cond.Pos(), cond, "!("+cond+")")
			}
			return true
		})
	}
	return all, nil
}
