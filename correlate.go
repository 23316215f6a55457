package connic

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// A RunSearch describes the runs that a trigger may have started.
type RunSearch struct {
	// Marker is a string that is unique to the trigger and was part of its
	// message or payload. It must consist of at least 8 letters, digits,
	// hyphens and underscores.
	Marker string
	// AgentName is the agent that was triggered. If it is empty, the runs of
	// all agents are searched.
	AgentName string
	// Since is when the trigger was sent. Runs created up to a minute earlier
	// are included, because clocks differ.
	Since time.Time
}

// clockMargin is how far the service's clock may be behind ours.
const clockMargin = time.Minute

// FindTriggered searches for runs started by a trigger whose outcome is unknown
// (see [ErrOutcomeUnknown]). It relies on a marker that the caller put into the
// trigger:
//
//	marker := rand.Text() // crypto/rand
//	req := connic.TriggerRequest{Message: text, Payload: map[string]string{"request_id": marker}}
//
// It reads the runs since then, newest first, and returns those whose input or
// context contains the marker. It costs one request per 100 runs in that
// period, including those of other triggers.
//
// An empty result does not prove that no run was started: the request may still
// be in progress, or the run may not be visible yet. Before triggering again,
// repeat the search for at least as long as an attempt may take (see
// [WithTimeout]). The search cannot succeed if the key may not list runs, if
// the service's list shows neither the input nor the context of a run (neither
// is documented for lists), if middleware of the agent removes the marker from
// the input, or if the input was masked or truncated.
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
		return bad("marker", "is not a string of at least 8 letters, digits, - and _")
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
			continue // the service ignored the filter
		}
		if strings.Contains(run.Input, search.Marker) || bytes.Contains(run.Context, json.RawMessage(search.Marker)) {
			found = append(found, run)
		}
	}
	return found, nil
}
