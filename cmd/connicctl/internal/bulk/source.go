package bulk

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path/filepath"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

// A source has the inputs.
type source struct {
	from   io.Reader
	name   string
	key    string // the member with the key, in lines that are payloads
	files  fs.FS  // nil without a folder
	total  int    // of inputs; 0 if it is not known
	bad    chan error
	opened []io.Closer
}

// open opens a file of inputs, or standard input if the name is -. It checks a
// regular file.
func open(a *cli.App, name, key, folder string) (s *source, err error) {
	s = &source{from: a.Stdin, name: name, key: key, bad: make(chan error, 1)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if folder != "" {
		root, err := os.OpenRoot(folder) // inputs cannot name what is outside
		if err != nil {
			return s, cli.Usage("the folder of the files: %w", err)
		}
		s.files, s.opened = root.FS(), append(s.opened, root)
	}
	if name == "-" {
		s.name = "standard input"
		return s, nil
	}
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return s, cli.Usage("the inputs cannot be read: %w", err)
	}
	s.from, s.opened = file, append(s.opened, file)
	info, err := file.Stat()
	switch {
	case err == nil && info.IsDir():
		return s, cli.Usage("the inputs cannot be read: %s is a folder", name)
	case err != nil || !info.Mode().IsRegular():
		return s, nil // a pipe or a device, which is read once
	}
	s.all(func(string, connic.TriggerRequest) bool {
		s.total++
		return true
	})
	if err := s.failed(); err != nil {
		return s, cli.Usage("%w", err)
	}
	_, err = file.Seek(0, io.SeekStart)
	return s, err
}

// close closes what was opened, which was only read.
func (s *source) close() {
	for _, c := range s.opened {
		_ = c.Close()
	}
}

// failed returns why not all inputs were read, or nil.
func (s *source) failed() error {
	select {
	case err := <-s.bad:
		return err
	default:
		return nil
	}
}

// all yields the inputs. An error ends it: see failed.
func (s *source) all(yield func(string, connic.TriggerRequest) bool) {
	lines := bufio.NewScanner(s.from)
	lines.Buffer(nil, cli.MaxInput)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(line) == 0 {
			continue
		}
		key, request, err := s.parse(line)
		if err != nil {
			s.bad <- fmt.Errorf("%s, line %d: %w", s.name, n, err)
			return
		}
		if !yield(key, request) {
			return
		}
	}
	if err := lines.Err(); err != nil {
		s.bad <- fmt.Errorf("%s, line %d: %w", s.name, n+1, err)
	}
}

// parse returns the input on a line.
func (s *source) parse(line []byte) (key string, request connic.TriggerRequest, err error) {
	var in struct {
		Key     json.RawMessage   `json:"key"`
		Message string            `json:"message"`
		Payload json.RawMessage   `json:"payload"`
		Files   []json.RawMessage `json:"files"`
	}
	if s.key != "" {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(line, &members); err != nil {
			return "", request, fmt.Errorf("it is no JSON object: %w", err)
		}
		in.Key, in.Payload = members[s.key], bytes.Clone(line)
	} else {
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			return "", request, fmt.Errorf("it is no object with key, message, payload and files (for payloads, use --key): %w", err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return "", request, errors.New("it has more than one JSON value")
		}
	}
	if key, err = keyOf(in.Key); err != nil {
		return "", request, err
	}
	request.Message = in.Message
	if len(in.Payload) > 0 && string(in.Payload) != "null" {
		request.Payload = in.Payload
	}
	for _, raw := range in.Files {
		file, err := s.file(raw)
		if err != nil {
			return "", request, err
		}
		request.Files = append(request.Files, file)
	}
	if request.Message == "" && request.Payload == nil && len(request.Files) == 0 {
		return "", request, errors.New("it has neither message nor payload nor files")
	}
	return key, request, nil
}

// keyOf returns a key, which may be a number.
func keyOf(raw json.RawMessage) (string, error) {
	var text string
	var number json.Number
	switch {
	case len(raw) == 0:
		return "", errors.New("it has no key")
	case raw[0] == '"' && json.Unmarshal(raw, &text) == nil && text != "":
		return text, nil
	case raw[0] != '"' && json.Unmarshal(raw, &number) == nil && number != "":
		return number.String(), nil
	}
	return "", errors.New("the key is no text and no number")
}

// file returns a file of an input.
func (s *source) file(raw json.RawMessage) (file connic.File, err error) {
	var name string
	if json.Unmarshal(raw, &name) != nil {
		if err := json.Unmarshal(raw, &file); err != nil || file.Data == nil {
			return file, errors.New("a file is neither a name nor an object with name, mime_type and data")
		}
		return file, nil
	}
	if s.files == nil {
		return file, fmt.Errorf("it names the file %q: use --files", name)
	}
	if _, err := fs.Stat(s.files, name); err != nil {
		return file, err
	}
	file = connic.TriggerFile(connic.FSFile(s.files, name))
	file.MIMEType = cmp.Or(file.MIMEType, mime.TypeByExtension(filepath.Ext(name)), "application/octet-stream")
	return file, nil
}
