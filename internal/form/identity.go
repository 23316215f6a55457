package form

import (
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync/atomic"

	"github.com/connic-go/connic/internal/pack"
)

// ErrChanged is the error of a file whose content is not the one that its
// identity was derived from.
var ErrChanged = errors.New("the file changed after its StableID was derived")

// An Identity is derived from the content of a file.
type Identity struct {
	Sum     string // in hexadecimal
	file    File
	hash    func() hash.Hash
	changed atomic.Bool
}

// Identify reads a file to derive its identity, until ctx ends.
func Identify(ctx context.Context, file File, hash func() hash.Hash) (*Identity, error) {
	return pack.Within(ctx, func() (*Identity, error) {
		h := hash()
		err := file.each(ctx, func(block []byte) bool {
			h.Write(block)
			return true
		})
		return &Identity{Sum: hex.EncodeToString(h.Sum(nil)), file: file, hash: hash}, err
	})
}

// Measure returns how many bytes a file has, or a number above most if it has
// more. It reads the file, until ctx ends.
func Measure(ctx context.Context, file File, most int64) (int64, error) {
	return pack.Within(ctx, func() (size int64, err error) {
		err = file.each(ctx, func(block []byte) bool {
			size += int64(len(block))
			return size <= most
		})
		return size, err
	})
}

// each reads a file in blocks, until next returns false.
func (f *File) each(ctx context.Context, next func(block []byte) bool) error {
	r, err := f.content()
	if err != nil {
		return err
	}
	defer pack.Close(r)
	block := make([]byte, 64<<10)
	for empty := 0; ; {
		n, err := r.Read(block)
		switch empty++; {
		case !next(block[:n]) || err == io.EOF:
			return nil
		case err != nil:
			return err
		case n > 0:
			empty = 0
		case empty == maxEmptyReads:
			return io.ErrNoProgress
		case ctx != nil && ctx.Err() != nil: // nobody waits for it any more
			return ctx.Err()
		}
	}
}

// Changed reports whether the content was found to have changed.
func (i *Identity) Changed() bool { return i.changed.Load() }

// File returns the file. If its content has changed, it must not be sent as what
// it was: reading it fails with [ErrChanged] instead of io.EOF, and opening it
// fails from then on.
func (i *Identity) File() File {
	same := i.file
	same.exact = true
	same.Open = func() (io.Reader, error) {
		if i.Changed() {
			return nil, ErrChanged
		}
		r, err := i.file.content()
		if err != nil {
			return nil, err
		}
		return &identified{r, i, i.hash()}, nil
	}
	return same
}

type identified struct {
	io.Reader
	identity *Identity
	hash     hash.Hash
}

// Read implements [io.Reader].
func (r *identified) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.hash.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(r.hash.Sum(nil)) != r.identity.Sum || errors.Is(err, ErrShorter) {
		r.identity.changed.Store(true)
		return n, ErrChanged
	}
	return n, err
}

// Close implements [io.Closer].
func (r *identified) Close() error {
	pack.Close(r.Reader)
	return nil
}
