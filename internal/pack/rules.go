// Package pack makes the tar.gz of an agent project while it is sent, by the
// rules that the vendor's own client keeps to. Nobody holds an archive whole, as
// a tar, a tar.gz or a text: each attempt makes it anew, piece by piece as the
// transport reads it, so that it needs no goroutine and leaves none behind.
package pack

import (
	"fmt"
	"io/fs"
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
	MaxTotal   = 25 << 20 // of all files, before they are compressed
	MaxCode    = 5 << 20  // of the files outside tests/files/
)

// What may be in an archive, as the vendor's own client has it.
var (
	folders = []string{"agents", "tools", "middleware", "schemas", "guardrails", "hooks", "tests", "connectors"}
	endings = []string{".py", ".yaml", ".txt", ".json", ".csv", ".md", ".toml", ".jsonl"}
)

const (
	requirements = "requirements.txt"
	freely       = "tests/files/"    // takes files of every ending
	builders     = "tests/builders/" // takes Python only, with a small ending
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
	case strings.HasPrefix(name, builders) && path.Ext(name) != ".py":
		return "has another ending than .py, the only one in " + builders
	case strings.EqualFold(path.Ext(name), ".yml"):
		return "ends with .yml; the service reads .yaml only"
	case !slices.Contains(endings, strings.ToLower(path.Ext(name))):
		return "has an ending that is none of " + strings.Join(endings, " ")
	}
	return ""
}

// archivedRule says what is wrong with an entry of a tar, by its cleaned name, ""
// if nothing is. Of a folder on disk much is left out; an archive is sent as it
// is, so what would be left out is refused.
func archivedRule(name string, folder bool) string {
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case strings.HasPrefix(part, ".") && part != ".":
			return "is hidden, or lies in a hidden folder"
		case strings.Contains(part, "__pycache__") || path.Ext(part) == ".pyc":
			return "is compiled Python"
		}
	}
	top, _, _ := strings.Cut(name, "/")
	if folder && name != "." && !slices.Contains(folders, top) {
		return "is none of the folders " + strings.Join(folders, " ")
	}
	return ""
}

// entryRule says what becomes of an entry of a project folder: whether it is left
// out, or else what is wrong with it, "" if nothing is. The names of files are
// checked later.
func entryRule(root bool, name string, kind fs.FileMode) (ignored bool, reason string) {
	folder, link := kind.IsDir(), kind&fs.ModeSymlink != 0
	switch {
	case strings.HasPrefix(name, "."):
		return true, ""
	case folder && strings.Contains(name, "__pycache__"), !folder && path.Ext(name) == ".pyc":
		return true, ""
	case root && name != requirements && (!slices.Contains(folders, name) || !folder && !link):
		return true, ""
	case link:
		return false, "is a symbolic link"
	case !folder && !kind.IsRegular():
		return true, ""
	case root && name == requirements && folder:
		return false, "is a folder"
	}
	return false, ""
}

// maxProblems and maxShown bound how many problems are kept, and how much of
// each name: an archive can hold millions of entries.
const (
	maxProblems = 1000
	maxShown    = 1 << 10
)

// limits counts what the bounds bound.
type limits struct {
	total, code int64 // bytes of all files, and of those outside tests/files/
	problems    []Problem
}

func (l *limits) problem(name, reason string) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, Problem{strings.Clone(name[:min(len(name), maxShown)]), reason})
	}
}

// file checks a regular file.
func (l *limits) file(name string, size int64) {
	if reason := check(name); reason != "" {
		l.problem(name, reason)
	}
	// Sizes that lie must not add up to a negative one.
	size = min(max(size, 0), 1<<40)
	l.total = min(l.total+size, 1<<60)
	if !strings.HasPrefix(name, freely) {
		l.code = min(l.code+size, 1<<60)
	}
}

// err is the error of everything that was found.
func (l *limits) err() error {
	if l.code > MaxCode {
		l.problem("", fmt.Sprintf("the files outside %s are %d bytes, more than %d", freely, l.code, MaxCode))
	}
	if l.total > MaxTotal {
		l.problem("", fmt.Sprintf("all files together are %d bytes, more than %d", l.total, MaxTotal))
	}
	if len(l.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return &RuleError{l.problems}
}
