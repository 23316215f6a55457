package connic

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// RunsService reads, cancels, reruns and deletes runs. It needs a key with
// access to the runs section.
type RunsService service

func (s *RunsService) scope() *scope { return (*service)(s).scope() }

// A Run is one run of an agent.
type Run struct {
	ID        string    `json:"id" api:"assumed,run_id"`
	AgentName string    `json:"agent_name,omitzero" api:"assumed"`
	Status    RunStatus `json:"status" api:"assumed"`
	// Input and Output are text. A structured output is its JSON text: see
	// DecodeOutput.
	Input  string `json:"input,omitzero" api:"observed"`
	Output string `json:"output,omitzero" api:"observed"`
	Error  string `json:"error,omitzero" api:"observed"`
	// Context is the run's context object, unmodified.
	Context    json.RawMessage `json:"run_context,omitzero" api:"observed"`
	Traces     []Span          `json:"traces,omitzero" api:"observed"` // see SpanTree
	TokenUsage TokenUsage      `json:"token_usage,omitzero" api:"words"`
	Cost       Decimal         `json:"cost,omitzero" api:"assumed"`
	Currency   string          `json:"currency,omitzero" api:"assumed"` // EUR or USD

	EnvironmentID string    `json:"environment_id,omitzero" api:"assumed"`
	DeploymentID  string    `json:"deployment_id,omitzero" api:"assumed"`
	ParentRunID   string    `json:"parent_run_id,omitzero" api:"assumed"`
	ConnectorID   string    `json:"connector_id,omitzero" api:"assumed"`
	CreatedAt     time.Time `json:"created_at,omitzero" api:"assumed"`
	StartedAt     time.Time `json:"started_at,omitzero" api:"assumed"`
	EndedAt       time.Time `json:"ended_at,omitzero" api:"assumed"`
	DurationMS    float64   `json:"duration_ms,omitzero" api:"assumed"`
	// Approval is the first one that the run awaits. It is set by waits that name
	// approvals: see StopAtApproval and WaitEvent.
	Approval *Approval `json:"-"`

	RawItem
}

// DecodeOutput decodes the run's structured output into v. [OutputAs] also checks
// that the run completed and that required fields are present.
func (r *Run) DecodeOutput(v any) error {
	if err := json.Unmarshal([]byte(r.Output), v); err != nil {
		return fmt.Errorf("connic: the output of run %s is not the expected JSON: %w", r.ID, err)
	}
	return nil
}

// finished reports whether a wait for the run is over. An unknown status counts
// as final, so that a wait never hangs on one.
func (r *Run) finished() bool { return !r.effectiveStatus().active() }

// effectiveStatus returns the status, or derives it from the other fields if
// the service omits it.
func (r *Run) effectiveStatus() RunStatus {
	switch {
	case r.Status != "":
		return r.Status
	case r.Error != "":
		return RunFailed
	case r.Output != "" || !r.EndedAt.IsZero():
		return RunCompleted
	}
	return ""
}

// failure returns the error of a finished run, or nil if it completed.
func (r *Run) failure() error {
	if r.effectiveStatus() == RunCompleted {
		return nil
	}
	return &RunError{Run: r}
}

// RunStatus is the status of a run: "scheduled", "queued", "running" or
// "awaiting_approval", and finally "completed", "failed" or "cancelled".
type RunStatus string

// The known run statuses.
const (
	RunScheduled        RunStatus = "scheduled"
	RunQueued           RunStatus = "queued"
	RunRunning          RunStatus = "running"
	RunAwaitingApproval RunStatus = "awaiting_approval"
	RunCompleted        RunStatus = "completed"
	RunFailed           RunStatus = "failed"
	RunCancelled        RunStatus = "cancelled"
)

func (s RunStatus) active() bool {
	return s == RunScheduled || s == RunQueued || s == RunRunning || s == RunAwaitingApproval
}

// Finished reports whether s is one of the known final statuses.
func (s RunStatus) Finished() bool {
	return s == RunCompleted || s == RunFailed || s == RunCancelled
}

// Known reports whether this version of the package knows s.
func (s RunStatus) Known() bool { return s.active() || s.Finished() }

// TokenUsage counts the tokens of a run.
type TokenUsage struct {
	Input    int64 `json:"input,omitzero" api:"words,input_tokens"`
	Output   int64 `json:"output,omitzero" api:"words,output_tokens"`
	Thinking int64 `json:"thinking,omitzero" api:"words,thinking_tokens"`
	Cached   int64 `json:"cached,omitzero" api:"words,cached_tokens"`
	Total    int64 `json:"total,omitzero" api:"words,total_tokens"`
}

