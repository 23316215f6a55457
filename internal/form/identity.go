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
		r, err := file.content()
		if err != nil {
			return nil, err
		}
		defer pack.Close(r)
		h := hash()
		block := make([]byte, 64<<10)
		for empty := 0; ; {
			n, err := r.Read(block)
			h.Write(block[:n])
			switch empty++; {
			case err == io.EOF:
				return &Identity{Sum: hex.EncodeToString(h.Sum(nil)), file: file, hash: hash}, nil
			case err != nil:
				return nil, err
			case n > 0:
				empty = 0
			case empty == maxEmptyReads:
				return nil, io.ErrNoProgress
			}
			if ctx != nil && ctx.Err() != nil { // nobody waits for it any more
				return nil, ctx.Err()
			}
		}
	})
}

// maxEmptyReads is the maximum number of consecutive reads that return no data.
const maxEmptyReads = 100

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
