package connic

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/maphash"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// An archive is made while it is sent: nobody holds it whole, as a tar, a tar.gz
// or a text. Each attempt makes it anew, piece by piece as the transport reads,
// so that it needs no goroutine and leaves none behind.

// archive is a tar.gz that can be made more than once.
type archive struct {
	op   api.Op
	arg  string // how it is called in errors
	size int64  // of the tar.gz; -1 if it is not known before
	// begin starts to make it. What it makes goes to w.
	begin func(w io.Writer) (feed, error)
}

// feed makes a tar.gz.
type feed interface {
	// next makes a piece. It returns io.EOF when it has made the last one.
	next() error
	close()
}

// piece is how much a feed reads at a time.
const piece = 32 << 10

// pieces are the buffers for it, and gzips the compressors: each is 800 KiB.
var (
	pieces = sync.Pool{New: func() any { return new([piece]byte) }}
	gzips  = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
)

// contentSeed is that of the sums of contents, which never leave the process.
var contentSeed = maphash.MakeSeed()

// reading is a file that is being read, and compared with what it was before.
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

// errChanged is a file that is not what it was before.
type errChanged string

func (e errChanged) Error() string { return string(e) }

// read returns the next piece, empty at the end.
func (f *reading) read(block []byte) ([]byte, error) {
	if f.left == 0 {
		if n, _ := io.ReadFull(f.r, block[:1]); n > 0 {
			return nil, errChanged("became longer")
		}
		if !f.file.same(f.sum.Sum64()) {
			return nil, errChanged("has another content")
		}
		return nil, nil
	}
	n, err := io.ReadFull(f.r, block[:min(int64(len(block)), f.left)])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, errChanged("became shorter")
	}
	if err != nil {
		return nil, err
	}
	_, _ = f.sum.Write(block[:n])
	f.left -= int64(n)
	return block[:n], nil
}

// packed is when every file of an archive was last changed. Not 1970: zip, and
// so Python's wheels, know no time before 1980.
var packed = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// treeFeed packs a folder.
type treeFeed struct {
	tree  *tree
	left  []*original
	tar   *tar.Writer
	gzip  *gzip.Writer
	block *[piece]byte
	file  *reading // nil between two files
}

func (t *tree) begin(w io.Writer) (feed, error) {
	f := &treeFeed{tree: t, left: t.files, gzip: gzips.Get().(*gzip.Writer), block: pieces.Get().(*[piece]byte)}
	f.gzip.Reset(w)
	f.tar = tar.NewWriter(f.gzip)
	return f, nil
}

func (f *treeFeed) next() error {
	if f.file == nil {
		if len(f.left) == 0 {
			if err := errors.Join(f.tar.Close(), f.gzip.Close()); err != nil {
				return err
			}
			return io.EOF
		}
		return f.open()
	}
	b, err := f.file.read(f.block[:])
	if err != nil {
		return f.problem(f.file.file.name, err)
	}
	if len(b) > 0 {
		_, err = f.tar.Write(b)
		return err
	}
	closeReader(f.file.r)
	f.file = nil
	return nil
}

// open begins the next file.
func (f *treeFeed) open() error {
	next := f.left[0]
	f.left = f.left[1:]
	file, err := f.tree.fsys.Open(next.name)
	if err != nil {
		return f.problem(next.name, err)
	}
	f.file = newReading(next, file)
	info, err := file.Stat()
	switch {
	case err != nil:
		return f.problem(next.name, err)
	case !info.Mode().IsRegular() || info.Size() != next.size || !info.ModTime().Equal(next.modified):
		return f.problem(next.name, errChanged("is not what it was"))
	}
	return f.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: next.name, Size: next.size, Mode: 0o644, ModTime: packed,
	})
}

func (f *treeFeed) problem(name string, cause error) error {
	if changed, ok := cause.(errChanged); ok { //nolint:errorlint // made here, and not wrapped
		return badArchive(f.tree.op, "project", "changed while it was packed: "+ArchiveProblem{name, string(changed)}.String(), nil)
	}
	var named *fs.PathError
	if errors.As(cause, &named) { // it says which file
		return badArchive(f.tree.op, "project", "cannot be read", cause)
	}
	return badArchive(f.tree.op, "project", "cannot be read: "+name, cause)
}

