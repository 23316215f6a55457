package connic

import (
	"bytes"
	"encoding/json"

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
