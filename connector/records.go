package connector

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/lenient"
)

// A LogLine is a line of a log drain. The vendor describes log drains in prose
// only: the names of all fields are assumed, and [Delivery.Body] has the rest.
type LogLine struct {
	Time          time.Time `json:"timestamp,omitzero" api:"assumed,time,created_at"`
	Level         string    `json:"level,omitzero" api:"assumed,severity,severity_text"`
	Message       string    `json:"message,omitzero" api:"assumed,msg,body"`
	RunID         string    `json:"run_id,omitzero" api:"assumed"`
	AgentName     string    `json:"agent_name,omitzero" api:"assumed"`
	EnvironmentID string    `json:"environment_id,omitzero" api:"assumed"`
}

// UnmarshalJSON implements [json.Unmarshaler]. It is as tolerant as the types of
// package connic.
func (l *LogLine) UnmarshalJSON(data []byte) error {
	type plain LogLine // without this method
	d := lenient.New(data)
	return d.End(d.Value((*plain)(l)))
}

// Run returns a delivery of [KindRun] as a run, with all fields that its body has.
// Of other kinds it has only the fields of d. Fields of an unexpected type are
// zero.
func (d *Delivery) Run() *connic.Run {
	run := new(connic.Run)
	if d.Kind == KindRun {
		run = record[connic.Run](d.Body)
	}
	run.ID, run.AgentName, run.Status, run.Output, run.Error = d.RunID, d.AgentName, d.Status, d.Output, d.Error
	run.StartedAt, run.EndedAt, run.TokenUsage = d.StartedAt, d.EndedAt, d.TokenUsage
	return run
}

// Approval returns a delivery of [KindApproval] as an approval, also if the body
// has it under the key "approval". Fields of an unexpected type are zero.
func (d *Delivery) Approval() *connic.Approval {
	var notice struct {
		Approval json.RawMessage `json:"approval"`
		ID       string          `json:"approval_id"`
	}
	body := d.Body
	if lenient.Unmarshal(d.Body, &notice) == nil && len(notice.Approval) > 0 && notice.Approval[0] == '{' {
		body = notice.Approval
	}
	a := record[connic.Approval](body)
	a.ID, a.RunID, a.AgentName = cmp.Or(a.ID, notice.ID), cmp.Or(a.RunID, d.RunID), cmp.Or(a.AgentName, d.AgentName)
	return a
}

// AuditEntry returns an item of [KindAudit] as an entry of the audit log. Fields of
// an unexpected type are zero.
func (d *Delivery) AuditEntry() *connic.AuditEntry { return record[connic.AuditEntry](d.Body) }

// LogLine returns an item of [KindLog] as a log line. Fields of an unexpected type
// are zero.
func (d *Delivery) LogLine() *LogLine { return record[LogLine](d.Body) }

// record decodes an object as far as its members have the expected types.
func record[T any, P interface {
	*T
	json.Unmarshaler
}](body []byte) P {
	const most = 16 // members that are left out
	for n := 0; ; n++ {
		v := P(new(T))
		var bad *lenient.FieldError
		if err := v.UnmarshalJSON(body); !errors.As(err, &bad) || bad.Field == "" || n == most {
			return v
		}
		name := bad.Field
		if i := strings.IndexAny(name, ".["); i > 0 {
			name = name[:i]
		}
		body = without(body, name)
	}
}

// without returns an object without the member with the given name.
func without(body []byte, name string) []byte {
	kept := append(make([]byte, 0, len(body)), '{')
	in := lenient.New(body)
	_ = in.Members(func(key []byte) error {
		text, err := json.Marshal(string(key))
		if err != nil {
			return err
		}
		same := string(key) == name
		raw, err := value(in)
		if err != nil || same {
			return err
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(append(append(kept, text...), ':'), raw...)
		return nil
	})
	return append(kept, '}')
}
