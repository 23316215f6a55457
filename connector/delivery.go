package connector

import (
	"encoding/json"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/lenient"
)

// A Kind says what a delivery is. It is found in the body: the service does not
// state it.
type Kind string

// The kinds of deliveries.
const (
	// KindRun is the envelope of a finished run: it has a run id, an agent
	// name, a final status, and the end or the token usage of the run.
	KindRun Kind = "run"
	// KindPayload is any other object: what an agent's tool or middleware
	// posts.
	KindPayload Kind = "payload"
	// KindApproval is the notice of a run that awaits approval. Its form is
	// not documented.
	KindApproval Kind = "approval"
	// KindBatch is a list, as drains post, or a payload that is one.
	KindBatch Kind = "batch"
	// KindUnknown is any other JSON.
	KindUnknown Kind = "unknown"
)

// A Delivery is what an outbound connector posts. Fields that are missing from
// the body, or have an unexpected type, are zero.
type Delivery struct {
	Kind      Kind
	RunID     string
	AgentName string
	Status    connic.RunStatus
	// Output is the agent's text or, for an agent with an output schema, the
	// JSON text of the output.
	Output             string
	Error              string
	StartedAt, EndedAt time.Time
	TokenUsage         connic.TokenUsage
	Body               json.RawMessage // the body as received
}

// DecodeOutput decodes a JSON output into v.
func (d *Delivery) DecodeOutput(v any) error { return d.Run().DecodeOutput(v) }

// ParseDelivery parses the body of a delivery, for callers that use [Verify]
// directly. Any JSON is a valid Delivery; otherwise the error is [ErrNotJSON].
func ParseDelivery(body []byte) (Delivery, error) {
	if !json.Valid(body) {
		return Delivery{}, ErrNotJSON
	}
	d := Delivery{Kind: KindUnknown, Body: body}
	in := lenient.New(body)
	switch in.Peek() {
	case '[':
		d.Kind = KindBatch
	case '{':
		var keys map[string]json.RawMessage
		_ = in.Members(func(key []byte) error { return keep(in, key, deliveryKeys, &keys) })
		d.read(keys)
	}
	return d, nil
}

// deliveryKeys are the keys of a body that are read.
var deliveryKeys = map[string]bool{
	"run_id": true, "agent_name": true, "status": true, "output": true, "error": true, "started_at": true, "ended_at": true, "token_usage": true,
	"approval": true, "approval_id": true, "tool_name": true, "requested_at": true, "expires_at": true,
}

func (d *Delivery) read(keys map[string]json.RawMessage) {
	has := func(key string) bool { return len(keys[key]) > 0 }
	d.RunID, d.AgentName, d.Status = text(keys["run_id"]), text(keys["agent_name"]), connic.RunStatus(text(keys["status"]))
	d.Output, d.Error = text(keys["output"]), text(keys["error"])
	d.StartedAt, d.EndedAt = instant(keys["started_at"]), instant(keys["ended_at"])
	d.TokenUsage = usage(keys["token_usage"])
	switch {
	case d.RunID != "" && d.AgentName != "" && d.Status.Finished() && (has("ended_at") || has("token_usage")):
		d.Kind = KindRun
	case has("approval"), has("approval_id"), d.Status == connic.RunAwaitingApproval, has("tool_name") && (has("requested_at") || has("expires_at")):
		d.Kind = KindApproval
	default:
		d.Kind = KindPayload
	}
}

func instant(raw json.RawMessage) time.Time {
	if len(raw) == 0 {
		return time.Time{}
	}
	t, err := lenient.ParseTime(raw)
	if err != nil {
		return time.Time{}
	}
	return t
}

func usage(raw json.RawMessage) (u connic.TokenUsage) {
	if len(raw) == 0 || lenient.Unmarshal(raw, &u) != nil {
		return connic.TokenUsage{}
	}
	return u
}
