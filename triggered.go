package connic

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/list"
)

// markerPrefix begins the markers that Marked makes, which are placed where a
// run shows them.
const markerPrefix = "connic-"

// Marked returns the request with a new marker, by which
// [RunsService.FindTriggered] finds the run that it started. The marker is a
// line at the beginning of the message, because a run shows its message. A
// request without a message has it in the payload, under the key
// "connic_marker"; the payload must then encode to a JSON object.
//
// The agent receives the marker with its input. To mark the input of a
// connector, use the message and payload of a marked request.
func (r TriggerRequest) Marked() (marked TriggerRequest, marker string) {
	marker = markerPrefix + rand.Text()
	if r.Message != "" || r.Payload == nil {
		if r.Message != "" {
			r.Message = "\n\n" + r.Message
		}
		r.Message = "[" + marker + "]" + r.Message
	} else {
		if p, ok := r.Payload.(markedPayload); ok {
			r.Payload = p.payload
		}
		r.Payload = markedPayload{r.Payload, marker}
	}
	return r, marker
}

type markedPayload struct {
	payload any
	marker  string
}

// MarshalJSON implements [json.Marshaler].
func (p markedPayload) MarshalJSON() ([]byte, error) {
	raw, err := json.Marshal(p.payload)
	switch {
	case err != nil:
		return nil, err
	case raw[0] != '{':
		return nil, errors.New("it is not an object, and cannot contain a marker")
	}
	own := `{"connic_marker":"` + p.marker + `"`
	if len(raw) > len("{}") {
		own += ","
	}
	return append([]byte(own), raw[1:]...), nil
}

// A RunSearch describes the runs that a trigger may have started.
type RunSearch struct {
	// Marker is a string that is unique to the trigger and was part of its
	// message or payload, as made by [TriggerRequest.Marked]. It consists of at
	// least 8 letters, digits, hyphens and underscores. No further ones of these
	// precede or follow it.
	Marker string
	// AgentName is the agent that was triggered. If it is empty, the runs of
	// all agents are searched.
	AgentName string
	// Since is when the trigger was sent. Runs created up to a minute earlier
	// are included, because clocks differ.
	Since time.Time
}

const (
	// clockMargin is how far the service's clock may be behind ours.
	clockMargin = time.Minute
	// maxInspected limits the runs that are fetched individually.
	maxInspected = 100
)

// FindTriggered searches for runs started by a trigger whose outcome is unknown
// (see [ErrOutcomeUnknown]). It relies on a marker in the trigger:
//
//	req, marker := connic.TriggerRequest{Message: text}.Marked()
//
// It reads the runs since then, newest first, and returns those whose input or
// context contains the marker. It costs one request per 100 runs in that
// period, including those of other triggers, and one for each run, up to 100,
// that the list shows without what may contain the marker.
//
// If nothing is found although a run may contain the marker where the service
// does not show it, the error is [ErrPartial]. This concerns runs without an
// input and, if the marker is not one that Marked made, runs whose input is
// text: the service may omit the payload beside a message.
//
// An empty result does not prove that no run was started: the request may still
// be in progress, or the run may not be visible yet. Before triggering again,
// use [RunsService.SettleTriggered]. Neither finds a run whose input was masked
// or truncated, or changed by middleware of the agent.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) FindTriggered(ctx context.Context, search RunSearch, opts ...RequestOption) ([]*Run, error) {
	f, err := s.newFinder([]RunSearch{search}, opts)
	if err != nil {
		return nil, err
	}
	err = f.scan(ctx)
	return f.found[search.Marker], err
}

// SettleTriggered searches for the runs of many triggers whose outcomes are
// unknown, as [RunsService.FindTriggered] does for one. It returns the runs by
// marker. It repeats the search until it has found a run for each marker, but
// no longer than an attempt may take (see [WithTimeout]) and 15 s more. A
// trigger that is then missing was not executed, as far as the service shows.
//
// Searches that fail temporarily are repeated too. With an error, the result
// contains the runs found so far.
//
// A search costs as many requests as FindTriggered does for the whole period.
// They are 2 s apart, and then at growing intervals of up to 15 s.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) SettleTriggered(ctx context.Context, searches []RunSearch, opts ...RequestOption) (map[string][]*Run, error) {
	f, err := s.newFinder(searches, opts)
	if err != nil {
		return nil, err
	}
	err = f.repeat(ctx, s.scope().timeout+missingFor, func() {})
	return f.found, err
}

// repeat scans the list until it has found a run for each marker, or for d. It
// calls found after each scan.
func (f *finder) repeat(ctx context.Context, d time.Duration, found func()) error {
	end := time.Now().Add(d)
	for interval := pollInitial; ; interval = min(time.Duration(float64(interval)*pollGrowth), pollMax) {
		err := f.scan(ctx)
		found()
		left := time.Until(end)
		if len(f.found) == len(f.searches) || left <= 0 || err != nil && verdict(err, 0).Hopeless {
			return err
		}
		if sleep(ctx, min(jitter(interval), left)) != nil {
			return errors.Join(contextError(ctx), err)
		}
	}
}

// finder searches the list of runs for markers.
type finder struct {
	service   *RunsService
	opts      []RequestOption
	params    RunListParams
	searches  map[string]RunSearch // by marker
	found     map[string][]*Run    // by marker
	whole     map[string]*Run      // by id: runs of which the list shows too little
	inspected int                  // how many were fetched
}

