package gate

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

// A journal is the state of a gate: what [connic.AgentsService.TriggerAll] records
// about the runs, and what the bench records about the evaluations. It is in
// memory and, with --journal, in a file, so that a later process does not request and
// pay for them again. The gate opens and closes it, because the evaluations outlast
// the call.
type journal struct {
	path string
	file connic.Journal // nil without --journal

	writing sync.Mutex // the file takes one Put at a time

	mu      sync.Mutex
	records map[string]string
}

// forEvaluation begins the keys of evaluations, and no key of a case.
const forEvaluation = "evaluation of "

// An evaluation is what is recorded about one.
type evaluation struct {
	Asked time.Time `json:"asked,omitzero"` // it was about to be requested
	ID    string    `json:"id,omitempty"`
}

// openJournal opens or creates the journal at path, or one in memory if path is "".
func openJournal(path string) (*journal, error) {
	j := &journal{path: path, records: make(map[string]string)}
	if path == "" {
		return j, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	j.file = connic.FileJournal(path)
	if err := j.file.Open(context.Background()); err != nil {
		return nil, err
	}
	err := j.file.All(context.Background(), func(key, record string) bool {
		j.records[key] = record
		return true
	})
	if err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	return j, nil
}

// Open implements [connic.Journal].
func (j *journal) Open(context.Context) error { return nil }

// Close implements [connic.Journal].
func (j *journal) Close() error { return nil }

// Get implements [connic.Journal].
func (j *journal) Get(_ context.Context, key string) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.records[key], nil
}

// All implements [connic.Journal].
func (j *journal) All(_ context.Context, yield func(key, record string) bool) error {
	j.mu.Lock()
	all := maps.Clone(j.records)
	j.mu.Unlock()
	for key, record := range all {
		if !strings.HasPrefix(key, forEvaluation) && !yield(key, record) {
			break
		}
	}
	return nil
}

// Put implements [connic.Journal]. It leaves inputs that are done as started: a
// gate that resumes needs the results of all runs.
func (j *journal) Put(ctx context.Context, records map[string]string) error {
	kept := maps.Clone(records)
	maps.DeleteFunc(kept, func(_, record string) bool { return decode(record).State == connic.JournalDone })
	j.writing.Lock()
	defer j.writing.Unlock()
	if j.file != nil && len(kept) > 0 {
		if err := j.file.Put(ctx, kept); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.Copy(j.records, kept)
	return nil
}

// decode returns the zero record for what is not one of an input.
func decode(record string) (r connic.JournalRecord) {
	_ = json.Unmarshal([]byte(record), &r)
	return r
}

// inputs returns what is recorded about each input, by key.
func (j *journal) inputs() map[string]connic.JournalRecord {
	all := make(map[string]connic.JournalRecord)
	_ = j.All(context.Background(), func(key, record string) bool { // it does not fail
		r := decode(record)
		r.Key = key
		all[key] = r
		return true
	})
	return all
}

// recall returns what is recorded about the evaluation of a case by a judge.
func (j *journal) recall(c *Case, judge string) (e evaluation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = json.Unmarshal([]byte(j.records[forEvaluation+c.key+" by "+judge]), &e) // nothing, or what note wrote
	return e
}

// note records what is known about the evaluation of a case by a judge. It returns
// once that is on disk.
func (j *journal) note(c *Case, judge string, e evaluation) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return j.Put(context.Background(), map[string]string{forEvaluation + c.key + " by " + judge: string(text)})
}

// finish closes the file, and removes it if nothing is left to collect.
func (j *journal) finish(remove bool) error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	if remove {
		err = errors.Join(err, os.Remove(j.path))
	}
	return err
}
