package connic

import "encoding/json"

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
