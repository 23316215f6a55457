package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// A state records, across processes, which files were ingested. It is a file of
// JSON lines. The first line says where the knowledge is; of the others, the
// last line for a path counts. A line is written before and after each upload,
// so that a process that dies leaves nothing in the service that the next one
// does not know of. Uploads replace entries, so repeating one is harmless, and
// the lines need not be synced to disk.
type state struct {
	name  string // of the file; empty for none
	where place
	file  *os.File // nil before begin
	known map[string]record
	fresh bool // there was no file
}

// A place is the location of the knowledge.
type place struct {
	Environment string `json:"environment"`
	Namespace   string `json:"namespace"`
}

// A record is what is known about a path.
type record struct {
	Path string `json:"path"`
	// SHA256 is the hash of the accepted content. It is empty if an upload
	// began or failed, and the content in the service is not known.
	SHA256 string `json:"sha256,omitempty"`
	JobID  string `json:"job_id,omitempty"` // of an ingestion that has not been seen to end
	Gone   bool   `json:"gone,omitempty"`   // the entry was deleted
}

// openState reads the state file. It writes nothing; see begin.
func openState(name string, where place) (*state, error) {
	s := &state{name: name, where: where, known: make(map[string]record), fresh: true}
	if name == "" {
		return s, nil
	}
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	s.fresh = false
	if err == nil {
		err = s.read(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (s *state) read(raw []byte) error {
	lines := bytes.Split(raw, []byte("\n"))
	var was place
	if err := json.Unmarshal(lines[0], &was); err != nil || was.Environment == "" {
		return errors.New("is not a state file of this program")
	}
	if was != s.where {
		return fmt.Errorf("is about namespace %q in environment %s, and not about %q in %s: name another file with -state", was.Namespace, was.Environment, s.where.Namespace, s.where.Environment)
	}
	for i, line := range lines[1:] {
		var r record
		switch err := json.Unmarshal(line, &r); {
		case len(bytes.TrimSpace(line)) == 0:
		case err != nil && i == len(lines)-2: // the process ended while writing
		case err != nil || r.Path == "":
			return fmt.Errorf("line %d is not a record", i+2)
		case r.Gone:
			delete(s.known, r.Path)
		default:
			s.known[r.Path] = r
		}
	}
	return nil
}

// begin rewrites the file with one line per path, and opens it for appending.
func (s *state) begin() error {
	if s.name == "" {
		return nil
	}
	part := s.name + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	e := json.NewEncoder(w)
	err = e.Encode(s.where)
	for _, path := range slices.Sorted(maps.Keys(s.known)) {
		err = cmp.Or(err, e.Encode(s.known[path]))
	}
	// Not every system can rename an open file.
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err == nil {
		err = os.Rename(part, s.name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	s.file, err = os.OpenFile(s.name, os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

// note records what is known about a path.
func (s *state) note(r record) error {
	if r.Gone {
		delete(s.known, r.Path)
	} else {
		s.known[r.Path] = r
	}
	if s.file == nil {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = s.file.Write(append(line, '\n'))
	return err
}

func (s *state) close() error {
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Sync(), s.file.Close())
}