func decodeRun(d *lenient.Decoder) (*Run, error) { return decodeInto[Run](d) }

// A Span is one step of a run.
type Span struct {
	ID         string  `json:"span_id" api:"observed"`
	ParentID   string  `json:"parent_span_id,omitzero" api:"observed"`
	Order      int     `json:"span_order,omitzero" api:"observed"`
	Name       string  `json:"name,omitzero" api:"observed"`
	Type       string  `json:"type,omitzero" api:"observed"`   // "log" marks a log line
	Status     string  `json:"status,omitzero" api:"observed"` // "ok" means success
	StartTime  Time    `json:"start_time,omitzero" api:"assumed"`
	DurationMS float64 `json:"duration_ms,omitzero" api:"observed"`
	// Metadata is a string that contains JSON: see DecodeMetadata.
	Metadata string `json:"metadata_json,omitzero" api:"observed"`
}

// OK reports whether the step succeeded.
func (s *Span) OK() bool { return s.Status == "ok" }

// DecodeMetadata decodes the span's metadata into v. It leaves v unchanged if
// there is none.
func (s *Span) DecodeMetadata(v any) error {
	if s.Metadata == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(s.Metadata), v); err != nil {
		return fmt.Errorf("connic: the metadata of span %s is not the expected JSON: %w", s.ID, err)
	}
	return nil
}

