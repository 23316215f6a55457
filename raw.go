package connic

import "encoding/json"

// rawItem keeps the JSON that an item came as. It is a text, so that types that
// can be compared stay so.
type rawItem struct{ raw string }

func (r *rawItem) keep(raw json.RawMessage) { r.raw = string(raw) }

// Raw returns the item's JSON as the service sent it, with what this package does
// not know. It is nil unless the item comes from a call with [KeepRaw].
func (r *rawItem) Raw() json.RawMessage {
	if r.raw == "" {
		return nil
	}
	return json.RawMessage(r.raw)
}

// The response types decode from JSON wherever they stand, in a file or in a
// webhook's body, as tolerantly as the client decodes an answer.

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
