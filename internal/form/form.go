// Package form streams multipart forms with files. What stands between the
// contents of the files is in memory, the contents never are.
package form

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/multipart"
	"net/textproto"
	"sync"

	"github.com/connic-go/connic/internal/pack"
)

// ErrShorter is the error of a file that has fewer bytes than its size.
var ErrShorter = errors.New("the file became shorter while it was read")

// A File is a file of a form.
type File struct {
	Name, Type string
	Size       int64 // -1 if unknown; a file that has grown is cut
	Open       func() (io.Reader, error)

	exact bool // what Open returns fails unless it has exactly Size bytes
}

// content opens a file, limited to its size.
func (f *File) content() (io.Reader, error) {
	r, err := f.Open()
	if err == nil && r == nil {
		err = errors.New("there is nothing to read")
	}
	if err != nil || f.exact || f.Size < 0 {
		return r, err
	}
	return &exactly{r, f.Size}, nil
}

// A Form is a form. Create one with [New], add what it contains, and call
// [Form.End].
type Form struct {
	buf     bytes.Buffer // writes to it cannot fail
	writer  *multipart.Writer
	parts   []part
	few     [2]part // storage of parts
	length  int64
	unsized bool // the size of a file is unknown
}

// part is text, followed by a file if there is one.
type part struct {
	text []byte
	file *File
}

// New returns an empty form.
func New() *Form {
	f := new(Form)
	f.parts = f.few[:0]
	f.writer = multipart.NewWriter(&f.buf)
	return f
}

// ContentType returns the value of the header.
func (f *Form) ContentType() string { return f.writer.FormDataContentType() }

// NewText returns an empty body that is no form: what is added stands in it as
// it is.
func NewText() *Form {
	f := new(Form)
	f.parts = f.few[:0]
	return f
}

// Text adds text to a body of [NewText].
func (f *Form) Text(text []byte) { f.buf.Write(text) }

// Base64 adds the content of a file to a body of [NewText], in base64.
func (f *Form) Base64(file File) {
	encoded := File{Size: file.Size, exact: true, Open: func() (io.Reader, error) {
		r, err := file.content()
		if err != nil {
			return nil, err
		}
		return &base64Reader{r: r}, nil
	}}
	if file.Size >= 0 {
		encoded.Size = int64(base64.StdEncoding.EncodedLen(int(file.Size)))
	}
	f.length += max(0, encoded.Size)
	f.unsized = f.unsized || file.Size < 0
	f.add(&encoded)
}

// Field adds a field.
func (f *Form) Field(name, value string) { _ = f.writer.WriteField(name, value) }

// File adds a file as the named field. Its type is sent as it is: a service may
// drop what has none.
func (f *Form) File(field string, file File) {
	_, _ = f.writer.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition(field, file.Name)},
		"Content-Type":        {file.Type},
	})
	f.length += max(0, file.Size)
	f.unsized = f.unsized || file.Size < 0
	f.add(&file)
}

// End ends the form.
func (f *Form) End() {
	if f.writer != nil {
		_ = f.writer.Close()
	}
	f.add(nil)
}

func (f *Form) add(file *File) {
	text := bytes.Clone(f.buf.Bytes())
	f.buf.Reset()
	f.length += int64(len(text))
	f.parts = append(f.parts, part{text, file})
}

// Open returns a new body. It opens the first file, and each other one when it
// is reached; at most one is open. The body has a Len unless the size of a file
// is unknown.
func (f *Form) Open() (io.Reader, error) {
	b := &body{parts: f.parts, length: int(f.length)}
	if file := f.parts[0].file; file != nil {
		if _, err := b.open(file); err != nil {
			return nil, err
		}
	}
	if f.unsized {
		return struct{ io.ReadCloser }{b}, nil
	}
	return b, nil
}

// body reads the parts of a form in turn.
type body struct {
	parts  []part
	text   int  // bytes read of the first part's text
	ended  bool // the first part's file was read to its end
	empty  int  // consecutive reads of it that returned nothing
	length int
	err    error

	mu     sync.Mutex // net/http may close a body during a Read
	file   io.Reader  // of the first part, nil before it is opened
	closed bool
}

// Len returns the length of the whole form.
func (b *body) Len() int { return b.length }

// open returns the file of the first part.
func (b *body) open(file *File) (io.Reader, error) {
	b.mu.Lock()
	r := b.file
	b.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := file.content()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		pack.Close(r)
		return nil, io.ErrClosedPipe
	}
	b.file = r
	return r, nil
}

// closeFile closes the file that is open, if there is one. If last is set, no
// other is opened.
func (b *body) closeFile(last bool) {
	b.mu.Lock()
	r := b.file
	b.file, b.closed = nil, b.closed || last
	b.mu.Unlock()
	if r != nil {
		pack.Close(r)
	}
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	for b.err == nil && len(p) > 0 {
		n, err := b.read(p)
		if b.err = err; n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

func (b *body) read(p []byte) (int, error) {
	if len(b.parts) == 0 {
		return 0, io.EOF
	}
	first := &b.parts[0]
	if b.text < len(first.text) {
		n := copy(p, first.text[b.text:])
		b.text += n
		return n, nil
	}
	if first.file != nil && !b.ended {
		r, err := b.open(first.file)
		if err != nil {
			return 0, err
		}
		n, err := r.Read(p)
		if b.empty++; n > 0 {
			b.empty = 0
		}
		switch {
		case err == io.EOF: //nolint:errorlint // as readers return it
			b.ended, err = true, nil
		case err == nil && b.empty == maxEmptyReads:
			err = io.ErrNoProgress
		}
		return n, err
	}
	if b.parts = b.parts[1:]; b.ended && len(b.parts) > 1 { // another file follows
		b.closeFile(false)
	}
	b.text, b.ended, b.empty = 0, false, 0
	return 0, nil
}

// Close implements [io.Closer].
func (b *body) Close() error {
	b.closeFile(true)
	return nil
}

// exactly reads a fixed number of bytes, and fails if there are fewer.
type exactly struct {
	r    io.Reader
	left int64
}

// Read implements [io.Reader].
func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		return n, ErrShorter
	}
	return n, err
}

// Close implements [io.Closer].
func (e *exactly) Close() error {
	pack.Close(e.r)
	return nil
}

// maxEmptyReads is the maximum number of consecutive reads that return no data.
const maxEmptyReads = 100
