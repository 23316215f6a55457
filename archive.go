package connic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
)

// The bounds that the vendor's own client keeps to, in bytes.
const (
	maxArchive = 25 << 20 // of the tar.gz
	maxProject = 5 << 20  // of the files outside tests/files/, together
)

// What may be in an archive, as the vendor's own client has it.
var (
	archiveFolders = []string{"agents", "tools", "middleware", "schemas", "guardrails", "hooks", "tests"}
	archiveEndings = []string{".py", ".yaml", ".yml", ".txt", ".json", ".csv", ".md", ".toml", ".jsonl"}
)

const (
	archiveFile   = "requirements.txt"
	archiveFreely = "tests/files/" // takes files of every ending and size
)

// ArchiveError is a project that breaks the rules for archives. It names every
// file that is in the way, and is an [*ArgumentError] too: nothing was sent.
type ArchiveError struct {
	Op       string // the operation
	Problems []ArchiveProblem
}

// ArchiveProblem is what is wrong with one file.
type ArchiveProblem struct {
	Path   string // within the project, with slashes; empty for the project as a whole
	Reason string // completes the sentence that begins with the path
}

func (p ArchiveProblem) String() string {
	name := p.Path
	switch {
	case name == "":
		return p.Reason
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		name = strconv.Quote(name)
	}
	return name + " " + p.Reason
}

// shownProblems are how many problems the text of an ArchiveError has.
const shownProblems = 10

func (e *ArchiveError) Error() string { return e.argument().Error() }

func (e *ArchiveError) argument() *ArgumentError {
	texts := make([]string, 0, shownProblems+1)
	for _, p := range e.Problems[:min(len(e.Problems), shownProblems)] {
		texts = append(texts, p.String())
	}
	if more := len(e.Problems) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return &ArgumentError{Op: e.Op, Arg: "project", Reason: "cannot be deployed: " + strings.Join(texts, "; ")}
}

// Unwrap returns the error as an [*ArgumentError].
func (e *ArchiveError) Unwrap() error { return e.argument() }

// checkArchived returns what is wrong with a regular file of an archive, "" if
// nothing is. Letters of endings may be small or capital.
func checkArchived(name string) string {
	top, _, nested := strings.Cut(name, "/")
	switch {
	case !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		return "has a name that is not valid UTF-8, or contains a control character"
	case name == archiveFile:
		return ""
	case !nested || !slices.Contains(archiveFolders, top):
		return "is neither " + archiveFile + " nor in one of the folders " + strings.Join(archiveFolders, " ")
	case strings.HasPrefix(name, archiveFreely):
		return ""
	case !slices.Contains(archiveEndings, strings.ToLower(path.Ext(name))):
		return "has an ending that is none of " + strings.Join(archiveEndings, " ")
	}
	return ""
}

// limited counts what the bounds bound.
type limited struct {
	op       api.Op
	project  int64 // bytes outside tests/files/
	problems []ArchiveProblem
}

func (l *limited) problem(name, reason string) {
	l.problems = append(l.problems, ArchiveProblem{name, reason})
}

// file checks a regular file.
func (l *limited) file(name string, size int64) {
	if reason := checkArchived(name); reason != "" {
		l.problem(name, reason)
	}
	if !strings.HasPrefix(name, archiveFreely) {
		l.project += size
	}
}

