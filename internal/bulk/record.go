// Package bulk starts many operations, each once, and collects what they lead
// to. It knows no client and no connector: see [Job].
package bulk

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Journal is the public interface of the same name, which documents it.
type Journal interface {
	Open(ctx context.Context) error
	Get(ctx context.Context, key string) (record string, err error)
	All(ctx context.Context, yield func(key, record string) bool) error
	Put(ctx context.Context, records map[string]string) error
	Close() error
}

// The states of an input.
const (
	Sending    = "sending"
	Unknown    = "unknown"
	Started    = "started"
	Done       = "done"
	NotStarted = "not_started"
)

// Record is what a journal holds of an input.
type Record struct {
	Key      string    `json:"-"`
	State    string    `json:"state"`
	Sent     time.Time `json:"sent,omitzero"`
	Marker   string    `json:"marker,omitzero"`
	IDs      []string  `json:"ids,omitzero"`
	Cost     string    `json:"cost,omitzero"`
	Currency string    `json:"currency,omitzero"`
	// Repeatable is set if sending the input twice does no harm.
	Repeatable bool `json:"repeatable,omitzero"`
}

func (r *Record) encode() string {
	raw, err := json.Marshal(r)
	if err != nil { // a year beyond 9999
		r.Sent = time.Time{}
		raw, _ = json.Marshal(r) //nolint:errchkjson // strings only
	}
	return string(raw)
}

// effective returns the state as it matters to an input that is read again.
func (r *Record) effective() string {
	if r.Repeatable && (r.State == Sending || r.State == Unknown) {
		return NotStarted
	}
	return r.State
}

func decode(key, text string) (Record, error) {
	r := Record{Key: key}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, fmt.Errorf("the record of %q is not one: %w", key, err)
	}
	switch r.State {
	case Sending, Unknown, NotStarted, Done:
		return r, nil
	case Started:
		if len(r.IDs) > 0 {
			return r, nil
		}
	}
	return r, fmt.Errorf("the record of %q has the state %q, or lacks the ids of what was started", key, r.State)
}

// head is the record under the empty key: what the journal belongs to.
type head struct {
	Version int    `json:"version"`
	Op      string `json:"op"`
	Target  string `json:"target,omitzero"`
}

const headVersion = 1
