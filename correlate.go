package connic

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// RunSearch describes the runs that one trigger may have started.
type RunSearch struct {
	// Marker is a text that the trigger had in its message or payload, and no other
	// one: letters, digits, - and _ only, at least 8 of them.
	Marker string
	// AgentName is the agent that was triggered; "" looks at those of all.
	AgentName string
	// Since is when the trigger began. Runs that were created a minute before are
	// looked at too, because clocks differ.
	Since time.Time
}

// clockMargin is how much earlier than ours the service's clock may be.
const clockMargin = time.Minute

// FindTriggered looks for the runs that a trigger has started whose outcome is
// unknown (see [ErrOutcomeUnknown]), by a marker that the caller put into it:
//
//	marker := rand.Text() // crypto/rand
//	req := connic.TriggerRequest{Message: text, Payload: map[string]string{"request_id": marker}}
//
// It goes through the runs since then, newest first, and returns those whose
// input or context contains the marker. Runs of other triggers between them cost
// requests: one per 100.
//
// No run is no proof that nothing was started: the request may still be under
// way, or the run not be visible yet. Look again after some seconds, and for at
// least as long as an attempt may take (see [WithTimeout]), before triggering
// again. It cannot work where the key may not list runs, where the service's list
// shows neither input nor context of a run (both are undocumented for lists),
// where middleware of the agent takes the marker out of the input, or where the
// input was masked or shortened.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) FindTriggered(ctx context.Context, search RunSearch, opts ...RequestOption) ([]*Run, error) {
	bad := func(arg, reason string) ([]*Run, error) {
		return nil, &ArgumentError{Op: api.Table[api.RunsList].Name, Arg: arg, Reason: reason}
	}
	const least = 8
	if len(search.Marker) < least || strings.ContainsFunc(search.Marker, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}) {
		return bad("marker", "is not a text of at least 8 letters, digits, - and _")
	}
	if search.Since.IsZero() {
		return bad("since", "is not set")
	}
	params := RunListParams{AgentName: search.AgentName, CreatedAfter: search.Since.Add(-clockMargin)}
	var found []*Run
	for run, err := range s.All(ctx, &params, opts...) {
		if err != nil {
			return found, err
		}
		if !run.CreatedAt.IsZero() && run.CreatedAt.Before(params.CreatedAfter) {
			continue // the service took no notice of the filter
		}
		if strings.Contains(run.Input, search.Marker) || bytes.Contains(run.Context, json.RawMessage(search.Marker)) {
			found = append(found, run)
		}
	}
	return found, nil
}
