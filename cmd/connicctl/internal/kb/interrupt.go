package kb

import (
	"context"
	"io"
	"io/fs"
)

// interruptible is a file system whose operations end with a context: a file of
// a network file system may hang, or deliver nothing for ever.
type interruptible struct {
	fs.FS
	ctx context.Context
}

// Open implements [fs.FS].
func (i interruptible) Open(name string) (fs.File, error) {
	f, err := await(i.ctx, func() (fs.File, error) { return i.FS.Open(name) }, func(f fs.File) { _ = f.Close() })
	if err != nil {
		return nil, err
	}
	return &interruptibleFile{File: f, ctx: i.ctx}, nil
}

// ReadDir implements [fs.ReadDirFS].
func (i interruptible) ReadDir(name string) ([]fs.DirEntry, error) {
	return await(i.ctx, func() ([]fs.DirEntry, error) { return fs.ReadDir(i.FS, name) }, func([]fs.DirEntry) {})
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
	r, err := await(f.ctx, func() (result, error) {
		n, err := f.File.Read(block)
		return result{n, err}, nil
	}, func(result) {})
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

// await calls f, and returns earlier if ctx ends. A late result is passed to
// drop.
func await[T any](ctx context.Context, f func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result)
	go func() {
		value, err := f()
		select {
		case results <- result{value, err}:
		case <-ctx.Done():
			if err == nil {
				drop(value)
			}
		}
	}()
	var none T
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
