package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// A journal records which runs and evaluations were requested, so that a later
// process does not request and pay for them again. A line is written to disk
// before the request is sent, and another one once its response has arrived. A
// nil journal records nothing.
type journal struct {
	mu    sync.Mutex
	file  *os.File
	known map[string]*record // by the name of the case
}

// A record is what is known about a case. Each line of the journal is one, and
// the last line of a case counts.
type record struct {
	Case   string    `json:"case"`
	Digest string    `json:"digest"` // of the input, which may have changed since
	Began  time.Time `json:"began"`  // the trigger was about to be sent
	Marker string    `json:"marker,omitempty"`
	RunID  string    `json:"run_id,omitempty"`
	// NotSent is set if the trigger turned out not to have been executed.
	NotSent bool `json:"not_sent,omitempty"`
	// Judged is when the evaluation was about to be requested.
	Judged     time.Time `json:"judged,omitzero"`
	Evaluation string    `json:"evaluation_id,omitempty"`
}

// openJournal opens or creates the journal at path.
func openJournal(path string) (*journal, error) {
	j := &journal{known: make(map[string]*record)}
	old, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		defer func() { _ = old.Close() }()
		lines := bufio.NewScanner(old)
		for n := 1; lines.Scan(); n++ {
			r := new(record)
			if err := json.Unmarshal(lines.Bytes(), r); err != nil {
				if !lines.Scan() { // the process ended while writing the last line
					break
				}
				return nil, fmt.Errorf("%s: line %d is not a record: %w", path, n, err)
			}
			j.known[r.Case] = r
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	// Rewrite the journal, so that an incomplete line does no harm.
	part := path + ".part"
	if j.file, err = os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	for _, r := range j.known {
		if err := j.write(r); err != nil {
			return nil, errors.Join(err, j.file.Close())
		}
	}
	// Not every system can rename an open file.
	if err := errors.Join(j.file.Sync(), j.file.Close(), os.Rename(part, path)); err != nil {
		return nil, err
	}
	j.file, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	return j, err
}

// recall returns what is known about a case in its current form.
func (j *journal) recall(c *Case) record {
	if j == nil {
		return record{}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.known[c.Name]; r != nil && r.Digest == c.digest && !r.NotSent {
		return *r
	}
	return record{}
}

// note records what is known about a case. It returns once that is on disk.
func (j *journal) note(c *Case, r record) error {
	if j == nil {
		return nil
	}
	r.Case, r.Digest = c.Name, c.digest
	j.mu.Lock()
	defer j.mu.Unlock()
	j.known[r.Case] = &r
	if err := j.write(&r); err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) write(r *record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = j.file.Write(append(raw, '\n'))
	return err
}

// close closes the journal, and removes it if there is nothing left to collect.
func (j *journal) close(finished bool) error {
	if j == nil {
		return nil
	}
	err := j.file.Close()
	if finished {
		err = errors.Join(err, os.Remove(j.file.Name()))
	}
	return err
}
