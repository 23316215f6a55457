package chat

import (
	"bytes"
	"encoding/json"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/internal/lenient"
)

// A File is a file in a message. Only its Data is supported, since a message is
// a single frame of the connection.
type File = connector.File

// A Message is sent to the agent. It must have text, files, or both.
type Message struct {
	Text string
	// Context is any value that encodes to JSON. It is sent alongside the text.
	Context any
	Files   []File
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

// event is a message from the service.
type event struct {
	kind string
	id   string
	keys map[string]json.RawMessage
	// inner holds the keys of a nested payload or data object. Keys are looked
	// up in both.
	inner map[string]json.RawMessage
}

// parseEvent parses a message; one that is not an object has no kind.
func parseEvent(data []byte) event {
	var e event
	if json.Unmarshal(data, &e.keys) != nil {
		return event{}
	}
	for _, name := range [...]string{"payload", "data"} {
		if e.inner == nil {
			_ = json.Unmarshal(e.keys[name], &e.inner) // any other value stays what it is
		}
	}
	e.kind, e.id = text(e.keys["type"]), text(e.keys["id"])
	return e
}

// text returns the first of the keys that is present and not null.
func (e *event) text(names ...string) (string, bool) {
	for _, name := range names {
		for _, keys := range [...]map[string]json.RawMessage{e.keys, e.inner} {
			if raw := bytes.TrimSpace(keys[name]); len(raw) > 0 && string(raw) != "null" {
				return text(raw), true
			}
		}
	}
	return "", false
}

// text returns the content of a JSON string, the explanation in an object, or
// else the JSON text.
func text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	var s string
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func (e *event) tokens() (u connic.TokenUsage) {
	raw, ok := e.text("token_usage", "usage")
	if !ok || lenient.Unmarshal([]byte(raw), &u) != nil {
		return connic.TokenUsage{}
	}
	return u
}
