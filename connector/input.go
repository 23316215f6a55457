package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"
)

// A File is a file for an agent. If Open is set instead of Data, the file is
// streamed and never held in memory as a whole.
type File struct {
	Name     string
	MIMEType string // such as "text/plain"
	Data     []byte
	// Open opens the content, if Data is nil. It is called once to determine
	// the size, on a goroutine of its own, and once per attempt. If the reader
	// implements io.Closer, it is closed. A call whose context ends does not
	// wait for a reader that blocks.
	Open func() (io.Reader, error)
}

// MaxFileBytes is the documented size limit per file, 10 MB. The service
// silently drops larger files, so they are refused before anything is sent.
const MaxFileBytes = 10 << 20

// An Input is what the agents of a connector receive: a message, a payload,
// files, or any combination of these.
//
// Without files it is sent as JSON: the keys of the payload are at the top
// level, beside message, and a payload that is not an object is sent by itself.
// With files it is sent as a multipart form: each key of the payload is a
// field, with strings sent verbatim and other values as JSON; a payload that is
// not an object is a field named payload; and each file is a part named files.
// The names of these parts are assumed.
type Input struct {
	Message string
	// Payload is any value that encodes to JSON. Together with a message it
	// must encode to an object without the key message; together with files,
	// without the key files.
	Payload any
	Files   []File
}

// fileTypes are the MIME types that the vendor lists in prose, other than those
// that begin with one of filePrefixes.
var fileTypes = map[string]bool{
	"application/pdf": true, "application/json": true, "application/xml": true, "application/csv": true,
	"application/msword": true, "application/vnd.ms-excel": true, "application/vnd.ms-powerpoint": true,
	"application/epub+zip": true,
}

var filePrefixes = [...]string{
	"image/", "text/",
	"application/vnd.openxmlformats-officedocument.", // Office
	"application/vnd.oasis.opendocument.",            // ODF
}

// FileTypeSupported reports whether connectors accept files of a MIME type,
// ignoring its parameters. Connectors silently drop other files.
func FileTypeSupported(mimeType string) bool {
	kind, _, err := mime.ParseMediaType(mimeType)
	if err != nil {
		return false
	}
	for _, prefix := range filePrefixes {
		if strings.HasPrefix(kind, prefix) {
			return true
		}
	}
	return fileTypes[kind]
}

// content is a request body that can be read more than once. Everything except
// files is in memory.
type content struct {
	contentType string
	size        int64
	parts       []part
}

// part is text, followed by a file if there is one.
type part struct {
	text []byte
	file *File
	size int64 // of the file
}

// content validates the input and builds its body. It sends nothing.
func (in *Input) content(ctx context.Context, op string) (*content, error) {
	if in.Message == "" && in.Payload == nil && len(in.Files) == 0 {
		return nil, argument(op, "input", "is empty: it has neither message nor payload nor files")
	}
	if in.Payload == nil && len(in.Files) == 0 {
		body, err := json.Marshal(struct {
			Message string `json:"message"`
		}{in.Message})
		if err != nil { // a string always encodes
			return nil, argument(op, "message", "cannot be encoded as JSON: "+err.Error())
		}
		return inMemory(body), nil
	}
	keys, alone, err := in.payload(op)
	if err != nil {
		return nil, err
	}
	if len(in.Files) > 0 {
		return in.form(ctx, op, keys, alone)
	}
	body := alone
	if body == nil {
		if body, err = json.Marshal(keys); err != nil { // every value is already JSON
			return nil, argument(op, "input", "cannot be encoded as JSON: "+err.Error())
		}
	}
	return inMemory(body), nil
}

func inMemory(body []byte) *content {
	return &content{contentType: "application/json", size: int64(len(body)), parts: []part{{text: body}}}
}

// payload returns the top-level keys of the input, or the JSON of a payload
// that is not an object.
func (in *Input) payload(op string) (keys map[string]json.RawMessage, alone json.RawMessage, err error) {
	keys = make(map[string]json.RawMessage)
	if in.Payload != nil {
		raw, err := json.Marshal(in.Payload)
		if err != nil {
			return nil, nil, argument(op, "payload", "cannot be encoded as JSON: "+err.Error())
		}
		if raw[0] != '{' {
			if in.Message != "" {
				return nil, nil, argument(op, "payload", "does not encode to a JSON object, which a message requires")
			}
			return nil, raw, nil
		}
		if err := json.Unmarshal(raw, &keys); err != nil {
			return nil, nil, argument(op, "payload", "cannot be encoded as JSON: "+err.Error())
		}
	}
	if _, taken := keys["files"]; taken && len(in.Files) > 0 {
		return nil, nil, argument(op, "payload", "has a key files, and the input has files too")
	}
	if in.Message != "" {
		if _, taken := keys["message"]; taken {
			return nil, nil, argument(op, "payload", "has a key message, and the input has a message too")
		}
		if keys["message"], err = json.Marshal(in.Message); err != nil {
			return nil, nil, argument(op, "message", "cannot be encoded as JSON: "+err.Error())
		}
	}
	return keys, nil, nil
}

