package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"time"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

// overlap is how far each export reaches back before the newest entry of the
// previous one: entries are written by several machines, and some arrive late.
const overlap = 2 * time.Minute

// A state is the progress of an export. It is not saved if its path is empty.
type state struct {
	// Query identifies the export by what was requested.
	Query string `json:"query"`
	// Through is the time of the newest exported entry. Entries that are dated
	// ahead of the local clock do not count: they are written by several
	// machines, and one with a wrong clock would end the export until then.
	Through time.Time `json:"through,omitzero"`
	// Recent holds the entries that the next export will receive again.
	Recent map[string]time.Time `json:"recent,omitempty"`
	// Size is the length of the complete part of the output. Open is set while
	// the output is being written. Anything after Size was then written by a
	// process that was killed, and will be written again.
	Size int64 `json:"size"`
	Open bool  `json:"open,omitempty"`

	path string
}

func openState(conf options) (*state, error) {
	p := conf.params // but for its times: the next export may have others
	query := fmt.Sprintf("%q", []string{conf.service, p.Action, p.Actor, p.ResourceType, p.ResourceID})
	fresh := &state{Query: query, Recent: make(map[string]time.Time), path: conf.state}
	if conf.state == "" {
		return fresh, nil
	}
	raw, err := os.ReadFile(conf.state)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, err
	}
	s := &state{path: conf.state}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, cli.Usage("%s is not the state of an export: %w", conf.state, err)
	}
	if s.Query != fresh.Query {
		return nil, cli.Usage("%s belongs to an export of another project or with other flags", conf.state)
	}
	if s.Recent == nil {
		s.Recent = make(map[string]time.Time)
	}
	return s, nil
}

// seen records an exported entry, also when it is received again: it may have
// been ahead of the local clock the first time.
func (s *state) seen(key string, at time.Time) {
	s.Recent[key] = at
	if at.After(s.Through) && !at.After(time.Now().Add(overlap)) {
		s.Through = at
	}
}

// save replaces the file atomically.
func (s *state) save() error {
	if s.path == "" {
		return nil
	}
	horizon := s.Through.Add(-2 * overlap)
	maps.DeleteFunc(s.Recent, func(_ string, at time.Time) bool { return !at.IsZero() && at.Before(horizon) })
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return cli.Save(s.path, 0o600, func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
}

// An output receives the lines.
type output struct {
	emit func(line []byte) error // if there is no file
	file *os.File
	w    *bufio.Writer
	size int64
	disk bool // the file can be synced
}

func openOutput(conf options, s *state, emit func([]byte) error) (*output, error) {
	if conf.file == "" {
		return &output{emit: emit}, nil
	}
	// The log says who did what, so it is not for everyone.
	f, err := os.OpenFile(conf.file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	o := &output{file: f, w: bufio.NewWriterSize(f, 64<<10)}
	if info, failed := f.Stat(); failed == nil {
		o.disk = info.Mode().IsRegular()
	}
	if o.size, err = f.Seek(0, io.SeekEnd); err == nil {
		switch {
		case o.size > 0 && s.Size == 0 && !s.Open:
			err = cli.Usage("%s exists, and %s is new: use a state and a file that belong together", conf.file, conf.state)
		case s.Open && o.size > s.Size:
			if err = f.Truncate(s.Size); err == nil {
				o.size, err = f.Seek(s.Size, io.SeekStart)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return o, nil
}

func (o *output) write(line []byte) error {
	if o.file == nil {
		return o.emit(line)
	}
	n, err := o.w.Write(line)
	o.size += int64(n)
	return err
}

func (o *output) flush() error {
	if o.file == nil {
		return nil
	}
	return o.w.Flush()
}

// sync has the lines survive a crash of the machine.
func (o *output) sync() error {
	if err := o.flush(); err != nil || !o.disk {
		return err
	}
	return o.file.Sync()
}

func (o *output) close() error {
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}
