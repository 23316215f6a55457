package connector

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/connic-go/connic"
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
	if json.Unmarshal(body, &keys) != nil {
		return d, nil // a list, say
	}
	d.RunID, d.AgentName, d.Status = text(keys["run_id"]), text(keys["agent_name"]), connic.RunStatus(text(keys["status"]))
	d.Output, d.Error = text(keys["output"]), text(keys["error"])
	d.StartedAt, d.EndedAt = instant(keys["started_at"]), instant(keys["ended_at"])
	d.TokenUsage = usage(keys["token_usage"])
	return d, nil
}

func instant(raw json.RawMessage) time.Time {
	var t connic.Time
	if len(raw) == 0 || json.Unmarshal(raw, &t) != nil {
		return time.Time{}
	}
	return t.Time
}

// usage reads token counts in both spellings: input and input_tokens.
func usage(raw json.RawMessage) (u connic.TokenUsage) {
	var keys map[string]json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &keys) != nil {
		return u
	}
	for name, target := range map[string]*int64{
		"input": &u.Input, "output": &u.Output, "thinking": &u.Thinking, "cached": &u.Cached, "total": &u.Total,
	} {
		for _, key := range [...]string{name, name + "_tokens"} {
			number := string(bytes.Trim(bytes.TrimSpace(keys[key]), `"`))
			if n, err := strconv.ParseInt(number, 10, 64); err == nil {
				*target = n
			} else if f, err := strconv.ParseFloat(number, 64); err == nil && f == float64(int64(f)) {
				*target = int64(f)
			}
		}
	}
	return u
}