// err is the error of everything that was found.
func (l *limited) err() error {
	if l.project > maxProject {
		l.problem("", fmt.Sprintf("the files outside %s are %d bytes, more than %d", archiveFreely, l.project, maxProject))
	}
	if len(l.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(l.problems, func(a, b ArchiveProblem) int { return strings.Compare(a.Path, b.Path) })
	return &ArchiveError{Op: api.Table[l.op].Name, Problems: l.problems}
}

func archiveTooLarge(op api.Op) *ArchiveError {
	return &ArchiveError{Op: api.Table[op].Name, Problems: []ArchiveProblem{
		{"", fmt.Sprintf("the tar.gz is more than %d bytes", maxArchive)},
	}}
}

// badArchive is a project or an archive that cannot be read, or that changed.
func badArchive(op api.Op, arg, reason string, cause error) *ArgumentError {
	if cause != nil {
		reason += ": " + cause.Error()
	}
	return &ArgumentError{Op: api.Table[op].Name, Arg: arg, Reason: reason, err: cause}
}

// original is a file as it was when it was first seen. Several attempts may read
// it at a time: the transport may not be done with the last one.
type original struct {
	name     string
	size     int64
	modified time.Time

	mu    sync.Mutex
	known bool
	sum   uint64 // of the content, once it was read to its end
}

// same takes note of the content's sum, or compares it with the one before.
func (o *original) same(sum uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.known {
		o.known, o.sum = true, sum
	}
	return o.sum == sum
}

// tree is a project folder that is to be packed.
type tree struct {
	op    api.Op
	fsys  fs.FS
	files []*original // by name
	limit limited
}

// newTree finds what is to be packed of a folder, and checks it.
func newTree(op api.Op, fsys fs.FS) (*tree, error) {
	if fsys == nil {
		return nil, badArchive(op, "project", "is nil", nil)
	}
	t := &tree{op: op, fsys: fsys, limit: limited{op: op}}
	if err := t.scan("."); err != nil {
		return nil, badArchive(op, "project", "cannot be read", err)
	}
	if err := t.limit.err(); err != nil {
		return nil, err
	}
	if len(t.files) == 0 {
		return nil, badArchive(op, "project", "holds nothing to deploy: neither a file in one of the folders "+
			strings.Join(archiveFolders, " ")+" nor "+archiveFile, nil)
	}
	// Whatever the order in which the file system lists them.
	slices.SortFunc(t.files, func(a, b *original) int { return cmp.Compare(a.name, b.name) })
	return t, nil
}

// scan notes the files of a folder and those below it.
func (t *tree) scan(folder string) error {
	entries, err := fs.ReadDir(t.fsys, folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), ".") || e.Name() == "__pycache__":
		case folder == "." && e.Name() != archiveFile && !slices.Contains(archiveFolders, e.Name()):
		case e.Type()&fs.ModeSymlink != 0:
			t.limit.problem(name, "is a symbolic link")
		case !e.IsDir() && !e.Type().IsRegular():
			t.limit.problem(name, "is not a regular file")
		case name == archiveFile && e.IsDir():
			t.limit.problem(name, "is a folder")
		case folder == "." && name != archiveFile && !e.IsDir():
			t.limit.problem(name, "is not a folder")
		case e.IsDir():
			err = t.scan(name)
		default:
			err = t.add(name, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) add(name string, e fs.DirEntry) error {
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it vanished just now
	}
	if err != nil {
		return err
	}
	t.limit.file(name, info.Size())
	t.files = append(t.files, &original{name: name, size: info.Size(), modified: info.ModTime()})
	return nil
}

// most is an upper bound of the size of the tar.gz.
func (t *tree) most() int64 {
	const block = 512
	blocks := int64(2) // that end a tar
	for _, f := range t.files {
		blocks += 1 + (f.size+block-1)/block
		// A name that does not fit in a header takes one of its own.
		if len(f.name) > 100 || strings.ContainsFunc(f.name, func(r rune) bool { return r > unicode.MaxASCII }) {
			blocks += 2 + int64(len(f.name)+64)/block
		}
	}
	size := blocks * block
	// What cannot be compressed is stored, with 5 bytes for each 16 KiB and less
	// than 1 KiB for the rest.
	return size + size>>11 + 1<<10
}

// newTreeSource makes the source of a folder. Where its size does not show that
// the tar.gz keeps to the bound, it is packed once to see.
func newTreeSource(ctx context.Context, op api.Op, fsys fs.FS) (*archive, error) {
	t, err := newTree(op, fsys)
	if err != nil {
		return nil, err
	}
	a := &archive{op: op, arg: "project", size: -1, begin: t.begin}
	if t.most() > maxArchive {
		err = a.measure(ctx)
	}
	return a, err
}
