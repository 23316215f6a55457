package chat

import (
	"cmp"
	"encoding/json"
	"maps"

	"github.com/connic-go/connic"
)

// Approval returns the approval that a progress event announces, or nil if it
// announces none, for [connic.ApprovalsService.Decide]. It has what the event
// names, at the top level, under "approval" or in a nested payload. These keys are
// not documented. If its ID is empty, find the approval with
// [connic.ApprovalsService.ForRun].
func (e Event) Approval() *connic.Approval {
	f := new(Session).parse(e.Raw)
	if !f.approval() {
		return nil
	}
	keys := maps.Clone(f.keys)
	for _, name := range [...]string{"id", "type", "payload", "data"} { // of the message
		delete(keys, name)
	}
	for name, value := range f.inner {
		if name != "type" && keys[name] == nil {
			keys[name] = value
		}
	}
	a := new(connic.Approval)
	if raw, err := json.Marshal(keys); err == nil && json.Unmarshal(raw, a) != nil {
		a = new(connic.Approval) // a key has an unexpected type
	}
	a.AgentName = cmp.Or(a.AgentName, e.Agent)
	return a
}
