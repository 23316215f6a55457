package connic

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/encode"
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

// RawItem is embedded in the items that the service returns, and keeps their
// JSON.
type RawItem struct {
	// RawJSON is the JSON that Raw returns. It is no member of the JSON of the
	// item.
	RawJSON string `json:"-"` // a string keeps comparable types comparable
}

func (r *RawItem) keep(raw json.RawMessage) { r.RawJSON = string(raw) }

// Raw returns the item's JSON as the service sent it, including fields that
// this package does not know. It is nil unless the call used [KeepRaw].
func (r *RawItem) Raw() json.RawMessage {
	if r.RawJSON == "" {
		return nil
	}
	return json.RawMessage(r.RawJSON)
}

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

// UnmarshalText implements [encoding.TextUnmarshaler] with the same forms.
func (t *Time) UnmarshalText(text []byte) error {
	quoted, err := json.Marshal(string(text))
	if err != nil {
		return err
	}
	return t.UnmarshalJSON(quoted)
}

// Value implements [driver.Valuer]. The zero time is NULL.
func (t Time) Value() (driver.Value, error) { return encode.Value(t.Time) }

// Scan implements [sql.Scanner].
func (t *Time) Scan(column any) error {
	if at, ok := column.(time.Time); ok {
		t.Time = at
		return nil
	}
	return encode.Scan(column, t)
}

// otherDocument returns the error of a response that is not the document that
// was requested, although its status says so.
func otherDocument(field string) error {
	return &lenient.FieldError{Field: field, Err: lenient.ErrOther}
}

// A document is a response that says which item it is about.
type document interface{ expected(item string) error }

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
