package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
)

// Limits for walking a tree. No project comes near them; a generated or cyclic
// file system might never end.
const (
	maxDepth = 100
	maxFiles = 100_000

	maxLeftOut = 1000 // names that are recorded
)

// tree is a project folder to be packed.
type tree struct {
	ctx    context.Context
	fsys   fs.FS
	files  []*original // by name
	left   []string    // what was left out
	limits limits
}

// Tree returns the archive of a project folder. The same tree always produces
// the same archive. If the project breaks a rule, the error is a [*RuleError].
//
// If the size of the tree does not prove that the tar.gz is within the limit,
// as much of it is packed in advance as is needed to prove it.
func (s Selection) Tree(ctx context.Context, fsys fs.FS) (*Archive, error) {
	if fsys == nil {
		return nil, &SourceError{Source: "project", Reason: "is nil"}
	}
	if ctx == nil {
		ctx = context.Background() // an error of ctx is reported later
	}
	if err := s.verify(); err != nil {
		return nil, err
	}
	t, err := scan(ctx, fsys, s)
	if err != nil {
		return nil, err
	}
	for _, folder := range s.Folders {
		if !slices.ContainsFunc(t.files, func(f *original) bool { return strings.HasPrefix(f.name, folder+"/") }) {
			t.limits.problem(folder, "is named in Folders, and has no file to pack")
		}
	}
	if err := t.limits.err(); err != nil {
		return nil, err
	}
	if len(t.files) == 0 {
		return nil, &SourceError{Source: "project", Reason: "has nothing to deploy: neither a file in one of the folders " +
			s.list() + " nor " + requirements}
	}
	a := &Archive{source: "project", size: -1, leftOut: t.left, begin: t.begin}
	if excess := t.most() - MaxArchive; excess > 0 {
		if err := a.measure(ctx, excess); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// scan lists the files of a project.
func scan(ctx context.Context, fsys fs.FS, s Selection) (*tree, error) {
	t := &tree{ctx: ctx, fsys: fsys, limits: limits{selection: s}}
	root, err := openProject(fsys)
	if err != nil {
		return nil, unreadable("", err)
	}
	defer root.close()
	if err := t.scan(root, ".", 0); err != nil {
		return nil, err
	}
	// Independent of the order in which the file system lists them.
	slices.SortFunc(t.files, func(a, b *original) int { return cmp.Compare(a.name, b.name) })
	slices.Sort(t.left)
	return t, nil
}

// scan adds the files of a folder and those below it.
func (t *tree) scan(f folder, at string, depth int) error {
	entries, err := f.list()
	if err != nil {
		return unreadable(at, err)
	}
	if err := t.ctx.Err(); err != nil {
		return unreadable(at, err)
	}
	for _, e := range entries {
		if !fs.ValidPath(e.Name()) || strings.Contains(e.Name(), "/") || e.Name() == "." {
			return unreadable(at, fmt.Errorf("it lists %q, which is not a valid file name", e.Name()))
		}
		name := path.Join(at, e.Name())
		switch ignored, reason := t.limits.selection.entryRule(at == ".", e.Name(), e.Type()); {
		case ignored:
			t.leave(name, e.IsDir())
		case reason != "":
			t.limits.problem(name, reason)
		case !e.IsDir():
			err = t.add(name, e)
		case depth == maxDepth:
			err = &RuleError{[]Problem{{name, fmt.Sprintf("lies more than %d folders deep", maxDepth)}}}
		default:
			err = t.descend(f, name, e.Name(), depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave records that a file or folder is left out.
func (t *tree) leave(name string, folder bool) {
	if folder {
		name += "/"
	}
	if len(t.left) < maxLeftOut {
		t.left = append(t.left, name)
	}
}

func (t *tree) descend(f folder, name, base string, depth int) error {
	inner, err := f.enter(base)
	if err != nil {
		return unreadable(name, err)
	}
	defer inner.close()
	return t.scan(inner, name, depth+1)
}

func (t *tree) add(name string, e fs.DirEntry) error {
	info, err := e.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it was deleted in the meantime
	case err != nil:
		return unreadable(name, err)
	case len(t.files) == maxFiles:
		return &RuleError{[]Problem{{"", fmt.Sprintf("there are more than %d files", maxFiles)}}}
	case linked(info):
		t.limits.problem(name, "is a hard link: the file has another name too")
	}
	t.limits.file(name, info.Size())
	t.files = append(t.files, &original{name: name, size: info.Size(), modified: info.ModTime()})
	return nil
}

// unchanged checks a packed tree again and rereads it: a file that changed
// after it was read may not match files that were read later.
func (t *tree) unchanged() error {
	again, err := scan(t.ctx, t.fsys, t.limits.selection)
	if err != nil {
		return err
	}
	for i, f := range t.files {
		if i >= len(again.files) || again.files[i].name != f.name {
			return changed(f.name, "is no longer in its folder")
		}
		if g := again.files[i]; g.size != f.size || !g.modified.Equal(f.modified) {
			return changed(f.name, "is not what it was")
		}
	}
	if len(again.files) > len(t.files) {
		return changed(again.files[len(t.files)].name, "is new")
	}
	root, err := openProject(t.fsys)
	if err != nil {
		return unreadable("", err)
	}
	defer root.close()
	block := pieces.Get().(*[piece]byte)
	defer pieces.Put(block)
	for _, f := range t.files {
		if err := f.reread(root, block[:]); err != nil {
			return unreadable(f.name, err)
		}
	}
	return nil
}

func (o *original) reread(root folder, block []byte) error {
	file, _, err := openIn(root, o.name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	r := newReading(o, file)
	for {
		if b, err := r.read(block); err != nil || len(b) == 0 {
			return err
		}
	}
}

// most returns an upper bound for the size of the tar.gz.
func (t *tree) most() int64 {
	const block = 512
	blocks := int64(2) // that end a tar
	for _, f := range t.files {
		blocks += 1 + (f.size+block-1)/block
		// A name that does not fit into a header needs a header of its own.
		if len(f.name) > 100 || strings.ContainsFunc(f.name, func(r rune) bool { return r > unicode.MaxASCII }) {
			blocks += 2 + int64(len(f.name)+64)/block
		}
	}
	size := blocks * block
	// Incompressible data is stored, with 5 bytes per 16 KiB and less than 1
	// KiB for the rest.
	return size + size>>11 + 1<<10
}

func changed(name, reason string) error {
	return &SourceError{Source: "project", Reason: "changed while it was packed: " + Problem{name, reason}.String(), Changed: true}
}

// unreadable returns the error for a file or folder of the project, or for its root if
// the path is empty.
func unreadable(name string, cause error) error {
	for _, was := range []error{errNotFolder, errNotRegular} {
		if errors.Is(cause, was) {
			return changed(name, was.Error())
		}
	}
	if reason, ok := cause.(changedError); ok { //nolint:errorlint // made here, and not wrapped
		return changed(name, string(reason))
	}
	gone := errors.Is(cause, fs.ErrNotExist) && name != "" && name != "."
	var named *fs.PathError
	if errors.As(cause, &named) || name == "" { // it names the file
		return &SourceError{Source: "project", Reason: "cannot be read", Changed: gone, Err: cause}
	}
	return &SourceError{Source: "project", Reason: "cannot be read: " + Problem{Path: name}.String(), Changed: gone, Err: cause}
}
