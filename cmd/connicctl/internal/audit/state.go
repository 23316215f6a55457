package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"
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
	p := conf.params
	p.From, p.To = time.Time{}, time.Time{} // the files may be moved
	query, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	fresh := &state{Query: string(query), Recent: make(map[string]time.Time), path: conf.state}
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
		return nil, fmt.Errorf("%s is not the state of an export: %w", conf.state, err)
	}
	if s.Query != fresh.Query {
		return nil, fmt.Errorf("%s belongs to an export with other flags: %s", conf.state, s.Query)
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
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// output receives the lines.
type output struct {
	w    io.Writer
	file *os.File // nil: standard output
	size int64
	disk bool // it is a file that can be synced
}

func openOutput(conf options, s *state, stdout io.Writer) (*output, error) {
	if conf.out == "" {
		return &output{w: stdout}, nil
	}
	// The log says who did what, so it is not for everyone.
	f, err := os.OpenFile(conf.out, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	o := &output{w: f, file: f}
	if info, failed := f.Stat(); failed == nil {
		o.disk = info.Mode().IsRegular()
	}
	if o.size, err = f.Seek(0, io.SeekEnd); err == nil {
		switch {
		case o.size > 0 && conf.state == "":
			err = fmt.Errorf("%s exists; use -state to resume an export", conf.out)
		case o.size > 0 && s.Size == 0 && !s.Open:
			err = fmt.Errorf("%s exists, and %s is new: use a state and an output that belong together", conf.out, conf.state)
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

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.size += int64(n)
	return n, err
}

func (o *output) sync() error {
	if !o.disk {
		return nil
	}
	return o.file.Sync()
}

func (o *output) close() error {
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}
