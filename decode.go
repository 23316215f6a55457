package connic

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/lenient"
)

// The tags of a response type determine how it is decoded: json names the
// field, and api gives its status and its aliases (see internal/lenient). Types
// that need more have a method named decoded.

// decodeInto decodes a response into a new T.
func decodeInto[T any](d *lenient.Decoder) (*T, error) {
	v := new(T)
	if err := d.Decode(v); err != nil {
		return nil, err
	}
	finish(d, v, 0)
	return v, nil
}

// decodeWithin decodes a response that is a T, or an object with a T under a
// specific name.
func decodeWithin[T, W any](d *lenient.Decoder, choose func(*W) *T) (*T, error) {
	w := new(W)
	if err := d.Decode(w); err != nil {
		return nil, err
	}
	v := choose(w)
	finish(d, v, 0)
	return v, nil
}

// otherDocument returns the error of a response that is not the document that
// was requested, although its status says so.
func otherDocument(field string) error {
	return &lenient.FieldError{Field: field, Err: lenient.ErrOther}
}

// The following methods say what makes a response the document expected. Item
// is the id that was requested, or "" if the service chooses it.
type document interface{ expected(item string) error }

func (a *Agent) expected(item string) error      { return names("name", item, a.Name, a.ID) }
func (e *Entry) expected(item string) error      { return names("entry_id", item, e.EntryID) }
func (j *Job) expected(item string) error        { return names("id", item, j.ID) }
func (j *Judge) expected(item string) error      { return names("id", item, j.ID) }
func (b *Budget) expected(item string) error     { return names("id", item, b.ID) }
func (d *Deployment) expected(item string) error { return names("id", item, d.ID) }
func (p *Project) expected(string) error         { return names("id", "", p.ID) }
func (u *DevUpload) expected(string) error       { return names("files_hash", "", u.FilesHash) }

// A run is known by its id or, if the service does not repeat that, by the
// members that the vendor's own client reads.
func (r *Run) expected(item string) error {
	if r.ID == "" && item != "" && (r.Traces != nil || r.Context != nil) {
		return nil
	}
	return names("id", item, r.ID)
}

func (r *TestRun) expected(item string) error {
	if r.ID == "" && item != "" && (r.Phase != "" || r.Cases != nil || r.Status.Known()) {
		return nil
	}
	return names("id", item, r.ID)
}

// The response of a session that is starting may be empty.
func (v *DevSession) expected(item string) error {
	if v.ID == "" && item != "" {
		return nil
	}
	return names("id", item, v.ID)
}

// names returns an error unless one of the ids that a response contains is that
// of the item.
func names(field, item string, ids ...string) error {
	for _, id := range ids {
		if id != "" && (item == "" || strings.EqualFold(id, item)) {
			return nil
		}
	}
	return otherDocument(field)
}

// finish completes the decoding of a value that began at the given offset.
func finish(d *lenient.Decoder, v any, start int) {
	if d.KeepRaw {
		if keeper, ok := v.(interface{ keep(json.RawMessage) }); ok {
			keeper.keep(bytes.Clone(bytes.TrimSpace(d.Since(start))))
		}
	}
	if v, ok := v.(interface{ decoded() }); ok {
		v.decoded()
	}
}

// decodeMethod implements UnmarshalJSON of the response types. It is as
// tolerant as the client.
func decodeMethod[T any](data []byte, v *T) error {
	d := lenient.New(data)
	if err := d.End(d.Value(v)); err != nil {
		return err
	}
	finish(d, v, 0)
	return nil
}

// none is the result of operations without a meaningful response.
type none struct{}

// decodeNone accepts an empty body, and any JSON.
func decodeNone(d *lenient.Decoder) (none, error) {
	if d.Len() == 0 {
		return none{}, nil
	}
	return none{}, d.End(d.Skip())
}

// rawItem retains the JSON of an item. It is a string, so that comparable types
// stay comparable.
type rawItem struct{ raw string }

func (r *rawItem) keep(raw json.RawMessage) { r.raw = string(raw) }

// Raw returns the item's JSON as the service sent it, including fields that
// this package does not know. It is nil unless the call used [KeepRaw].
func (r *rawItem) Raw() json.RawMessage {
	if r.raw == "" {
		return nil
	}
	return json.RawMessage(r.raw)
}

// The response types decode from any JSON, such as a file or the body of a
// webhook, as tolerantly as the client decodes a response.

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Agent) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TriggerResult) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Run) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Span) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TokenUsage) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Entry) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Match) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Namespace) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Job) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Ingestion) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Judge) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *RunFilter) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *ScoreAlert) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Evaluation) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Budget) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *UsageRow) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *AuditEntry) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Actor) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Deployment) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Project) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Environment) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TestRun) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TestCase) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// Time is a [time.Time] that decodes from any form of ISO 8601 that a service
// is likely to use: with or without an offset (UTC if there is none), with a
// "T" or a space before the time of day, with any number of fractional digits,
// as a date alone, or as seconds, milliseconds, microseconds or nanoseconds
// since 1970. null and "" decode to the zero time.
//
// The response types of this package use plain time.Time fields and are decoded
// just as tolerantly. Time is for your own types, as in [Client.Do].
type Time struct{ time.Time }

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Time) UnmarshalJSON(data []byte) error {
	parsed, err := lenient.ParseTime(data)
	if err != nil {
		return err
	}
	t.Time = parsed
	return nil
}
