package pack

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"time"
)

// packed is the modification time of every file in an archive. It is not in
// 1970, because zip, and therefore Python's wheel format, cannot represent
// times before 1980.
var packed = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// A treeFeed packs a folder.
type treeFeed struct {
	tree  *tree
	root  folder
	left  []*original
	tar   *tar.Writer
	gzip  *gzip.Writer
	block *[piece]byte
	file  *reading // nil between files
	taken int64    // bytes of files so far, at least
}

func (t *tree) begin(w io.Writer) (feed, error) {
	root, err := openProject(t.fsys)
	if err != nil {
		return nil, unreadable("", err)
	}
	f := &treeFeed{tree: t, root: root, left: t.files, gzip: gzips.Get().(*gzip.Writer), block: pieces.Get().(*[piece]byte)}
	f.gzip.Reset(w)
	f.tar = tar.NewWriter(f.gzip)
	return f, nil
}

func (f *treeFeed) next() error {
	switch {
	case f.file == nil && len(f.left) > 0:
		return f.open()
	case f.file == nil:
		if err := errors.Join(f.tar.Close(), f.gzip.Close()); err != nil {
			return err
		}
		if err := f.tree.unchanged(); err != nil {
			return err
		}
		return io.EOF
	}
	b, err := f.file.read(f.block[:])
	if err != nil {
		return unreadable(f.file.file.name, err)
	}
	if len(b) > 0 {
		f.taken += int64(len(b))
		_, err = f.tar.Write(b)
		return err
	}
	Close(f.file.r)
	f.file = nil
	return nil
}

// open opens the next file.
func (f *treeFeed) open() error {
	next := f.left[0]
	f.left = f.left[1:]
	file, info, err := openIn(f.root, next.name)
	if err != nil {
		return unreadable(next.name, err)
	}
	f.file = newReading(next, file)
	if info.Size() != next.size || !info.ModTime().Equal(next.modified) || linked(info) {
		return changed(next.name, "is not what it was")
	}
	return f.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: next.name, Size: next.size, Mode: 0o644, ModTime: packed,
	})
}

func (f *treeFeed) close() {
	if f.file != nil {
		Close(f.file.r)
		f.file = nil
	}
	f.root.close()
	f.gzip.Reset(nil)
	gzips.Put(f.gzip)
	pieces.Put(f.block)
}

// A counter counts bytes, up to a limit.
type counter struct{ size int64 }

// Write implements [io.Writer].
func (c *counter) Write(p []byte) (int, error) {
	if c.size += int64(len(p)); c.size > MaxArchive {
		return 0, tooLarge()
	}
	return len(p), nil
}

// held is the maximum that a compressor holds back: 16 Ki tokens of up to 6
// bytes, and its buffers.
const held = 128 << 10

// measure creates the archive to verify that it is within the limit. It stops
// at the end, or as soon as the archive is smaller than its files by the excess
// of the assumed upper bound.
func (a *Archive) measure(ctx context.Context, excess int64) error {
	var c counter
	f, err := a.begin(&c)
	if err != nil {
		return err
	}
	defer f.close()
	for ctx.Err() == nil { // the call reports that its context ended
		switch err := f.next(); {
		case errors.Is(err, io.EOF):
			a.size = c.size
			return nil
		case err != nil:
			return err
		}
		if tree, ok := f.(*treeFeed); ok && tree.taken-c.size-held >= excess {
			return nil
		}
	}
	return nil
}
