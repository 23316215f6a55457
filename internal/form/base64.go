package form

import (
	"encoding/base64"
	"io"

	"github.com/connic-go/connic/internal/pack"
)

// base64Reader reads the base64 of what r reads.
type base64Reader struct {
	r     io.Reader
	raw   [3 << 10]byte
	kept  int // bytes of raw that wait for the rest of three
	text  [4 << 10]byte
	ready []byte // of text
	err   error
}

// Read implements [io.Reader].
func (b *base64Reader) Read(p []byte) (int, error) {
	if len(b.ready) == 0 && b.err == nil {
		n, err := b.r.Read(b.raw[b.kept:])
		n += b.kept
		whole := n - n%3
		if err == io.EOF { //nolint:errorlint // as readers return it
			whole = n
		}
		b.ready = b.text[:base64.StdEncoding.EncodedLen(whole)]
		base64.StdEncoding.Encode(b.ready, b.raw[:whole])
		b.kept, b.err = copy(b.raw[:], b.raw[whole:n]), err
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	if len(b.ready) == 0 {
		return n, b.err
	}
	return n, nil
}

// Close implements [io.Closer].
func (b *base64Reader) Close() error {
	pack.Close(b.r)
	return nil
}
