package connic

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"maps"
	"mime/multipart"
	"net/textproto"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/pack"
	"github.com/connic-go/connic/internal/route"
)

// A FileSource is a file that can be read more than once. [LocalFile], [FSFile]
// and [ReaderAtFile] return one.
type FileSource struct {
	// Name is the base name of the file. Its extension, in any letter case,
	// determines the type: .txt .md .markdown .csv .json .jsonl .yaml .yml .log
	// .pdf .png .jpg .jpeg .gif or .webp.
	Name string
	// Open opens the file at its start. It is called once to inspect the file,
	// once per attempt, and once more for a StableID. If the reader implements
	// io.Closer, it is closed. If it has a Stat, Len or Size method, the size
	// of the file is known and sent.
	Open func() (io.Reader, error)
}

// LocalFile returns the regular file on disk with the given name. Opening
// anything else, such as a named pipe, fails.
func LocalFile(name string) FileSource {
	return FileSource{Name: filepath.Base(name), Open: func() (io.Reader, error) { return pack.OpenFile(name) }}
}

// FSFile returns a regular file in a file system, such as an [embed.FS].
func FSFile(fsys fs.FS, name string) FileSource {
	return FileSource{Name: path.Base(name), Open: func() (io.Reader, error) { return pack.OpenFSFile(fsys, name) }}
}

// ReaderAtFile returns a file that consists of the first size bytes of r. Do
// not close r before the upload has returned.
func ReaderAtFile(name string, r io.ReaderAt, size int64) FileSource {
	return FileSource{Name: name, Open: func() (io.Reader, error) { return io.NewSectionReader(r, 0, size), nil }}
}

// fileTypes maps the extensions that the vendor lists to MIME types.
var fileTypes = map[string]string{
	".txt": "text/plain", ".log": "text/plain",
	".md": "text/markdown", ".markdown": "text/markdown",
	".csv":  "text/csv",
	".json": "application/json", ".jsonl": "application/jsonl",
	".yaml": "application/yaml", ".yml": "application/yaml",
	".pdf": "application/pdf",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
}

// fileForm is the multipart form of a file. Everything but the content of the
// file is in memory.
type fileForm struct {
	source       *FileSource
	size         int64 // of the file; -1 if unknown
	contentType  string
	before, tail []byte

	identity func() hash.Hash // returns the hash of a StableID with its prefix; nil without one
	id       string           // the id derived from the content, if identity is set
	changed  atomic.Bool      // the content has changed since
}

func badFile(reason string, cause error) *ArgumentError {
	if cause != nil {
		reason += ": " + cause.Error()
	}
	e := badKnowledge(api.KnowledgeUploadFile, "file", reason)
	e.err = cause
	return e
}

func fileType(name string) string { return fileTypes[strings.ToLower(path.Ext(name))] }

// newFileForm checks a file and determines its size.
func newFileForm(source *FileSource) (*fileForm, error) {
	switch {
	case source.Open == nil:
		return nil, badFile("has no Open function", nil)
	case route.Check(source.Name) != "":
		return nil, badFile("has a name that "+route.Check(source.Name), nil)
	case !utf8.ValidString(source.Name):
		return nil, badFile("has a name that is not valid UTF-8", nil)
	case fileType(source.Name) == "":
		return nil, badFile("has an ending that is none of "+strings.Join(slices.Sorted(maps.Keys(fileTypes)), " "), nil)
	}
	r, err := source.Open()
	if err != nil {
		return nil, badFile("cannot be opened", err)
	}
	defer pack.Close(r)
	form := &fileForm{source: source}
	if form.size, err = sizeOf(r); err != nil {
		return nil, err
	}
	if form.size == 0 {
		return nil, badFile("is empty", nil)
	}
	return form, nil
}

// sizeOf returns the number of bytes to read, or -1 if unknown.
func sizeOf(r io.Reader) (int64, error) {
	size, err := pack.SizeOf(r)
	switch {
	case errors.Is(err, pack.ErrDirectory):
		return 0, badFile(err.Error(), nil)
	case err != nil:
		return 0, badFile("cannot be read", err)
	}
	return size, nil
}

