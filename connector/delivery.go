package connector

import (
	"encoding/json"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/lenient"
)

// A Delivery is what an outbound connector posts: a completed run, or another
// notice, such as a run that awaits approval. Fields that are missing from the
// body, or have an unexpected type, are zero.
type Delivery struct {
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
func (d *Delivery) DecodeOutput(v any) error {
	return (&connic.Run{ID: d.RunID, AgentName: d.AgentName, Status: d.Status, Output: d.Output}).DecodeOutput(v)
}

// ParseDelivery parses the body of a delivery, for callers that use [Verify]
// directly. Any JSON is a valid Delivery; otherwise the error is [ErrNotJSON].
func ParseDelivery(body []byte) (Delivery, error) {
	d := Delivery{Body: body}
	if !json.Valid(body) {
		return Delivery{}, ErrNotJSON
	}
	var keys map[string]json.RawMessage
	_ = json.Unmarshal(body, &keys) // a list has no keys
	d.RunID, d.AgentName, d.Status = text(keys["run_id"]), text(keys["agent_name"]), connic.RunStatus(text(keys["status"]))
	d.Output, d.Error = text(keys["output"]), text(keys["error"])
	d.StartedAt, d.EndedAt = instant(keys["started_at"]), instant(keys["ended_at"])
	d.TokenUsage = usage(keys["token_usage"])
	return d, nil
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
