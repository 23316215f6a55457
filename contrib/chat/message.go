package chat

import (
	"encoding/json"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// A File is a file in a message. Only its Data is supported, since a message is
// a single frame of the connection.
type File = connector.File

// A Message is sent to the agents of the connector. It must have text, files,
// or both.
type Message struct {
	Text string
	// Context is any value that encodes to JSON. It is sent alongside the text.
	Context any
	// Files are required by agents that are linked with files_required: such an
	// agent does not answer a message without a file.
	Files []File
	// Agents names the agents whose answers are awaited. If it is empty, they
	// are those that the service has named: see [Session.Agents]. All agents of
	// a connector answer each message, which costs money; the answers of the
	// others are discarded.
	Agents []string
	// FailFast makes [Session.Send] return [ErrBusy] at once if it would have to
	// wait for the end of an earlier reply. It is not sent.
	FailFast bool
}

type wireFile struct {
	Name     string `json:"name"`
	MIMEType string `json:"mime_type"`
	Data     []byte `json:"data"` // base64
	Size     int    `json:"size"`
}

func argument(arg, reason string) *connic.ArgumentError {
	return &connic.ArgumentError{Op: "chat.Send", Arg: arg, Reason: reason}
}

func (m *Message) encode(id string) ([]byte, error) {
	type payload struct {
		Message string          `json:"message"`
		Context json.RawMessage `json:"context,omitempty"`
		Files   []wireFile      `json:"files,omitempty"`
	}
	p := payload{Message: m.Text}
	if m.Text == "" && len(m.Files) == 0 {
		return nil, argument("message", "is empty: it has neither text nor files")
	}
	if m.Context != nil {
		var err error
		if p.Context, err = json.Marshal(m.Context); err != nil {
			return nil, argument("context", "cannot be encoded as JSON: "+err.Error())
		}
	}
	for _, f := range m.Files {
		switch {
		case f.Open != nil:
			return nil, argument("file", "must be opened; a chat supports files with Data only")
		case f.Name == "" || f.MIMEType == "":
			return nil, argument("file", "has no name, or no MIME type")
		case !connector.FileTypeSupported(f.MIMEType):
			return nil, argument("file", "has a type that connectors drop; they take images, PDF, text, CSV, JSON, XML, Office, ODF and EPUB")
		case len(f.Data) > connector.MaxFileBytes:
			return nil, argument("file", "has more than 10 MB, and connectors drop such files")
		}
		p.Files = append(p.Files, wireFile{f.Name, f.MIMEType, f.Data, len(f.Data)})
	}
	data, err := json.Marshal(struct {
		Type    string  `json:"type"`
		ID      string  `json:"id"`
		Payload payload `json:"payload"`
	}{"message", id, p})
	if err != nil {
		return nil, argument("message", "cannot be encoded as JSON: "+err.Error())
	}
	return data, nil
}
