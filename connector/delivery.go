package connector

import (
	"encoding/json"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/lenient"
)

// Delivery is what an outbound connector posts: a run that has completed, or another
// notice, such as of a run that awaits approval. Fields that the body does not have, or
// has in another form, are zero.
type Delivery struct {
	RunID     string
	AgentName string
	Status    connic.RunStatus
	// Output is the agent's text, or the JSON text of the object of its output schema.
	Output             string
	Error              string
	StartedAt, EndedAt time.Time
	TokenUsage         connic.TokenUsage
	Body               json.RawMessage // as it came
}

// DecodeOutput decodes an output that is JSON into v.
func (d *Delivery) DecodeOutput(v any) error {
	return (&connic.Run{ID: d.RunID, AgentName: d.AgentName, Status: d.Status, Output: d.Output}).DecodeOutput(v)
}

// ParseDelivery reads the body of a delivery, for those who call [Verify] themselves.
// The error is [ErrNotJSON]; any JSON is a Delivery.
func ParseDelivery(body []byte) (Delivery, error) {
	d := Delivery{Body: body}
	if !json.Valid(body) {
		return Delivery{}, ErrNotJSON
	}
	var keys map[string]json.RawMessage
	_ = json.Unmarshal(body, &keys) // a list has none
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
