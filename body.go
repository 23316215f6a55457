package connic

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/connic-go/connic/internal/lenient"
)

// requestBody is the body of a call's requests.
type requestBody struct {
	contentType []string
	encoded     []byte
	open        func() (io.Reader, error) // in place of encoded
}

// set makes the body for an attempt. While parts of a body that is made as it is
// sent are taken, the attempt is alive, however long it takes.
func (b *requestBody) set(r *http.Request, end *deadline) (err error) {
	r.GetBody = b.reader
	if r.Body, err = b.reader(); err != nil {
		return err
	}
	defer func() {
		if b.open != nil {
			r.Body = &liveBody{r.Body, end}
			r.GetBody = nil // net/http must not send it again by itself
		}
	}()
	if b.open == nil {
		r.ContentLength = int64(len(b.encoded))
	} else if sized, ok := r.Body.(interface{ Len() int }); ok {
		r.ContentLength = int64(sized.Len())
	}
	return nil
}

func (b *requestBody) reader() (io.ReadCloser, error) {
	if b.open == nil {
		body := new(memoryBody)
		body.Reset(b.encoded)
		return body, nil
	}
	content, err := b.open()
	if err != nil {
		return nil, err
	}
	if closer, ok := content.(io.ReadCloser); ok {
		return closer, nil
	}
	if sized, ok := content.(sizedReader); ok {
		return sizedBody{sized}, nil
	}
	return io.NopCloser(content), nil
}

// memoryBody is a body that lies in memory.
type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

// liveBody tells its attempt when a part of it is taken.
type liveBody struct {
	io.ReadCloser
	end *deadline
}

func (b *liveBody) Read(p []byte) (int, error) {
	b.end.alive()
	return b.ReadCloser.Read(p)
}

type sizedReader interface {
	io.Reader
	Len() int
}

// sizedBody is a body of a known size that needs no closing.
type sizedBody struct{ sizedReader }

func (sizedBody) Close() error { return nil }

// sizeHint guesses the size of a body: what it says, or what the operation's
// last one had.
func sizeHint(declared, learned, limit int64) int {
	const least = 1 << 10
	hint := max(learned, least)
	if declared >= 0 {
		// One byte more, so that the end is seen without growing.
		hint = max(min(declared, limit)+1, least)
	}
	return int(min(hint, limit+1, 16<<20))
}

// buffer holds a body while it is decoded.
type buffer struct {
	b       []byte
	decoder lenient.Decoder // of it
}

// readFrom reads r to its end, or fails with ErrTooLarge past the limit.
func (b *buffer) readFrom(r io.Reader, limit int64) error {
	for {
		if len(b.b) == cap(b.b) {
			size := min(2*int64(cap(b.b)), limit+1)
			grown := make([]byte, len(b.b), max(size, int64(len(b.b))+1))
			copy(grown, b.b)
			b.b = grown
		}
		// A buffer that was used before may be larger than the limit.
		n, err := r.Read(b.b[len(b.b):min(int64(cap(b.b)), limit+1)])
		b.b = b.b[:len(b.b)+n]
		if int64(len(b.b)) > limit {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// bufferPool keeps buffers of a moderate size.
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
