// Package pack creates the tar.gz of an agent project while it is sent,
// following the rules of the vendor's own client. No archive is ever held in
// memory as a whole, whether as a tar, a tar.gz or text: each attempt creates
// it anew, piece by piece as the transport reads it, without a goroutine.
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

// The limits of the vendor's own client, in bytes.
const (
	MaxArchive = 25 << 20 // of the tar.gz
	MaxTotal   = 25 << 20 // of all files, uncompressed
	MaxCode    = 5 << 20  // of the files outside tests/files/
)

// The permitted contents of an archive, as in the vendor's own client.
var (
	folders = []string{"agents", "tools", "middleware", "schemas", "guardrails", "hooks", "tests", "connectors"}
	endings = []string{".py", ".yaml", ".txt", ".json", ".csv", ".md", ".toml", ".jsonl"}
)

const (
	requirements = "requirements.txt"
	testFiles    = "tests/files/"    // accepts any extension
	builders     = "tests/builders/" // accepts only Python, with a lower-case extension
)

// A Problem is what is wrong with one file.
type Problem struct {
	Path   string // slash-separated, relative to the project; empty for the project as a whole
	Reason string // completes a sentence that begins with the path
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

// A RuleError is returned for a project that breaks the rules. Nothing of it
// was sent, or at least not its end.
type RuleError struct{ Problems []Problem }

// shownProblems is the maximum number of problems in the text of a RuleError.
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

// A SourceError is returned for a project or an archive that cannot be read, or
// that changed while it was read.
type SourceError struct {
	Source  string // "project" or "archive"
	Reason  string // completes a sentence that begins with the source
	Changed bool   // reading it again may help
	Err     error  // the cause, if any
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

// A Selection names top-level folders of a project in addition to the usual
// rules. Files in Folders may have any extension. Exclude takes precedence.
type Selection struct{ Folders, Exclude []string }

// documented are folders of a project that the vendor's own client does not
// pack, although the documentation names them.
var documented = []string{"apps"}

const undecided = "is a folder of a project by the vendor's documentation, which the vendor's own client does not pack: " +
	"name it in Folders to include it, or in Exclude to leave it out"

// packs reports whether a top-level folder is packed.
func (s Selection) packs(folder string) bool {
	return !slices.Contains(s.Exclude, folder) && (slices.Contains(folders, folder) || slices.Contains(s.Folders, folder))
}

// undecided reports whether a top-level folder must be named.
func (s Selection) undecided(folder string) bool {
	return slices.Contains(documented, folder) && !slices.Contains(s.Folders, folder) && !slices.Contains(s.Exclude, folder)
}

// verify refuses names that can be none of a folder.
func (s Selection) verify() error {
	var l limits
	for _, name := range slices.Concat(s.Folders, s.Exclude) {
		if !fs.ValidPath(name) || strings.Contains(name, "/") || strings.HasPrefix(name, ".") || name == requirements {
			l.problem(name, "is not the name of a top-level folder that can be packed")
		}
	}
	return l.err()
}

// check returns what is wrong with a regular file, or "". Extensions may be in
// lower or upper case.
func (s Selection) check(name string) string {
	top, _, nested := strings.Cut(name, "/")
	switch {
	case !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		return "has a name that is not valid UTF-8, or contains a control character"
	case name == requirements:
		return ""
	case !nested || !s.packs(top):
		return "is neither " + requirements + " nor in one of the folders " + s.list()
	case strings.HasPrefix(name, testFiles) || !slices.Contains(folders, top):
		return ""
	case strings.HasPrefix(name, builders) && path.Ext(name) != ".py":
		return "does not end with .py, the only extension allowed in " + builders
	case strings.EqualFold(path.Ext(name), ".yml"):
		return "ends with .yml; the service reads .yaml only"
	case !slices.Contains(endings, strings.ToLower(path.Ext(name))):
		return "has an ending that is none of " + strings.Join(endings, " ")
	}
	return ""
}

// list returns the folders that are packed.
func (s Selection) list() string {
	all := slices.Concat(folders, s.Folders)
	return strings.Join(slices.DeleteFunc(all, func(name string) bool { return !s.packs(name) }), " ")
}

// archivedRule returns what is wrong with an entry of a tar, given its cleaned
// name, or "". Files that would be left out of a folder on disk are refused in
// an archive, which is sent unmodified.
func (s Selection) archivedRule(name string, folder bool) string {
	for segment := range strings.SplitSeq(name, "/") {
		switch {
		case strings.HasPrefix(segment, ".") && segment != ".":
			return "is hidden, or is in a hidden folder"
		case strings.Contains(segment, "__pycache__") || path.Ext(segment) == ".pyc":
			return "is compiled Python"
		}
	}
	top, _, _ := strings.Cut(name, "/")
	if folder && name != "." && !s.packs(top) {
		return "is not one of the folders " + s.list()
	}
	return ""
}

// entryRule determines how to treat an entry of a project folder: whether it is
// left out, and otherwise what is wrong with it, or "". The names of files are
// checked later.
func (s Selection) entryRule(root bool, name string, kind fs.FileMode) (ignored bool, reason string) {
	folder, link := kind.IsDir(), kind&fs.ModeSymlink != 0
	switch {
	case strings.HasPrefix(name, "."):
		return true, ""
	case folder && strings.Contains(name, "__pycache__"), !folder && path.Ext(name) == ".pyc":
		return true, ""
	case root && (folder || link) && s.undecided(name):
		return false, undecided
	case root && name != requirements && (!s.packs(name) || !folder && !link):
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

// maxProblems and maxShown limit how many problems are kept, and how much of
// each name: an archive can contain millions of entries.
const (
	maxProblems = 1000
	maxShown    = 1 << 10
)

// limits keeps track of the limited quantities.
type limits struct {
	selection   Selection
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
	if reason := l.selection.check(name); reason != "" {
		l.problem(name, reason)
	}
	// Wrong sizes must not add up to a negative one.
	size = min(max(size, 0), 1<<40)
	l.total = min(l.total+size, 1<<60)
	if !strings.HasPrefix(name, testFiles) {
		l.code = min(l.code+size, 1<<60)
	}
}

// err returns the error for all problems found.
func (l *limits) err() error {
	if l.code > MaxCode {
		l.problem("", fmt.Sprintf("the files outside %s are %d bytes, more than %d", testFiles, l.code, MaxCode))
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
