// Package pack makes the tar.gz of an agent project while it is sent, by the
// rules that the vendor's own client keeps to. Nobody holds an archive whole, as
// a tar, a tar.gz or a text: each attempt makes it anew, piece by piece as the
// transport reads it, so that it needs no goroutine and leaves none behind.
package pack

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds that the vendor's own client keeps to, in bytes.
const (
	MaxArchive = 25 << 20 // of the tar.gz
	MaxProject = 5 << 20  // of the files outside tests/files/, together
)

// What may be in an archive, as the vendor's own client has it.
var (
	folders = []string{"agents", "tools", "middleware", "schemas", "guardrails", "hooks", "tests"}
	endings = []string{".py", ".yaml", ".yml", ".txt", ".json", ".csv", ".md", ".toml", ".jsonl"}
)

const (
	requirements = "requirements.txt"
	freely       = "tests/files/" // takes files of every ending and size
)

// Problem is what is wrong with one file.
type Problem struct {
	Path   string // within the project, with slashes; empty for the project as a whole
	Reason string // completes the sentence that begins with the path
}

func (p Problem) String() string {
	name := p.Path
	switch {
	case name == "":
		return p.Reason
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		name = strconv.Quote(name)
	}
	return name + " " + p.Reason
}

// RuleError is a project that breaks the rules. Nothing of it was sent, or not
// the end of it.
type RuleError struct{ Problems []Problem }

// shownProblems are how many problems the text of a RuleError has.
const shownProblems = 10

func (e *RuleError) Error() string {
	texts := make([]string, 0, shownProblems+1)
	for _, p := range e.Problems[:min(len(e.Problems), shownProblems)] {
		texts = append(texts, p.String())
	}
	if more := len(e.Problems) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}

// SourceError is a project or an archive that cannot be read, or that changed
// while it was.
type SourceError struct {
	Source  string // "project" or "archive"
	Reason  string // completes the sentence that begins with the source
	Changed bool   // reading it once more may help
	Err     error  // the cause, if there is one
}

func (e *SourceError) Error() string {
	if e.Err == nil {
		return "the " + e.Source + " " + e.Reason
	}
	return "the " + e.Source + " " + e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

func tooLarge() *RuleError {
	return &RuleError{[]Problem{{"", fmt.Sprintf("the tar.gz is more than %d bytes", MaxArchive)}}}
}

func isControl(r rune) bool { return unicode.IsControl(r) }

// check returns what is wrong with a regular file, "" if nothing is. Letters of
// endings may be small or capital.
func check(name string) string {
	top, _, nested := strings.Cut(name, "/")
	switch {
	case !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		return "has a name that is not valid UTF-8, or contains a control character"
	case name == requirements:
		return ""
	case !nested || !slices.Contains(folders, top):
		return "is neither " + requirements + " nor in one of the folders " + strings.Join(folders, " ")
	case strings.HasPrefix(name, freely):
		return ""
	case !slices.Contains(endings, strings.ToLower(path.Ext(name))):
		return "has an ending that is none of " + strings.Join(endings, " ")
	}
	return ""
}

// limits counts what the bounds bound.
type limits struct {
	project  int64 // bytes outside tests/files/
	problems []Problem
}

func (l *limits) problem(name, reason string) {
	l.problems = append(l.problems, Problem{name, reason})
}

// file checks a regular file.
func (l *limits) file(name string, size int64) {
	if reason := check(name); reason != "" {
		l.problem(name, reason)
	}
	if !strings.HasPrefix(name, freely) {
		l.project += size
	}
}

// err is the error of everything that was found.
func (l *limits) err() error {
	if l.project > MaxProject {
		l.problem("", fmt.Sprintf("the files outside %s are %d bytes, more than %d", freely, l.project, MaxProject))
	}
	if len(l.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return &RuleError{l.problems}
}