// A SpanNode is a span with its child spans.
type SpanNode struct {
	*Span
	Children []*SpanNode `json:"children,omitzero"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *SpanNode) UnmarshalJSON(data []byte) error {
	var own struct {
		Children []*SpanNode `json:"children"`
	}
	if err := json.Unmarshal(data, &own); err != nil {
		return err
	}
	n.Span, n.Children = new(Span), own.Children
	return n.Span.UnmarshalJSON(data)
}

// SpanTree returns the run's spans as trees. Siblings are sorted by
// Order, and by StartTime if that is equal. A span whose parent is not in the
// list is a root. Every span appears exactly once, even if parents form a
// cycle.
func (r *Run) SpanTree() []*SpanNode {
	nodes := make([]SpanNode, len(r.Traces))
	byID := make(map[string]*SpanNode, len(r.Traces))
	for i := range r.Traces {
		nodes[i].Span = &r.Traces[i]
		if _, taken := byID[nodes[i].ID]; !taken && nodes[i].ID != "" {
			byID[nodes[i].ID] = &nodes[i]
		}
	}
	// Walk up from each node once. Reaching a node of the current walk means a
	// cycle; reaching a settled node does not.
	const walking, settled = 1, 2
	state := make(map[*SpanNode]int, len(nodes))
	isRoot := make(map[*SpanNode]bool)
	for i := range nodes {
		var path []*SpanNode
		n := &nodes[i]
		for n != nil && state[n] == 0 {
			state[n] = walking
			path = append(path, n)
			parent := byID[n.ParentID]
			if parent == nil || state[parent] == walking {
				isRoot[n] = true
				break
			}
			n = parent
		}
		for _, p := range path {
			state[p] = settled
		}
	}
	var roots []*SpanNode
	for i := range nodes {
		n := &nodes[i]
		if isRoot[n] {
			roots = append(roots, n)
		} else {
			parent := byID[n.ParentID]
			parent.Children = append(parent.Children, n)
		}
	}
	order := func(a, b *SpanNode) int {
		if a.Order != b.Order {
			return a.Order - b.Order
		}
		return a.StartTime.Compare(b.StartTime.Time)
	}
	slices.SortStableFunc(roots, order)
	for i := range nodes {
		slices.SortStableFunc(nodes[i].Children, order)
	}
	return roots
}

// RunListParams selects runs. The zero value selects all of them.
type RunListParams struct {
	AgentName     string
	Status        []RunStatus // any of these
	EnvironmentID string      // default: all environments, also if the client has one
	DeploymentID  string
	ParentRunID   string
	CreatedAfter  time.Time // whether the bounds themselves are included is not known
	CreatedBefore time.Time
	// Limit is the number of runs per page, at most 100 (assumed). If it is 0,
	// List leaves it to the service, and All uses 100.
	Limit, Offset int
}

func runListing(s *RunsService, p *RunListParams) listing[Run] {
	if p == nil {
		p = new(RunListParams)
	}
	l := listing[Run]{
		scope: s.scope(), request: request{op: api.RunsList}, name: "runs", id: func(r *Run) string { return r.ID },
		limit: p.Limit, offset: p.Offset,
	}
	q := &l.request.query
	q.add("agent_name", p.AgentName)
	for _, status := range p.Status {
		q.add("status", string(status))
	}
	q.add("environment_id", p.EnvironmentID)
	q.add("deployment_id", p.DeploymentID)
	q.add("parent_run_id", p.ParentRunID)
	q.addTime("created_after", p.CreatedAfter)
	q.addTime("created_before", p.CreatedBefore)
	return l
}

// List returns one page of runs, newest first. It costs one request.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) List(ctx context.Context, p *RunListParams, opts ...RequestOption) (*Page[Run], error) {
	return runListing(s, p).page(ctx, opts)
}

// All iterates over the runs, newest first, starting at the given offset. Runs
// may be added and deleted during the iteration: each of the others is yielded
// once, or the iteration ends with [ErrPageLoop]. It costs one request per
// Limit runs, and a few more if the list changes; the default Limit is 100.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) All(ctx context.Context, p *RunListParams, opts ...RequestOption) iter.Seq2[*Run, error] {
	return runListing(s, p).all(ctx, opts)
}

// Get returns a run. It costs one request.
//
//	API:    GET /projects/{project}/runs/{run}
//	Access: runs read
//	Status: documented
func (s *RunsService) Get(ctx context.Context, id string, opts ...RequestOption) (*Run, error) {
	return do(ctx, s.scope(), request{op: api.RunsGet, id: id}, decodeRun, opts)
}

// Cancel asks the service to stop a run. It returns when the service has
// accepted the request; to wait for the run to end, use [RunsService.Wait]. A
// retry after a lost response that fails with [ErrConflict], because the run is
// not active any more, counts as a success. It costs one request, which goes to
// the head of the queue for the rate limit.
//
//	API:    POST /projects/{project}/runs/{run}/cancel
//	Access: runs write
//	Status: assumed
func (s *RunsService) Cancel(ctx context.Context, id string, opts ...RequestOption) error {
	_, err := do(ctx, s.scope(), request{op: api.RunsCancel, id: id, lane: LaneCancel}, decodeNone, opts)
	return err
}

// Rerun starts a new run with the input of an existing one, and returns the new
// run's id. As with [AgentsService.Trigger], the request is not repeated
// blindly: see [ErrOutcomeUnknown]. It costs one request.
//
//	API:    POST /projects/{project}/runs/{run}/rerun
//	Access: runs write
//	Status: assumed
func (s *RunsService) Rerun(ctx context.Context, id string, opts ...RequestOption) (*TriggerResult, error) {
	return do(ctx, s.scope(), request{op: api.RunsRerun, id: id, salvage: salvageTrigger}, decodeTrigger, opts)
}

// Delete deletes a run. Deleting a run that does not exist fails with
// [ErrNotFound], unless it is a retry after a lost response. It costs one
// request.
//
//	API:    DELETE /projects/{project}/runs/{run}
//	Access: runs write
//	Status: assumed
func (s *RunsService) Delete(ctx context.Context, id string, opts ...RequestOption) error {
	_, err := do(ctx, s.scope(), request{op: api.RunsDelete, id: id}, decodeNone, opts)
	return err
}

// A RunError is returned with a run that ended without completing: it failed,
// was cancelled, or ended in a status that this version of the package does not
// know. In the last case it matches [ErrUnknownStatus]. [OutputAs] also returns one
// for a run that has not ended.
type RunError struct {
	Run *Run
	hidden
}

func (e *RunError) Error() string {
	r := e.Run
	if r == nil {
		return e.endedText("run", "", "", "", false, "")
	}
	status := r.effectiveStatus()
	if status.active() {
		return e.by.Line("connic: run "+r.ID+about("agent", r.AgentName)+" has not ended: "+string(status), maxText)
	}
	return e.endedText("run", r.ID, about("agent", r.AgentName), string(status), status.Known(), r.Error)
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error, so that a JSON log contains the text rather than the whole run.
func (e *RunError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Is reports whether target is [ErrUnknownStatus] and the status is not known.
func (e *RunError) Is(target error) bool {
	return target == ErrUnknownStatus && e.Run != nil && !e.Run.effectiveStatus().Known()
}