func (s *RunsService) newFinder(searches []RunSearch, opts []RequestOption) (*finder, error) {
	bad := func(arg, reason string) (*finder, error) {
		return nil, &ArgumentError{Op: api.Table[api.RunsList].Name, Arg: arg, Reason: reason}
	}
	f := &finder{
		service: s, opts: opts, searches: make(map[string]RunSearch), found: make(map[string][]*Run), whole: make(map[string]*Run),
	}
	const least = 8
	for i, search := range searches {
		if len(search.Marker) < least || strings.ContainsFunc(search.Marker, separates) {
			return bad("marker", "is not a string of at least 8 letters, digits, - and _")
		}
		if search.Since.IsZero() {
			return bad("since", "is not set")
		}
		if _, twice := f.searches[search.Marker]; twice {
			return bad("marker", "is that of two searches")
		}
		search.Since = search.Since.Add(-clockMargin)
		f.searches[search.Marker] = search
		if i == 0 {
			f.params = RunListParams{AgentName: search.AgentName, CreatedAfter: search.Since}
		}
		if search.AgentName != f.params.AgentName {
			f.params.AgentName = ""
		}
		if search.Since.Before(f.params.CreatedAfter) {
			f.params.CreatedAfter = search.Since
		}
	}
	return f, nil
}

// scan reads the list once. It returns an error if it finds nothing for a
// marker that a run may hide.
func (f *finder) scan(ctx context.Context) error {
	if len(f.searches) == 0 {
		return nil
	}
	l := runListing(f.service, &f.params)
	l.limit = pageLimit
	found, old := make(map[string][]*Run), 0
	var hiding []*Run
	var failed error
	err := l.walk(ctx, list.NewWalk(l.id, list.Position{}), f.opts, func(run *Run) bool {
		// The service may not filter by time.
		if !run.CreatedAt.IsZero() && run.CreatedAt.Before(f.params.CreatedAfter) {
			old++
			return old < pageLimit
		}
		old = 0
		run, failed = f.inspect(ctx, run)
		if failed != nil {
			return false
		}
		matched := false
		mark := func(token string) {
			search, ok := f.searches[token]
			if runs := found[token]; ok && search.covers(run) && (len(runs) == 0 || runs[len(runs)-1] != run) {
				matched, found[token] = true, append(runs, run)
			}
		}
		eachToken(run.Input, 0, mark)
		eachToken(string(run.Context), 0, mark)
		if !matched {
			hiding = append(hiding, run)
		}
		return true
	})
	if err = cmp.Or(failed, err); err != nil {
		return err
	}
	for marker, runs := range f.found { // they were not inspected again
		if len(found[marker]) == 0 {
			found[marker] = runs
		}
	}
	f.found = found
	for marker, search := range f.searches {
		if len(found[marker]) > 0 {
			continue
		}
		for _, run := range hiding {
			if search.mayHide(run) {
				return fmt.Errorf("connic: %s: %w: the marker %s may be in run %s, which does not show it; see TriggerRequest.Marked",
					api.Table[api.RunsList].Name, ErrPartial, marker, run.ID)
			}
		}
	}
	return nil
}

// inspect returns the run with its input and context, which the list may omit.
func (f *finder) inspect(ctx context.Context, run *Run) (*Run, error) {
	for marker, search := range f.searches {
		if run.Context != nil || len(f.found[marker]) > 0 || !search.mayHide(run) {
			continue
		}
		if whole := f.whole[run.ID]; whole != nil && whole.Input != "" {
			return whole, nil
		}
		if f.inspected >= maxInspected {
			break
		}
		f.inspected++
		whole, err := f.service.Get(ctx, run.ID, f.opts...)
		if errors.Is(err, ErrNotFound) { // it was deleted
			break
		}
		if err == nil {
			f.whole[run.ID] = whole
		}
		return whole, err
	}
	return run, nil
}

// covers reports whether the trigger may have started the run, by its time.
func (s *RunSearch) covers(run *Run) bool {
	return run.CreatedAt.IsZero() || !run.CreatedAt.Before(s.Since)
}

// mayHide reports whether the run may contain the marker without showing it.
func (s *RunSearch) mayHide(run *Run) bool {
	// The runs of variants have longer names.
	if !s.covers(run) || run.AgentName != "" && !strings.HasPrefix(run.AgentName, s.AgentName) {
		return false
	}
	return run.Input == "" || !isJSON(run.Input) && !strings.HasPrefix(s.Marker, markerPrefix)
}

// isJSON reports whether a text is a JSON object, array or string.
func isJSON(text string) bool {
	text = strings.TrimSpace(text)
	return text != "" && strings.IndexByte(`{["`, text[0]) >= 0 && json.Valid([]byte(text))
}

// eachToken passes the tokens of a text to f: runs of the characters that a
// marker consists of. Those of JSON are the tokens of its strings and numbers.
func eachToken(text string, depth int, f func(string)) {
	const deepest = 4 // JSON within strings of JSON
	if depth == deepest || !isJSON(text) {
		for token := range strings.FieldsFuncSeq(text, separates) {
			f(token)
		}
		return
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return // io.EOF: it was valid
		}
		switch v := token.(type) {
		case string:
			eachToken(v, depth+1, f)
		case json.Number:
			f(v.String())
		}
	}
}

// separates reports whether a character cannot be part of a marker.
func separates(r rune) bool {
	return r != '-' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
}
