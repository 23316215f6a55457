package connic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/form"
)

// A File is a file passed to an agent: its content, or what opens it. See
// [TriggerFile].
type File struct {
	Name     string `json:"name" api:"words"`
	MIMEType string `json:"mime_type" api:"words"` // "text/plain"
	Data     []byte `json:"data" api:"words"`
	// Open opens the content, if Data is nil. The file is then streamed, and may
	// have at most 10 MB, the documented limit for files of connectors. Open is
	// called once to determine the size and once per attempt, and is used as that
	// of a [FileSource].
	Open func() (io.Reader, error) `json:"-"`
}

// MarshalJSON implements [json.Marshaler]. The data of a file without content is
// "", since agents refuse null. A file with Open and no Data is an error: only
// Files of a [TriggerRequest] are streamed.
func (f File) MarshalJSON() ([]byte, error) {
	type object File
	switch {
	case f.Data == nil && f.Open != nil:
		return nil, errors.New("the content of a file with Open belongs into TriggerRequest.Files")
	case f.Data == nil:
		f.Data = []byte{}
	}
	return json.Marshal(object(f))
}

// maxFileBytes limits files that are streamed.
const maxFileBytes = 10 << 20

// TriggerFile returns a file for a [TriggerRequest] that is read while it is
// sent:
//
//	connic.TriggerFile(connic.LocalFile("report.pdf"))
//
// The extension determines the MIME type, for the extensions that a [FileSource]
// lists; set that of any other file.
func TriggerFile(source FileSource) File {
	return File{Name: source.Name, MIMEType: fileType(source.Name), Open: source.Open}
}

// stream returns an encoded body with the content of the files that are streamed.
func (r TriggerRequest) stream(ctx context.Context, encoded []byte) (*upload, error) {
	// The files stand in the body in their order, each with its data as its last
	// member. The text of the key is found nowhere before: quotes in strings are
	// escaped.
	body, rest, key := form.NewText(), encoded, []byte(`"data":"`)
	for i := range r.Files {
		at := bytes.Index(rest, key) + len(key)
		body.Text(rest[:at])
		rest = rest[at:]
		if f := &r.Files[i]; streamed(*f) {
			file, err := f.measured(ctx)
			if err != nil {
				return nil, err
			}
			body.Base64(file)
		}
	}
	body.Text(rest)
	body.End()
	return &upload{contentType: contentJSON[0], open: func() (io.Reader, error) {
		content, err := body.Open()
		if err != nil {
			return nil, badTriggerFile("cannot be opened", err)
		}
		return content, nil
	}}, nil
}

func streamed(f File) bool { return f.Open != nil }

func badTriggerFile(reason string, cause error) *ArgumentError {
	if cause != nil {
		reason += ": " + cause.Error()
	}
	return &ArgumentError{Op: api.Table[api.AgentsTrigger].Name, Arg: "file", Reason: reason, err: cause}
}

// measured returns a file that is streamed, with its size.
func (f *File) measured(ctx context.Context) (file form.File, err error) {
	if f.Data != nil {
		return file, badTriggerFile("has both Data and Open", nil)
	}
	file = form.File{Name: f.Name, Type: f.MIMEType, Size: -1, Open: f.Open}
	file.Size, err = form.Measure(ctx, file, maxFileBytes)
	switch {
	case err != nil && ctx != nil && ctx.Err() != nil:
		op := &api.Table[api.AgentsTrigger]
		return file, &TransportError{Op: op.Name, Method: op.Method, Err: contextError(ctx)}
	case err != nil:
		return file, badTriggerFile("cannot be read", err)
	case file.Size > maxFileBytes:
		return file, badTriggerFile("has more than 10 MB", nil)
	}
	return file, nil
}
