package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/form"
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
// not an object is a field named payload. The agents receive the fields at the
// top level. Each file is a part named files, which they receive as the
// field_name of the file.
type Input struct {
	Message string
	// Payload is any value that encodes to JSON. Together with a message it
	// must encode to an object without the key message; together with files,
	// without the key files.
	Payload any
	Files   []File
	// FailFast makes the call fail at once with [connic.ErrRateLimited] if it
	// would have to wait, for one of [WithMaxInFlight] or after a 429. It is not
	// sent to the agents.
	FailFast bool
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

// content validates the input and builds its body. It sends nothing.
func (in *Input) content(ctx context.Context, op string) (*exchange.Body, error) {
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

func inMemory(body []byte) *exchange.Body {
	return &exchange.Body{ContentType: []string{"application/json"}, Encoded: body}
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

// form builds a multipart form.
func (in *Input) form(ctx context.Context, op string, keys map[string]json.RawMessage, alone json.RawMessage) (*exchange.Body, error) {
	f := form.New()
	if alone != nil {
		keys = map[string]json.RawMessage{"payload": alone}
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if name == "" || hasControl(name) {
			return nil, argument(op, "payload", "has a key that no form field can have: it is empty or has a control character")
		}
		value := string(keys[name])
		var s string
		if value[0] == '"' && json.Unmarshal(keys[name], &s) == nil {
			value = s
		}
		f.Field(name, value)
	}
	for i := range in.Files {
		file, err := in.Files[i].check(ctx, op)
		if err != nil {
			return nil, err
		}
		f.File("files", file)
	}
	f.End()
	return &exchange.Body{ContentType: []string{f.ContentType()}, Open: f.Open}, nil
}

// check validates a file. One with Open is read to its end to determine its
// size, because the service would silently drop one that is too large.
func (f *File) check(ctx context.Context, op string) (file form.File, err error) {
	bad := func(reason string) (form.File, error) { return file, argument(op, "file", reason) }
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
	file = form.File{Name: f.Name, Type: f.MIMEType, Size: int64(len(f.Data)), Open: f.Open}
	if f.Open == nil {
		file.Open = func() (io.Reader, error) { return bytes.NewReader(f.Data), nil }
	} else {
		file.Size = -1
		if file.Size, err = form.Measure(ctx, file, MaxFileBytes); err != nil {
			return bad("cannot be read: " + err.Error())
		}
	}
	if file.Size > MaxFileBytes {
		return bad("has more than 10 MB, and connectors drop such files")
	}
	return file, nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' })
}
