package connector

import (
	"cmp"
	"encoding/json"
	"errors"
	"iter"
	"slices"
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
	// name, a final status, and the end or the token usage of the run. In a
	// batch, it is a run of any status.
	KindRun Kind = "run"
	// KindPayload is any other object: what an agent's tool or middleware
	// posts.
	KindPayload Kind = "payload"
	// KindApproval is the notice of a run that awaits approval. Its form is
	// not documented.
	KindApproval Kind = "approval"
	// KindBatch is a list, as drains post, or a payload that is one.
	KindBatch Kind = "batch"
	// KindLog is a log line in a batch. Its form is not documented.
	KindLog Kind = "log"
	// KindAudit is an entry of the audit log in a batch. Its form is not
	// documented.
	KindAudit Kind = "audit"
	// KindUnknown is any other JSON.
	KindUnknown Kind = "unknown"
)

// A Delivery is what an outbound connector or a drain posts, or one item of a
// batch. Fields that are missing from the body, or have an unexpected type, are
// zero. [Delivery.Run], [Delivery.Approval], [Delivery.AuditEntry] and
// [Delivery.LogLine] return the whole of it.
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
	// Body is the JSON as received. That of an item shares memory with the
	// batch: clone what is kept for long.
	Body json.RawMessage
}

// DecodeOutput decodes a JSON output into v.
func (d *Delivery) DecodeOutput(v any) error { return d.Run().DecodeOutput(v) }

// ParseDelivery parses the body of a delivery, for callers that use [Verify]
// directly. Any JSON that is nested at most 512 levels deep is a valid Delivery;
// otherwise the error is [ErrNotJSON].
func ParseDelivery(body []byte) (Delivery, error) {
	in := lenient.New(body)
	var d Delivery
	if in.End(d.read(in, false)) != nil {
		return Delivery{}, ErrNotJSON
	}
	d.Body = body
	return d, nil
}

// Items iterates over the items of a batch, in order, and over nothing for other
// kinds. It allocates nothing that grows with the batch.
func (d *Delivery) Items() iter.Seq[Delivery] {
	return func(yield func(Delivery) bool) {
		if d.Kind != KindBatch {
			return
		}
		in := lenient.New(d.Body)
		_ = in.Elements(func() error {
			var item Delivery
			if err := item.read(in, true); err != nil {
				return err // of a body that was not parsed before
			}
			if !yield(item) {
				return errStopped
			}
			return nil
		})
	}
}

var errStopped = errors.New("stopped")

// The members of an object that are read.
const (
	keyRunID = iota
	keyID
	keyAgent
	keyStatus
	keyOutput
	keyError
	keyStarted
	keyEnded
	keyUsage
	keyApproval
	keyApprovalID
	keyTool
	keyRequested
	keyAction
	keyResource
	keyMessage
	keyLevel
	keyTime
	keyCount
)

var deliveryKeys = map[string]int{
	"run_id": keyRunID, "id": keyID, "agent_name": keyAgent, "status": keyStatus, "output": keyOutput, "error": keyError,
	"started_at": keyStarted, "ended_at": keyEnded, "token_usage": keyUsage,
	"approval": keyApproval, "approval_id": keyApprovalID, "tool_name": keyTool, "requested_at": keyRequested, "expires_at": keyRequested,
	"action": keyAction, "actor": keyResource, "resource_type": keyResource, "resource_id": keyResource,
	"message": keyMessage, "msg": keyMessage, "body": keyMessage, "level": keyLevel, "severity": keyLevel, "severity_text": keyLevel,
	"timestamp": keyTime, "time": keyTime, "created_at": keyTime,
}

// members are values that share memory with the document. null is left out.
type members [keyCount]json.RawMessage

func (m *members) has(key int) bool { return len(m[key]) > 0 }

// read reads the value at the position, which is an item of a batch or a body.
func (d *Delivery) read(in *lenient.Decoder, item bool) error {
	var m members
	kind, at := in.Peek(), in.Offset()
	if kind != '{' {
		if d.Kind = KindUnknown; kind == '[' && !item {
			d.Kind = KindBatch
		}
		err := in.Skip()
		d.Body = slices.Clip(in.Since(at))
		return err
	}
	if err := in.Members(func(key []byte) error {
		i, known := deliveryKeys[string(key)]
		raw, err := value(in)
		if known && err == nil && string(raw) != "null" {
			m[i] = raw
		}
		return err
	}); err != nil {
		return err
	}
	d.Body = slices.Clip(in.Since(at))
	d.RunID, d.AgentName, d.Status = text(m[keyRunID]), text(m[keyAgent]), connic.RunStatus(text(m[keyStatus]))
	d.Output, d.Error = text(m[keyOutput]), text(m[keyError])
	d.StartedAt, d.EndedAt = instant(m[keyStarted]), instant(m[keyEnded])
	d.TokenUsage = usage(m[keyUsage])
	d.Kind = d.kind(&m, item)
	switch {
	case d.Kind == KindRun:
		d.RunID = cmp.Or(d.RunID, text(m[keyID]))
	case d.Kind == KindApproval && (m.has(keyApproval) || m.has(keyApprovalID)):
		a := d.Approval()
		d.RunID, d.AgentName = a.RunID, a.AgentName
	}
	return nil
}

// kind tells the kind of an object. A body of its own is taken for an envelope
// or an approval only by what no payload has by chance; the items of a batch
// come from drains, in forms that are not documented.
func (d *Delivery) kind(m *members, item bool) Kind {
	approval := m.has(keyApprovalID) || m.has(keyTool) && m.has(keyRequested)
	if raw := m[keyApproval]; !approval && len(raw) > 0 && raw[0] == '{' {
		a := record[connic.Approval](raw)
		approval = a.ID != "" || a.ToolName != ""
	}
	switch {
	case !item && d.RunID != "" && d.AgentName != "" && d.Status.Finished() && (m.has(keyEnded) || m.has(keyUsage)):
		return KindRun
	case approval, !item && d.Status == connic.RunAwaitingApproval && d.RunID != "":
		return KindApproval
	case !item:
		return KindPayload
	case m.has(keyAction) && m.has(keyResource):
		return KindAudit
	case (d.RunID != "" || m.has(keyID)) && d.AgentName != "" && d.Status.Known() && !m.has(keyLevel):
		return KindRun
	case m.has(keyMessage) && (m.has(keyLevel) || m.has(keyTime)):
		return KindLog
	}
	return KindPayload
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
