package kb

import (
	"context"
	"io"
	"io/fs"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

// interruptible is a file system whose operations end with a context: a file of
// a network file system may hang, or deliver nothing for ever.
type interruptible struct {
	fs.FS
	ctx context.Context
}

// Open implements [fs.FS].
func (i interruptible) Open(name string) (fs.File, error) {
	f, err := cli.Await(i.ctx, func() (fs.File, error) { return i.FS.Open(name) }, func(f fs.File) { _ = f.Close() })
	if err != nil {
		return nil, err
	}
	return &interruptibleFile{File: f, ctx: i.ctx}, nil
}

// ReadDir implements [fs.ReadDirFS].
func (i interruptible) ReadDir(name string) ([]fs.DirEntry, error) {
	return cli.Await(i.ctx, func() ([]fs.DirEntry, error) { return fs.ReadDir(i.FS, name) }, nil)
}

type interruptibleFile struct {
	fs.File
	ctx   context.Context
	block []byte // nil while a read that was given up may write to it
	empty int
}

// maxEmpty is how many reads in a row may return nothing.
const maxEmpty = 100

// Read implements [io.Reader].
func (f *interruptibleFile) Read(p []byte) (int, error) {
	block := f.block
	if block == nil {
		block = make([]byte, 64<<10)
	}
	f.block = nil
	block = block[:min(len(p), cap(block))]
	type result struct {
		n   int
		err error
	}
	r, err := cli.Await(f.ctx, func() (result, error) {
		n, err := f.File.Read(block)
		return result{n, err}, nil
	}, nil)
	if err != nil {
		return 0, err
	}
	f.block = block
	if f.empty++; r.n > 0 || r.err != nil {
		f.empty = 0
	}
	if f.empty >= maxEmpty {
		return 0, io.ErrNoProgress
	}
	return copy(p, block[:r.n]), r.err
}
