package exchange

import (
	"bytes"
	"io"
	"net/http"
)

// A Body is the body of the requests of an exchange.
type Body struct {
	ContentType []string
	Encoded     []byte
	// Open, if not nil, is called for each attempt instead. The reader may have a
	// method Len that returns its size. It is closed if it is an io.Closer.
	Open func() (io.Reader, error)

	most int64 // bytes that an attempt has taken of a reader
}

// set sets the body for an attempt. A streamed body keeps the attempt alive
// while it is being read, however long that takes.
func (b *Body) set(r *http.Request, end *deadline) error {
	if b.Open == nil {
		r.Body, r.ContentLength = end.encoded(), int64(len(b.Encoded))
	} else {
		reader, err := b.Open()
		if err != nil {
			return err
		}
		if sized, ok := reader.(interface{ Len() int }); ok {
			r.ContentLength = int64(sized.Len())
		}
		end.stream = &stream{reader: reader, end: end}
		r.Body = streamBody{end.stream}
	}
	// Over HTTP/2 net/http must not repeat the request, and says why it would
	// only if it cannot.
	if r.URL.Scheme != "https" || end.engine.kept.protocol.Load() == protocolHTTP1 {
		r.GetBody = end.again
	}
	return nil
}

// again returns the body once more within an attempt, if it is certain that
// nothing was sent: net/http asks for it after it has found that a kept connection
// was closed.
func (d *deadline) again() (io.ReadCloser, error) {
	if !d.collected().reopen() {
		return nil, errResent
	}
	if d.stream == nil {
		d.taken.Store(true)
		return d.encoded(), nil
	}
	if d.taken.Load() {
		return nil, errResent
	}
	return streamBody{d.stream}, nil
}

func (d *deadline) encoded() io.ReadCloser {
	body := &memoryBody{end: d}
	body.content.Reset(d.Body.Encoded)
	return body
}

// memoryBody is a body in memory. It has no method that takes from it unnoticed.
type memoryBody struct {
	content bytes.Reader
	end     *deadline
}

func (b *memoryBody) Read(p []byte) (int, error) {
	b.end.taken.Store(true)
	return b.content.Read(p)
}

func (b *memoryBody) WriteTo(w io.Writer) (int64, error) {
	b.end.taken.Store(true)
	return b.content.WriteTo(w)
}

func (*memoryBody) Close() error { return nil }

// emptyBody is a body that net/http does not know to be empty.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }
