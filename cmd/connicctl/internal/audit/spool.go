package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/connic-go/connic"
)

// A spool is a file of entries in the order in which the service lists them. It
// keeps only their identities in memory. With a state file, it survives an
// interrupted export, at the path of the state with the extension .part.
type spool struct {
	file  *os.File
	w     *bufio.Writer
	size  int64
	head  head
	keep  bool
	items []item
	keys  map[string]bool
}

type item struct {
	key    string
	at     time.Time
	offset int64
	length int
}

// A head is the first line of a spool: it identifies the export. A spool that
// began earlier is of use, since the time may be given as one before now.
type head struct {
	Query string    `json:"query"`
	Since time.Time `json:"since"`
	To    time.Time `json:"to"`
}

func openSpool(state string, h head) (*spool, error) {
	s := &spool{head: h, keep: state != "", keys: make(map[string]bool)}
	var err error
	if !s.keep {
		if s.file, err = os.CreateTemp("", "connicctl-*.part"); err != nil {
			return nil, err
		}
	} else {
		if s.file, err = os.OpenFile(state+".part", os.O_CREATE|os.O_RDWR, 0o600); err != nil { //nolint:gosec // the user names the file
			return nil, err
		}
		if err := s.recover(); err != nil {
			return nil, errors.Join(err, s.file.Close())
		}
	}
	s.w = bufio.NewWriterSize(s.file, 64<<10)
	if s.size == 0 {
		raw, err := json.Marshal(h)
		if err == nil {
			_, err = s.w.Write(append(raw, '\n'))
		}
		if err != nil {
			return nil, errors.Join(err, s.file.Close())
		}
		s.size = int64(len(raw)) + 1
	}
	return s, nil
}

// recover reads the complete and usable part of an interrupted export.
func (s *spool) recover() error {
	r := bufio.NewReader(s.file)
	first, err := r.ReadBytes('\n')
	var h head
	if err == nil && json.Unmarshal(first, &h) == nil && h.Query == s.head.Query && h.To.Equal(s.head.To) && !h.Since.After(s.head.Since) {
		s.size = int64(len(first))
		for {
			line, err := r.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				break // an incomplete line, or none
			}
			if err != nil {
				return err
			}
			var e connic.AuditEntry
			if json.Unmarshal(line, &e) != nil {
				break
			}
			s.note(keyOf(&e, line), e.Timestamp, len(line))
		}
	}
	if err := s.file.Truncate(s.size); err != nil {
		return err
	}
	_, err = s.file.Seek(s.size, io.SeekStart)
	return err
}

func (s *spool) note(key string, at time.Time, length int) {
	s.keys[key] = true
	s.items = append(s.items, item{key, at, s.size, length})
	s.size += int64(length)
}

func (s *spool) add(line []byte, key string, at time.Time) error {
	_, err := s.w.Write(line)
	s.note(key, at, len(line))
	return err
}

// reached returns a time after which all entries are in the spool, or the zero
// time: the latest of the last page. The times of single entries may be wrong.
func (s *spool) reached() (at time.Time) {
	const page = 100
	for _, i := range s.items[max(0, len(s.items)-page):] {
		if i.at.After(at) {
			at = i.at
		}
	}
	return at
}

// early reports whether an entry is from before the export.
func (s *spool) early(at time.Time) bool { return !at.IsZero() && at.Before(s.head.Since) }

// line returns the line of an entry.
func (s *spool) line(i item) ([]byte, error) {
	if err := s.w.Flush(); err != nil {
		return nil, err
	}
	line := make([]byte, i.length)
	_, err := s.file.ReadAt(line, i.offset)
	return line, err
}

// close closes the spool, and removes it unless the next export can use it.
func (s *spool) close(done bool) error {
	err := errors.Join(s.w.Flush(), s.file.Close())
	if done || len(s.items) == 0 || !s.keep {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	return err
}
