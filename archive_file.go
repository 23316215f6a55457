package connic

import (
	"archive/tar"
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/connic-go/connic/internal/api"
)

// givenArchive is a tar.gz that the caller made.
type givenArchive struct {
	op     api.Op
	source *FileSource
	file   *original
}

// newFileSource makes the source of a tar.gz, and checks what is in it: it is
// read once for that.
func newFileSource(ctx context.Context, op api.Op, source *FileSource) (*archive, error) {
	g := &givenArchive{op: op, source: source, file: &original{name: cmp.Or(source.Name, "archive")}}
	if source.Open == nil {
		return nil, badArchive(op, "archive", "is missing", nil)
	}
	r, err := source.Open()
	if err != nil {
		return nil, g.unreadable(err)
	}
	defer closeReader(r)
	size, err := sizeOf(r)
	switch {
	case err != nil:
		return nil, g.unreadable(err)
	case size > maxArchive:
		return nil, archiveTooLarge(op)
	}
	raw := newWatched(ctx, op, r)
	if err := g.inspect(raw); err != nil {
		if ctx == nil || ctx.Err() != nil { // do says what is wrong with it
			return &archive{op: op, arg: "archive", size: -1, begin: g.begin}, nil
		}
		return nil, err
	}
	g.file.size = raw.size
	g.file.same(raw.sum.Sum64())
	return &archive{op: op, arg: "archive", size: raw.size, begin: g.begin}, nil
}

func (g *givenArchive) unreadable(cause error) error {
	var own *ArgumentError // of sizeOf, which speaks of a file of knowledge
	if errors.As(cause, &own) {
		return badArchive(g.op, "archive", own.Reason, nil)
	}
	return badArchive(g.op, "archive", "cannot be read", cause)
}

// inspect reads the archive to its end, and checks every entry.
func (g *givenArchive) inspect(raw *watched) error {
	broken := func(err error) error {
		if raw.err != nil {
			return raw.err
		}
		return badArchive(g.op, "archive", "is not a whole tar.gz", err)
	}
	buffered := bufio.NewReaderSize(raw, piece)
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return broken(err)
	}
	limit := limited{op: g.op}
	files := 0
	for entries := tar.NewReader(unzipped); ; {
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
		switch {
		case path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../"):
			limit.problem(h.Name, "lies outside the archive's root")
		case h.Typeflag == tar.TypeDir:
			if top, _, _ := strings.Cut(name, "/"); name != "." && checkArchived(top+"/x.py") != "" {
				limit.problem(h.Name, "is none of the folders "+strings.Join(archiveFolders, " "))
			}
		case h.Typeflag == tar.TypeSymlink:
			limit.problem(h.Name, "is a symbolic link")
		case h.Typeflag != tar.TypeReg:
			limit.problem(h.Name, "is not a regular file")
		default:
			files++
			limit.file(name, h.Size)
		}
	}
	// What follows the tar holds the checksum.
	//nolint:gosec // the caller's own archive, of which nothing is kept
	if _, err := io.Copy(io.Discard, unzipped); err != nil && (raw.err != nil || !errors.Is(err, gzip.ErrHeader)) {
		return broken(err)
	}
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return broken(err)
	}
	if err := limit.err(); err != nil {
		return err
	}
	if files == 0 {
		return badArchive(g.op, "archive", "holds no file", nil)
	}
	return nil
}

func (g *givenArchive) begin(w io.Writer) (feed, error) {
	r, err := g.source.Open()
	if err != nil {
		return nil, g.unreadable(err)
	}
	return &fileFeed{given: g, to: w, file: newReading(g.file, r), block: pieces.Get().(*[piece]byte)}, nil
}

// fileFeed copies an archive.
type fileFeed struct {
	given *givenArchive
	to    io.Writer
	file  *reading
	block *[piece]byte
}

func (f *fileFeed) next() error {
	b, err := f.file.read(f.block[:])
	if changed, ok := err.(errChanged); ok { //nolint:errorlint // made here, and not wrapped
		return badArchive(f.given.op, "archive", "changed while it was sent: it "+string(changed), nil)
	}
	if err != nil {
		return badArchive(f.given.op, "archive", "cannot be read", err)
	}
	if len(b) == 0 {
		return io.EOF
	}
	_, err = f.to.Write(b)
	return err
}

func (f *fileFeed) close() {
	closeReader(f.file.r)
	pieces.Put(f.block)
}

// watched reads an archive up to the bound, and until the context ends.
type watched struct {
	ctx context.Context
	op  api.Op
	*reading
	size int64
	err  error // what ended it but for its end
}

func newWatched(ctx context.Context, op api.Op, r io.Reader) *watched {
	return &watched{ctx: ctx, op: op, reading: newReading(new(original), r)}
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
	case w.size > maxArchive:
		w.err = archiveTooLarge(w.op)
	case err != nil && err != io.EOF:
		w.err = badArchive(w.op, "archive", "cannot be read", err)
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, err
}