// form builds a multipart form. mime/multipart writes the text between the
// files, and no content.
func (in *Input) form(ctx context.Context, op string, keys map[string]json.RawMessage, alone json.RawMessage) (*content, error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	c := &content{contentType: w.FormDataContentType()}
	if alone != nil {
		keys = map[string]json.RawMessage{"payload": alone}
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if name == "" || hasControl(name) {
			return nil, argument(op, "payload", "has a key that no form field can have: it is empty or has a control character")
		}
		value := []byte(keys[name])
		var s string
		if value[0] == '"' && json.Unmarshal(value, &s) == nil {
			value = []byte(s)
		}
		field, err := w.CreateFormField(name)
		if err == nil {
			_, err = field.Write(value)
		}
		if err != nil { // writes to a bytes.Buffer cannot fail
			return nil, argument(op, "payload", "cannot be encoded as a form: "+err.Error())
		}
	}
	for i := range in.Files {
		f := &in.Files[i]
		size, err := check(ctx, op, f)
		if err != nil {
			return nil, err
		}
		_, err = w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {multipart.FileContentDisposition("files", f.Name)},
			// CreateFormFile would set application/octet-stream, which the
			// service drops.
			"Content-Type": {f.MIMEType},
		})
		if err != nil {
			return nil, argument(op, "file", "cannot be encoded as a form: "+err.Error())
		}
		c.add(part{text: bytes.Clone(buf.Bytes()), file: f, size: size})
		buf.Reset()
	}
	if err := w.Close(); err != nil {
		return nil, argument(op, "input", "cannot be encoded as a form: "+err.Error())
	}
	c.add(part{text: buf.Bytes()})
	return c, nil
}

func (c *content) add(p part) {
	c.parts = append(c.parts, p)
	c.size += int64(len(p.text)) + p.size
}

// check validates a file and returns its size. A file with Open is read to its
// end to determine it, because the service would silently drop one that is too
// large.
func check(ctx context.Context, op string, f *File) (int64, error) {
	bad := func(reason string) (int64, error) { return 0, argument(op, "file", reason) }
	switch {
	case f.Name == "":
		return bad("has no name")
	case hasControl(f.Name) || !utf8.ValidString(f.Name):
		return bad("has a name with a control character, or one that is not UTF-8")
	case f.MIMEType == "":
		return bad("has no MIME type")
	case hasControl(f.MIMEType) || !FileTypeSupported(f.MIMEType):
		return bad("has a type that connectors drop; they take images, PDF, text, CSV, JSON, XML, Office, ODF and EPUB")
	case f.Open != nil && f.Data != nil:
		return bad("has both Data and Open")
	}
	size := int64(len(f.Data))
	if f.Open != nil {
		var err error
		if size, err = f.measure(ctx); err != nil {
			return bad("cannot be read: " + err.Error())
		}
	}
	if size > MaxFileBytes {
		return bad("has more than 10 MB, and connectors drop such files")
	}
	return size, nil
}

// measure reads a file to its end, or to one byte more than it may have. If the
// context ends meanwhile, it returns, even if the reader does not.
func (f *File) measure(ctx context.Context) (int64, error) {
	type outcome struct {
		size     int64
		err      error
		panicked any
	}
	done := make(chan outcome, 1)
	go func() {
		b := &body{parts: []part{{file: f, size: MaxFileBytes + 1}}}
		o := outcome{err: errors.New("the code that reads it called runtime.Goexit")}
		defer func() {
			o.panicked = recover()
			done <- o
		}()
		defer b.closeFile()
		if o.size, o.err = io.Copy(io.Discard, b); errors.Is(o.err, errChanged) {
			o.err = nil // it is smaller
		}
	}()
	select {
	case o := <-done:
		if o.panicked != nil {
			panic(o.panicked) //nolint:forbidigo // where the caller can recover from it
		}
		return o.size, o.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' })
}

// body reads the parts of a content in turn. It has no goroutine, and at most
// one file open.
type body struct {
	parts []part
	size  int // of all parts
	text  int // bytes read of the first part's text

	file  io.Reader // of the first part, nil before it is opened
	left  int64     // bytes of that file left to read
	empty int       // reads of it that returned nothing
	err   error
}

// Len returns the size of the whole content.
func (b *body) Len() int { return b.size }

var (
	// errChanged is reported for a file that has changed since it was checked.
	errChanged = errors.New("the file has changed since it was checked")
	errNothing = errors.New("there is nothing to read")
)

// maxEmptyReads is the maximum number of consecutive reads of a file that
// return nothing.
const maxEmptyReads = 100

func (b *body) Read(p []byte) (int, error) {
	for b.err == nil && len(p) > 0 {
		n, err := b.read(p)
		if err != nil {
			b.err = err
			b.closeFile()
		}
		if n > 0 {
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
	switch {
	case b.text < len(first.text):
		n := copy(p, first.text[b.text:])
		b.text += n
		return n, nil
	case first.file == nil:
		b.next()
		return 0, nil
	case b.file == nil:
		return 0, b.open(first)
	case b.left == 0:
		b.closeFile()
		b.next()
		return 0, nil
	}
	n, err := b.file.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if b.empty++; n > 0 {
		b.empty = 0
	}
	switch {
	case errors.Is(err, io.EOF) && b.left > 0:
		err = errChanged
	case errors.Is(err, io.EOF):
		err = nil
	case err == nil && b.empty == maxEmptyReads:
		err = io.ErrNoProgress
	}
	return n, err
}

// open opens the file of a part.
func (b *body) open(p *part) error {
	b.left, b.empty = p.size, 0
	if p.file.Open == nil {
		b.file = bytes.NewReader(p.file.Data)
		return nil
	}
	r, err := p.file.Open()
	if err != nil {
		return fmt.Errorf("it cannot be opened: %w", err)
	}
	if b.file = r; r == nil {
		return errNothing
	}
	return nil
}

func (b *body) next() { b.parts, b.text = b.parts[1:], 0 }

func (b *body) closeFile() {
	if c, ok := b.file.(io.Closer); ok {
		_ = c.Close()
	}
	b.file = nil
}

// Close implements [io.Closer]. net/http calls it when it stops reading.
func (b *body) Close() error {
	b.closeFile()
	if b.err == nil {
		b.err = io.ErrClosedPipe
	}
	return nil
}
