package pack

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
)

// tree is a project folder that is to be packed.
type tree struct {
	fsys   fs.FS
	files  []*original // by name
	limits limits
}

// Tree is the archive of a project folder. The same tree makes the same archive.
// It is an error of type [*RuleError] where the project breaks a rule. Where its
// size does not show that the tar.gz keeps to the bound, it is packed once to
// see.
func Tree(ctx context.Context, fsys fs.FS) (*Archive, error) {
	if fsys == nil {
		return nil, &SourceError{Source: "project", Reason: "is nil"}
	}
	t := &tree{fsys: fsys}
	if err := t.scan("."); err != nil {
		return nil, &SourceError{Source: "project", Reason: "cannot be read", Err: err}
	}
	if err := t.limits.err(); err != nil {
		return nil, err
	}
	if len(t.files) == 0 {
		return nil, &SourceError{Source: "project", Reason: "holds nothing to deploy: neither a file in one of the folders " +
			strings.Join(folders, " ") + " nor " + requirements}
	}
	// Whatever the order in which the file system lists them.
	slices.SortFunc(t.files, func(a, b *original) int { return cmp.Compare(a.name, b.name) })
	a := &Archive{source: "project", size: -1, begin: t.begin}
	if t.most() > MaxArchive {
		if err := a.measure(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
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
		case folder == "." && e.Name() != requirements && !slices.Contains(folders, e.Name()):
		case e.Type()&fs.ModeSymlink != 0:
			t.limits.problem(name, "is a symbolic link")
		case !e.IsDir() && !e.Type().IsRegular():
			t.limits.problem(name, "is not a regular file")
		case name == requirements && e.IsDir():
			t.limits.problem(name, "is a folder")
		case folder == "." && name != requirements && !e.IsDir():
			t.limits.problem(name, "is not a folder")
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
	t.limits.file(name, info.Size())
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

// packed is when every file of an archive was last changed. Not 1970: zip, and
// so Python's wheels, know no time before 1980.
var packed = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// treeFeed packs a folder.
type treeFeed struct {
	tree  *tree
	left  []*original
	tar   *tar.Writer
	gzip  *gzip.Writer
	block *[piece]byte
	file  *reading // nil between two files
}

func (t *tree) begin(w io.Writer) (feed, error) {
	f := &treeFeed{tree: t, left: t.files, gzip: gzips.Get().(*gzip.Writer), block: pieces.Get().(*[piece]byte)}
	f.gzip.Reset(w)
	f.tar = tar.NewWriter(f.gzip)
	return f, nil
}

func (f *treeFeed) next() error {
	if f.file == nil {
		if len(f.left) == 0 {
			if err := errors.Join(f.tar.Close(), f.gzip.Close()); err != nil {
				return err
			}
			return io.EOF
		}
		return f.open()
	}
	b, err := f.file.read(f.block[:])
	if err != nil {
		return f.problem(f.file.file.name, err)
	}
	if len(b) > 0 {
		_, err = f.tar.Write(b)
		return err
	}
	Close(f.file.r)
	f.file = nil
	return nil
}

// open begins the next file.
func (f *treeFeed) open() error {
	next := f.left[0]
	f.left = f.left[1:]
	file, err := f.tree.fsys.Open(next.name)
	if err != nil {
		return f.problem(next.name, err)
	}
	f.file = newReading(next, file)
	info, err := file.Stat()
	switch {
	case err != nil:
		return f.problem(next.name, err)
	case !info.Mode().IsRegular() || info.Size() != next.size || !info.ModTime().Equal(next.modified):
		return f.problem(next.name, changedError("is not what it was"))
	}
	return f.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: next.name, Size: next.size, Mode: 0o644, ModTime: packed,
	})
}

func (f *treeFeed) problem(name string, cause error) error {
	if changed, ok := cause.(changedError); ok { //nolint:errorlint // made here, and not wrapped
		return &SourceError{Source: "project", Reason: "changed while it was packed: " + Problem{name, string(changed)}.String(), Changed: true}
	}
	var named *fs.PathError
	if errors.As(cause, &named) { // it says which file
		return &SourceError{Source: "project", Reason: "cannot be read", Err: cause}
	}
	return &SourceError{Source: "project", Reason: "cannot be read: " + Problem{Path: name}.String(), Err: cause}
}

func (f *treeFeed) close() {
	if f.file != nil {
		Close(f.file.r)
		f.file = nil
	}
	f.gzip.Reset(nil)
	gzips.Put(f.gzip)
	pieces.Put(f.block)
}
