package connictest

import (
	"encoding/json"
	"slices"

	"github.com/connic-go/connic"
)

// What a drain posts in one request at most.
const (
	drainRuns  = 100 // not documented
	drainLogs  = 500
	drainAudit = 200
)

// drained says what was drained of a run.
type drained struct {
	status connic.RunStatus
	logs   int
}

// DrainRuns posts the runs whose status has changed since the last DrainRuns, of
// any status, as the API shows them, with their traces: one list per 100. It
// returns when the receiver has responded to all of them. Each is posted once,
// whatever the response. The keys of drains are not documented.
func (o *Outbound) DrainRuns() []OutboundDelivery {
	return o.drain(drainRuns, func(r *run, d *drained) (items []object) {
		if d.status != r.status {
			d.status = r.status
			items = append(items, r.object(true))
		}
		return items
	})
}

// DrainLogs posts the lines that agents have logged (see [Input.Log]) since the last
// DrainLogs, one list per 500, as [Outbound.DrainRuns] does.
func (o *Outbound) DrainLogs() []OutboundDelivery {
	return o.drain(drainLogs, func(r *run, d *drained) (items []object) {
		n := 0
		for _, s := range r.spans {
			if s.kind != "log" {
				continue
			}
			if n++; n > d.logs {
				items = append(items, object{
					"timestamp": timestamp(s.start), "level": "info", "message": s.name,
					"run_id": r.id, "agent_name": r.agent, "environment_id": r.environment,
				})
			}
		}
		d.logs = n
		return items
	})
}

// DrainAuditLog posts the entries of the audit log that are new since the last
// DrainAuditLog, one list per 200, as [Outbound.DrainRuns] does.
func (o *Outbound) DrainAuditLog() []OutboundDelivery {
	s := o.server
	s.mu.Lock()
	entries := s.audit.items
	if i := slices.IndexFunc(entries, func(e AuditEntry) bool { return e.ID == o.audited }); i >= 0 {
		entries = entries[i+1:]
	}
	var items []object
	for _, e := range entries {
		items = append(items, e.object())
		o.audited = e.ID
	}
	bodies := lists(items, drainAudit)
	s.mu.Unlock()
	return o.postAll(bodies)
}

// drain posts what is new of the runs.
func (o *Outbound) drain(most int, fresh func(*run, *drained) []object) []OutboundDelivery {
	s := o.server
	s.mu.Lock()
	var items []object
	seen := make(map[string]drained, len(s.runs)) // those that are forgotten leave it
	for _, r := range s.runs {
		if o.covers(r) {
			d := o.drained[r.id]
			items = append(items, fresh(r, &d)...)
			seen[r.id] = d
		}
	}
	o.drained = seen
	bodies := lists(items, most)
	s.mu.Unlock()
	return o.postAll(bodies)
}

// lists encodes items as lists of limited length.
func lists(items []object, most int) (bodies [][]byte) {
	for chunk := range slices.Chunk(items, most) {
		body, _ := json.Marshal(chunk) //nolint:errchkjson // as in delivery
		bodies = append(bodies, body)
	}
	return bodies
}

func (o *Outbound) postAll(bodies [][]byte) (all []OutboundDelivery) {
	for _, body := range bodies {
		all = append(all, o.post("", body))
	}
	return all
}
