package kb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/connic-go/connic"
)

// A state records, across processes, what is in the service: in a
// [connic.FileJournal] of its own records, by path, which keeps a second process
// away. A record is written before and after each upload, so that a process that
// dies leaves nothing in the service that the next one does not know of.
//
// UploadAll gets no journal. One says what was sent, once and for all: a file that
// changes back to an earlier content would be skipped. Uploads replace entries, so
// repeating one is harmless.
type state struct {
	where place
	file  connic.Journal // nil for none
	known map[string]record
	fresh bool // the file does not say yet where the knowledge is
}

// A place is the location of the knowledge. It has the empty key.
type place struct {
	Environment string `json:"environment"`
	Namespace   string `json:"namespace"`
}

// A record is what is known about a path.
type record struct {
	Path string `json:"-"` // the key
	// SHA256 is the hash of the accepted content. It is empty if an upload
	// began or failed, and the content in the service is not known.
	SHA256 string `json:"sha256,omitempty"`
	JobID  string `json:"job_id,omitempty"` // of an ingestion that has not been seen to end
	Gone   bool   `json:"gone,omitempty"`   // the entry was deleted
}

// openState opens the state file. A dry run creates none.
func openState(name string, where place, dry bool) (*state, error) {
	s := &state{where: where, known: make(map[string]record), fresh: true}
	if _, err := os.Stat(name); name == "" || dry && errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	file := connic.FileJournal(name)
	switch err := file.Open(context.Background()); {
	case errors.Is(err, connic.ErrJournalInUse):
		return nil, err
	case errors.As(err, new(*fs.PathError)):
		return nil, fmt.Errorf("the state file cannot be used, name another one with --state: %w", err)
	case err != nil:
		return nil, fmt.Errorf("the state file is none of this version: %w; without it, the entries in the service are asked", err)
	}
	s.file = file
	if err := s.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.close())
	}
	return s, nil
}

func (s *state) read() error {
	var bad error
	var was place
	err := s.file.All(context.Background(), func(path, text string) bool {
		if path == "" {
			s.fresh = false
			bad = json.Unmarshal([]byte(text), &was)
			return bad == nil
		}
		r := record{Path: path}
		if bad = json.Unmarshal([]byte(text), &r); bad == nil && !r.Gone {
			s.known[path] = r
		}
		return bad == nil
	})
	if s.fresh { // its first call has died: what is there has to be asked
		clear(s.known)
	}
	switch err = errors.Join(err, bad); {
	case err != nil, s.fresh, was == s.where:
		return err
	case was.Environment == "":
		return errors.New("is not a state file of this program")
	}
	return fmt.Errorf("is about namespace %q in environment %s, and not about %q in %s: name another file with --state", was.Namespace, was.Environment, s.where.Namespace, s.where.Environment)
}

// begin records what the service has said is there, and then where that is: if the
// process dies in between, the next one asks the service again.
func (s *state) begin() error {
	if s.file == nil || !s.fresh {
		return nil
	}
	if err := s.note(slices.Collect(maps.Values(s.known))...); err != nil {
		return err
	}
	text, err := json.Marshal(s.where)
	if err != nil {
		return err
	}
	return s.file.Put(context.Background(), map[string]string{"": string(text)})
}

// note records what is known about paths. It returns once that is on disk.
func (s *state) note(records ...record) error {
	texts := make(map[string]string, len(records))
	for _, r := range records {
		if r.Gone {
			delete(s.known, r.Path)
		} else {
			s.known[r.Path] = r
		}
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		texts[r.Path] = string(text)
	}
	if s.file == nil || len(texts) == 0 {
		return nil
	}
	return s.file.Put(context.Background(), texts)
}

func (s *state) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
