package pack

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// given is a tar.gz supplied by the caller.
type given struct {
	reopen func() (io.Reader, error)
	file   *original
}

// Read returns the files of a tar.gz that was received, by name. It accepts what
// [Selection.File] does.
func (s Selection) Read(archive []byte) (map[string]string, error) {
	files := make(map[string]string)
	raw := newWatched(context.Background(), bytes.NewReader(archive))
	err := s.inspect(raw, func(name string, content io.Reader) error {
		b, err := io.ReadAll(content)
		files[name] = string(b)
		return err
	})
	return files, err
}

// File returns an existing archive: a tar.gz that open opens at its start each
// time. The archive is first read once to validate its contents.
func (s Selection) File(ctx context.Context, name string, open func() (io.Reader, error)) (*Archive, error) {
	g := &given{reopen: open, file: &original{name: cmp.Or(name, "archive")}}
	if open == nil {
		return nil, badArchive("is missing", nil)
	}
	if err := s.verify(); err != nil {
		return nil, err
	}
	r, err := open()
	if err != nil {
		return nil, badArchive("cannot be read", err)
	}
	defer Close(r)
	switch size, err := SizeOf(r); {
	case errors.Is(err, ErrDirectory):
		return nil, badArchive(err.Error(), nil)
	case err != nil:
		return nil, badArchive("cannot be read", err)
	case size > MaxArchive:
		return nil, tooLarge()
	}
	raw := newWatched(ctx, r)
	if err := s.inspect(raw, func(string, io.Reader) error { return nil }); err != nil {
		if ctx == nil || ctx.Err() != nil { // the call reports what is wrong with it
			return &Archive{source: "archive", size: -1, begin: g.begin}, nil
		}
		return nil, err
	}
	g.file.size = raw.size
	g.file.same(raw.sum.Sum64())
	return &Archive{source: "archive", size: raw.size, begin: g.begin}, nil
}

func badArchive(reason string, cause error) *SourceError {
	return &SourceError{Source: "archive", Reason: reason, Err: cause}
}

// inspect reads the whole archive, validates every entry, and calls each for the
// files that keep to the rules.
func (s Selection) inspect(raw *watched, each func(name string, content io.Reader) error) error {
	broken := func(err error) error {
		if raw.err != nil {
			return raw.err
		}
		return badArchive("is not a complete tar.gz", err)
	}
	buffered := bufio.NewReaderSize(raw, piece)
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return broken(err)
	}
	l := limits{selection: s}
	files := 0
	bounded := &bounded{r: unzipped, left: maxUnpacked}
	for entries := tar.NewReader(bounded); ; {
		h, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return broken(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name := path.Clean(h.Name)
		top, _, _ := strings.Cut(name, "/")
		rule := s.archivedRule(name, h.Typeflag == tar.TypeDir)
		switch {
		case path.IsAbs(name) || slices.Contains(strings.Split(h.Name, "/"), ".."):
			l.problem(h.Name, "is outside the archive's root")
		case h.Typeflag == tar.TypeSymlink:
			l.problem(h.Name, "is a symbolic link")
		case h.Typeflag == tar.TypeLink:
			l.problem(h.Name, "is a hard link")
		case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir:
			l.problem(h.Name, "is not a regular file")
		case s.undecided(top) && (top != name || h.Typeflag == tar.TypeDir):
			if p := (Problem{top, undecided}); !slices.Contains(l.problems, p) {
				l.problem(top, undecided)
			}
		case rule != "":
			l.problem(h.Name, rule)
		case h.Typeflag == tar.TypeReg:
			files++
			if l.file(name, h.Size); l.total <= MaxTotal { // else it is refused
				if err := each(name, entries); err != nil {
					return broken(err)
				}
			}
		}
	}
	// The checksum follows the tar.
	if _, err := io.Copy(io.Discard, bounded); err != nil && (raw.err != nil || !errors.Is(err, gzip.ErrHeader)) {
		return broken(err)
	}
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return broken(err)
	}
	if err := l.err(); err != nil {
		return err
	}
	if files == 0 {
		return badArchive("has no files", nil)
	}
	return nil
}

// maxUnpacked limits how many bytes of an archive are unpacked for inspection:
// four times the permitted content, to allow for headers.
const maxUnpacked = 4 * MaxTotal

// bounded is a reader that fails beyond a limit.
type bounded struct {
	r    io.Reader
	left int64
}

var errUnpacked = fmt.Errorf("it unpacks to more than %d bytes", maxUnpacked)

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errUnpacked
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (g *given) begin(w io.Writer) (feed, error) {
	r, err := g.reopen()
	if err != nil {
		return nil, badArchive("cannot be read", err)
	}
	return &fileFeed{to: w, file: newReading(g.file, r), block: pieces.Get().(*[piece]byte)}, nil
}

// A fileFeed copies an archive.
type fileFeed struct {
	to    io.Writer
	file  *reading
	block *[piece]byte
}

func (f *fileFeed) next() error {
	b, err := f.file.read(f.block[:])
	if changed, ok := err.(changedError); ok { //nolint:errorlint // made here, and not wrapped
		return &SourceError{Source: "archive", Reason: "changed while it was sent: it " + string(changed), Changed: true}
	}
	if err != nil {
		return badArchive("cannot be read", err)
	}
	if len(b) == 0 {
		return io.EOF
	}
	_, err = f.to.Write(b)
	return err
}

func (f *fileFeed) close() {
	Close(f.file.r)
	pieces.Put(f.block)
}

// watched reads an archive up to the limit, and until the context ends.
type watched struct {
	ctx context.Context
	*reading
	size int64
	err  error // the error that ended it, other than io.EOF
}

func newWatched(ctx context.Context, r io.Reader) *watched {
	return &watched{ctx: ctx, reading: newReading(new(original), r)}
}

// Read implements [io.Reader].
func (w *watched) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.ctx == nil || w.ctx.Err() != nil {
		w.err = io.ErrUnexpectedEOF
		return 0, w.err
	}
	n, err := w.r.Read(p)
	_, _ = w.sum.Write(p[:n])
	switch w.size += int64(n); {
	case w.size > MaxArchive:
		w.err = tooLarge()
	case err != nil && err != io.EOF:
		w.err = badArchive("cannot be read", err)
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, err
}