func (f *treeFeed) close() {
	if f.file != nil {
		closeReader(f.file.r)
		f.file = nil
	}
	f.gzip.Reset(nil)
	gzips.Put(f.gzip)
	pieces.Put(f.block)
}

// filesBody is the body of a request with an archive: the JSON before it, the
// archive as base64, and the JSON after it. It may be closed while it is read.
type filesBody struct {
	archive *archive
	length  int64                      // of the whole; -1 if it is not known
	tail    func(digest []byte) string // what follows the archive

	mu     sync.Mutex
	feed   feed         // nil: there is no more
	ready  bytes.Buffer // to be read
	text   io.WriteCloser
	digest hash.Hash
	size   int64
	err    error
}

// errBodyClosed is what a body that was closed says when it is read.
var errBodyClosed = errors.New("the body was closed")

// upload is the body of a request. Tail is what follows the archive's text: its
// quote, more members, and the end of the object.
func (a *archive) upload(tail func(digest []byte) string) *upload {
	return &upload{contentType: contentJSON[0], open: func() (io.Reader, error) { return a.body(`{"files_data":"`, tail) }}
}

// body begins a body. Head and tail must be JSON that becomes one object around
// a text.
func (a *archive) body(head string, tail func(digest []byte) string) (io.Reader, error) {
	b := &filesBody{archive: a, length: -1, tail: tail, digest: sha256.New()}
	if a.size >= 0 {
		n := base64.StdEncoding.EncodedLen(int(a.size))
		b.length = int64(len(head) + n + len(tail(make([]byte, sha256.Size))))
	}
	b.text = base64.NewEncoder(base64.StdEncoding, &b.ready)
	b.ready.WriteString(head)
	var err error
	if b.feed, err = a.begin(b); err != nil {
		return nil, err
	}
	if b.length < 0 {
		return struct{ io.ReadCloser }{b}, nil // without Len
	}
	return b, nil
}

// Len is the length of the whole body.
func (b *filesBody) Len() int { return int(b.length) }

// Write takes a part of the archive from the feed.
func (b *filesBody) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	if b.size > maxArchive {
		return 0, archiveTooLarge(b.archive.op).argument()
	}
	_, _ = b.digest.Write(p)
	return b.text.Write(p)
}

// Read implements [io.Reader]. Its errors come before the end of the JSON, so
// that the service has nothing to execute.
func (b *filesBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.ready.Len() == 0 && b.feed != nil && b.err == nil {
		if b.err = b.feed.next(); errors.Is(b.err, io.EOF) {
			b.err = b.finish()
		}
		if b.err != nil {
			b.release()
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.ready.Read(p)
}

// finish writes what follows the archive.
func (b *filesBody) finish() error {
	if size := b.archive.size; size >= 0 && size != b.size {
		return badArchive(b.archive.op, b.archive.arg, "changed while it was sent", nil)
	}
	b.release()
	if err := b.text.Close(); err != nil {
		return err
	}
	b.ready.WriteString(b.tail(b.digest.Sum(nil)))
	return nil
}

// Close implements [io.Closer].
func (b *filesBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.release()
	if b.err == nil {
		b.err = errBodyClosed
	}
	return nil
}

func (b *filesBody) release() {
	if b.feed != nil {
		b.feed.close()
		b.feed = nil
	}
}

// shortHash is the files_hash of an archive.
func shortHash(digest []byte) string { return hex.EncodeToString(digest)[:12] }

// counter counts bytes, up to a bound.
type counter struct {
	op   api.Op
	size int64
}

// Write implements [io.Writer].
func (c *counter) Write(p []byte) (int, error) {
	if c.size += int64(len(p)); c.size > maxArchive {
		return 0, archiveTooLarge(c.op)
	}
	return len(p), nil
}

// measure makes the archive once, to learn its size.
func (a *archive) measure(ctx context.Context) error {
	c := counter{op: a.op}
	f, err := a.begin(&c)
	if err != nil {
		return err
	}
	defer f.close()
	for ctx != nil && ctx.Err() == nil { // what is wrong with ctx is said later
		switch err := f.next(); {
		case errors.Is(err, io.EOF):
			a.size = c.size
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}