// stableID reads the file to derive its id.
func (f *fileForm) stableID(ctx context.Context, namespace string) (string, error) {
	r, err := f.content()
	if err != nil {
		return "", badFile("cannot be opened", err)
	}
	defer pack.Close(r)
	f.identity = func() hash.Hash { return identity("file", namespace, f.source.Name) }
	h := f.identity()
	block := make([]byte, 64<<10)
	for ctx != nil && ctx.Err() == nil { // an error of ctx is reported later
		n, err := r.Read(block)
		h.Write(block[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", badFile("cannot be read", err)
		}
	}
	f.id = hex.EncodeToString(h.Sum(nil))
	return f.id, nil
}

// identified reads a file whose id was derived from its content. If the content
// has changed, it must not be sent under that id: Read then returns an error
// instead of io.EOF.
type identified struct {
	io.Reader
	form *fileForm
	hash hash.Hash
}

var errOtherContent = errors.New("the file changed after its StableID was derived")

// Read implements [io.Reader].
func (i *identified) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	i.hash.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(i.hash.Sum(nil)) != i.form.id || errors.Is(err, errShorter) {
		i.form.changed.Store(true)
		return n, errOtherContent
	}
	return n, err
}

// Close implements [io.Closer].
func (i *identified) Close() error {
	pack.Close(i.Reader)
	return nil
}

// write builds the parts of the form before and after the content.
func (f *fileForm) write(namespace, entryID, metadata string) {
	var b bytes.Buffer // writes to it cannot fail
	w := multipart.NewWriter(&b)
	for _, field := range [...][2]string{{"namespace", namespace}, {"entry_id", entryID}, {"metadata", metadata}} {
		if field[1] != "" {
			_ = w.WriteField(field[0], field[1])
		}
	}
	_, _ = w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("file", f.source.Name)},
		"Content-Type":        {fileType(f.source.Name)},
	})
	head := b.Len()
	_ = w.Close()
	f.before, f.tail, f.contentType = b.Bytes()[:head:head], b.Bytes()[head:], w.FormDataContentType()
}

// content opens the file, limited to its original size, so that growth in the
// meantime does no harm.
func (f *fileForm) content() (io.Reader, error) {
	r, err := f.source.Open()
	if err != nil || f.size < 0 {
		return r, err
	}
	return &exactly{r, f.size}, nil
}

// open returns a new body.
func (f *fileForm) open() (io.Reader, error) {
	if f.changed.Load() {
		return nil, badFile("changed after its StableID was derived", nil)
	}
	file, err := f.content()
	if err != nil {
		return nil, badFile("cannot be opened", err)
	}
	if f.identity != nil {
		file = &identified{file, f, f.identity()}
	}
	body := &formBody{form: f, head: bytes.NewReader(f.before), file: file}
	if f.size < 0 {
		return struct{ io.ReadCloser }{body}, nil
	}
	return body, nil
}

// formBody reads the form. It may be closed during a Read.
type formBody struct {
	form *fileForm
	head *bytes.Reader // the part before the content, then the part after it
	file io.Reader
	done bool // the file was read to the end
}

// Len returns the length of the whole form.
func (b *formBody) Len() int { return len(b.form.before) + int(b.form.size) + len(b.form.tail) }

// Read implements [io.Reader].
func (b *formBody) Read(p []byte) (int, error) {
	if b.head.Len() > 0 || b.done {
		return b.head.Read(p)
	}
	n, err := b.file.Read(p)
	if err == io.EOF {
		b.done, err = true, nil
		b.head = bytes.NewReader(b.form.tail)
	}
	return n, err
}

// Close implements [io.Closer].
func (b *formBody) Close() error {
	pack.Close(b.file)
	return nil
}

// exactly reads a fixed number of bytes, and fails if there are fewer.
type exactly struct {
	r    io.Reader
	left int64
}

var errShorter = errors.New("the file became shorter while it was read")

// Read implements [io.Reader].
func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		return n, errShorter
	}
	return n, err
}

// Close implements [io.Closer].
func (e *exactly) Close() error {
	pack.Close(e.r)
	return nil
}
