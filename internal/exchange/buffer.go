package exchange

import (
	"errors"
	"io"
	"sync"

	"github.com/connic-go/connic/internal/lenient"
)

// sizeHint estimates the size of a body from its declared length, or from the
// operation's last response.
func sizeHint(declared, learned, limit int64) int {
	const least = 1 << 10
	hint := max(learned, least)
	if declared >= 0 {
		// One more byte, so that the end is detected without growing.
		hint = max(min(declared, limit, max(learned, maxPooled))+1, least)
	}
	return int(min(hint, limit+1, 16<<20))
}

// buffer holds a body during decoding.
type buffer struct {
	b       []byte
	decoder lenient.Decoder // of b
}

// readFrom reads r to its end, or fails with a *TooLarge beyond the limit.
func (b *buffer) readFrom(r io.Reader, limit int64) error {
	for empty := 0; ; {
		if len(b.b) == cap(b.b) {
			size := min(2*int64(cap(b.b)), limit+1)
			grown := make([]byte, len(b.b), max(size, int64(len(b.b))+1))
			copy(grown, b.b)
			b.b = grown
		}
		// A reused buffer may be larger than the limit.
		room := b.b[len(b.b):min(int64(cap(b.b)), limit+1)]
		n, err := r.Read(room)
		if n < 0 || n > len(room) {
			return errors.New("the body was read by a reader that miscounts")
		}
		b.b = b.b[:len(b.b)+n]
		if int64(len(b.b)) > limit {
			return &TooLarge{limit}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if empty++; n > 0 {
			empty = 0
		} else if empty == maxEmptyReads {
			return io.ErrNoProgress
		}
	}
}

// maxEmptyReads is the maximum number of consecutive reads that return no data.
const maxEmptyReads = 100

// bufferPool pools buffers of moderate size.
type bufferPool struct{ pool sync.Pool }

var bodies bufferPool

const maxPooled = 1 << 20

func (p *bufferPool) get(size int) *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		if cap(b.b) >= size {
			return b
		}
		b.b = make([]byte, 0, size)
		return b
	}
	return &buffer{b: make([]byte, 0, size)}
}

func (p *bufferPool) put(b *buffer) {
	if cap(b.b) <= maxPooled {
		b.b = b.b[:0]
		b.decoder.Reset(nil)
		p.pool.Put(b)
	}
}
