package pack

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"hash/maphash"
	"io"
	"sync"
	"time"
)

// An Archive is a tar.gz that can be created more than once. It is safe for
// concurrent use: the transport may still use one attempt when the next one
// begins.
type Archive struct {
	source  string // its name in errors
	size    int64  // of the tar.gz; -1 if not known in advance
	leftOut []string
	// begin starts creating it and writes the output to w.
	begin func(w io.Writer) (feed, error)

	mu      sync.Mutex
	current *body // the most recently opened body
	failure error // the error that ended the current body
}

// A feed creates a tar.gz.
type feed interface {
	// next creates the next piece. It returns io.EOF after the last one.
	next() error
	close()
}

// A Form is what surrounds an archive in a request body.
type Form struct {
	Head string
	// Tail returns what follows the archive, given the SHA-256 of the tar.gz.
	// Its length must not depend on it.
	Tail func(digest []byte) string
	Text bool // send the archive as base64
}

// LeftOut returns what was left out of a project folder: the first 1,000 paths
// that were found, in order. Folders end with a slash, and their contents are not
// listed.
func (a *Archive) LeftOut() []string { return a.leftOut }

// piece is the number of bytes that a feed reads at a time.
const piece = 32 << 10

// pieces pools the buffers for it, and gzips the compressors, of 800 KiB each.
var (
	pieces = sync.Pool{New: func() any { return new([piece]byte) }}
	gzips  = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
)

// contentSeed is the seed for the hashes of contents, which never leave the
// process.
var contentSeed = maphash.MakeSeed()

// An original is a file as it was first read. Several attempts may read it at
// the same time.
type original struct {
	name     string
	size     int64
	modified time.Time

	mu    sync.Mutex
	known bool
	sum   uint64 // of the content, once it has been read to its end
}

// same records the hash of the content, or compares it with the recorded one.
func (o *original) same(sum uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.known {
		o.known, o.sum = true, sum
	}
	return o.sum == sum
}

// A reading is a file that is being read and compared with its original.
type reading struct {
	file *original
	r    io.Reader
	left int64
	sum  maphash.Hash
}

func newReading(file *original, r io.Reader) *reading {
	f := &reading{file: file, r: r, left: file.size}
	f.sum.SetSeed(contentSeed)
	return f
}

// changedError is returned for a file that has changed.
type changedError string

func (e changedError) Error() string { return string(e) }

// read returns the next piece, which is empty at the end.
func (f *reading) read(block []byte) ([]byte, error) {
	if f.left == 0 {
		if n, _ := io.ReadFull(f.r, block[:1]); n > 0 {
			return nil, changedError("became longer")
		}
		if !f.file.same(f.sum.Sum64()) {
			return nil, changedError("has another content")
		}
		return nil, nil
	}
	n, err := io.ReadFull(f.r, block[:min(int64(len(block)), f.left)])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, changedError("became shorter")
	}
	if err != nil {
		return nil, err
	}
	_, _ = f.sum.Write(block[:n])
	f.left -= int64(n)
	return block[:n], nil
}

// A body is a request body that contains an archive. It may be closed during a
// Read.
type body struct {
	archive *Archive
	form    Form
	length  int64 // total length; -1 if not known

	mu     sync.Mutex
	feed   feed         // nil at the end
	ready  bytes.Buffer // to be read
	block  *[piece]byte // of the archive: gzip writes 240 bytes at a time
	held   int          // bytes in block
	digest hash.Hash
	size   int64
	err    error
}

// errClosed is returned when a closed body is read.
var errClosed = errors.New("the body was closed")

// Open returns a new body. It has a Len method if its length is known.
func (a *Archive) Open(form Form) (io.Reader, error) {
	b := &body{archive: a, form: form, length: -1, digest: sha256.New()}
	a.mu.Lock()
	a.current, a.failure = b, nil
	a.mu.Unlock()
	if a.size >= 0 {
		n := int(a.size)
		if form.Text {
			n = base64.StdEncoding.EncodedLen(n)
		}
		b.length = int64(len(form.Head) + n + len(form.Tail(make([]byte, sha256.Size))))
	}
	b.ready.WriteString(form.Head)
	var err error
	if b.feed, err = a.begin(b); err != nil {
		return nil, err
	}
	b.block = pieces.Get().(*[piece]byte)
	if b.length < 0 {
		return struct{ io.ReadCloser }{b}, nil // without Len
	}
	return b, nil
}

// Failure returns why the most recently opened body could not be completed, or
// nil. The recipient has then received an incomplete request, which it does not
// execute.
func (a *Archive) Failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failure
}

func (a *Archive) failed(b *body, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == b {
		a.failure = err
	}
}

// Len returns the length of the body.
func (b *body) Len() int { return int(b.length) }

// Write receives a piece of the archive from the feed.
func (b *body) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	if b.size > MaxArchive {
		return 0, tooLarge()
	}
	for rest := p; len(rest) > 0; {
		n := copy(b.block[b.held:], rest)
		rest = rest[n:]
		if b.held += n; b.held == len(b.block) {
			b.flush(len(b.block) / 3 * 3)
		}
	}
	return len(p), nil
}

// flush encodes n bytes of the block, a multiple of 3 except at the end.
func (b *body) flush(n int) {
	_, _ = b.digest.Write(b.block[:n])
	if b.form.Text {
		b.ready.Grow(base64.StdEncoding.EncodedLen(n))
		b.ready.Write(base64.StdEncoding.AppendEncode(b.ready.AvailableBuffer(), b.block[:n]))
	} else {
		b.ready.Write(b.block[:n])
	}
	b.held = copy(b.block[:], b.block[n:b.held])
}

// Read implements [io.Reader]. Errors are returned before the tail, so that the
// service has nothing to execute.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.ready.Len() == 0 && b.feed != nil && b.err == nil {
		if b.err = b.feed.next(); errors.Is(b.err, io.EOF) {
			b.err = b.finish()
		}
		if b.err != nil {
			b.release()
			b.archive.failed(b, b.err)
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.ready.Read(p)
}

// finish writes what follows the archive.
func (b *body) finish() error {
	if size := b.archive.size; size >= 0 && size != b.size {
		return &SourceError{Source: b.archive.source, Reason: "changed while it was sent", Changed: true}
	}
	b.flush(b.held)
	b.release()
	b.ready.WriteString(b.form.Tail(b.digest.Sum(nil)))
	return nil
}

// Close implements [io.Closer].
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.release()
	if b.err == nil {
		b.err = errClosed
	}
	return nil
}

func (b *body) release() {
	if b.feed != nil {
		b.feed.close()
		pieces.Put(b.block)
		b.feed, b.block = nil, nil
	}
}
