package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

// A journal records which runs and evaluations were requested, so that a later
// process does not request and pay for them again. A record is written to disk
// before the request is sent, and another one once its response has arrived. A
// nil journal records nothing.
type journal struct {
	path  string
	store connic.Journal

	mu    sync.Mutex
	known map[string]record // by the name of the case
}

// A record is what is known about a case.
type record struct {
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
	j := &journal{path: path, store: connic.FileJournal(path), known: make(map[string]record)}
	if err := j.store.Open(context.Background()); err != nil {
		return nil, err
	}
	var bad error
	err := j.store.All(context.Background(), func(name, text string) bool {
		var r record
		if bad = json.Unmarshal([]byte(text), &r); bad != nil {
			bad = fmt.Errorf("%s: the record of %q is not one: %w", path, name, bad)
		}
		j.known[name] = r
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, errors.Join(err, j.store.Close())
	}
	return j, nil
}

// recall returns what is known about a case in its current form.
func (j *journal) recall(c *Case) record {
	if j == nil {
		return record{}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.known[c.Name]; r.Digest == c.digest && !r.NotSent {
		return r
	}
	return record{}
}

// note records what is known about a case. It returns once that is on disk.
func (j *journal) note(c *Case, r record) error {
	if j == nil {
		return nil
	}
	r.Digest = c.digest
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.known[c.Name] = r
	return j.store.Put(context.Background(), map[string]string{c.Name: string(text)})
}

// close closes the journal, and removes it if there is nothing left to collect.
func (j *journal) close(finished bool) error {
	if j == nil {
		return nil
	}
	err := j.store.Close()
	if finished {
		err = errors.Join(err, os.Remove(j.path))
	}
	return err
}
