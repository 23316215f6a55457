package exchange

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/connic-go/connic/internal/lenient"
)

// A Body is the body of the requests of an exchange.
type Body struct {
	ContentType []string
	Encoded     []byte
	Open        func() (io.Reader, error) // instead of Encoded
}

// set sets the body for an attempt. A streamed body keeps the attempt alive
// while it is being read, however long that takes.
func (b *Body) set(r *http.Request, end *deadline) (err error) {
	r.GetBody = b.reader
	if r.Body, err = b.reader(); err != nil {
		return err
	}
	defer func() {
		if b.Open != nil {
			r.Body = &liveBody{r.Body, end}
			r.GetBody = nil // net/http must not repeat the request by itself
		}
	}()
	if b.Open == nil {
		r.ContentLength = int64(len(b.Encoded))
	} else if sized, ok := r.Body.(interface{ Len() int }); ok {
		r.ContentLength = int64(sized.Len())
	}
	return nil
}

func (b *Body) reader() (io.ReadCloser, error) {
	if b.Open == nil {
		body := new(memoryBody)
		body.Reset(b.Encoded)
		return body, nil
	}
	content, err := b.Open()
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

// memoryBody is a body in memory.
type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

// liveBody notifies its attempt whenever it is read.
type liveBody struct {
	io.ReadCloser
	end *deadline
}

func (b *liveBody) Read(p []byte) (n int, err error) {
	b.end.alive()
	returned := false
	defer func() {
		if !returned {
			n, err = 0, b.end.runaway(recover())
		}
	}()
	n, err = b.ReadCloser.Read(p)
	returned = true
	return n, err
}

func (b *liveBody) Close() (err error) {
	returned := false
	defer func() {
		if !returned {
			err = b.end.runaway(recover())
		}
	}()
	err = b.ReadCloser.Close()
	returned = true
	return err
}

// errRunaway is the cause of an attempt whose body is read by code that does
// not return.
var errRunaway = errors.New("the code that reads the body did not return: it panicked or called runtime.Goexit")

// runaway records that code did not return, and ends the attempt. panicked is
// the value it panicked with, or nil if it called runtime.Goexit.
func (d *deadline) runaway(panicked any) error {
	d.mu.Lock()
	d.ran, d.panicked = true, panicked
	d.mu.Unlock()
	d.abort()
	return errRunaway
}

type sizedReader interface {
	io.Reader
	Len() int
}

// sizedBody is a body of known size that need not be closed.
type sizedBody struct{ sizedReader }

func (sizedBody) Close() error { return nil }

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
		n, err := r.Read(b.b[len(b.b):min(int64(cap(b.b)), limit+1)])
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
