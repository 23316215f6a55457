package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/problem"
)

// A Result is the finished run of a sync connector.
type Result struct {
	RunID     string
	AgentName string
	Status    connic.RunStatus
	// Output is the agent's text or, for an agent with an output schema, the
	// JSON text of the output.
	Output string
	Error  string          // of a run that did not complete
	Raw    json.RawMessage // the whole response
}

// DecodeOutput decodes a JSON output into v.
func (r *Result) DecodeOutput(v any) error { return r.run().DecodeOutput(v) }

func (r *Result) run() *connic.Run {
	return &connic.Run{ID: r.RunID, AgentName: r.AgentName, Status: r.Status, Output: r.Output, Error: r.Error}
}

// failure returns the error of a run that did not complete, or nil.
func (r *Result) failure() error {
	if r.Status == connic.RunCompleted {
		return nil
	}
	return &connic.RunError{Run: r.run()}
}

// A Dispatch describes the runs that an inbound connector has started.
type Dispatch struct {
	// DispatchedTo is the number of agents started. It is 0 if the connector is
	// not linked to any.
	DispatchedTo int
	RunIDs       []string
	// Result is set if the connector turns out to be a sync one, which has
	// finished its run.
	Result *Result
	Raw    json.RawMessage // the whole response
}

// answer is the body of a 2xx response.
type answer struct {
	dispatched int
	inbound    bool // it reports what was dispatched
	ids        []string
	result     *Result
}

var (
	errNotAnswer = errors.New("the response is not that of a connector")
	errSeveral   = errors.New("the response has the results of several runs")
	errActive    = errors.New("the response came before the run had finished")
)

// wireAnswer covers every place where a response may carry information.
type wireAnswer struct {
	wireResult
	DispatchedTo json.RawMessage `json:"dispatched_to"`
	RunIDs       json.RawMessage `json:"run_ids"`
	Result       json.RawMessage `json:"result"`
}

type wireResult struct {
	RunID     json.RawMessage `json:"run_id"`
	AgentName json.RawMessage `json:"agent_name"`
	Status    json.RawMessage `json:"status"`
	Output    json.RawMessage `json:"output"`
	Error     json.RawMessage `json:"error"`
}

func parseAnswer(body []byte) (*answer, error) {
	var top wireAnswer
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' || json.Unmarshal(body, &top) != nil {
		return nil, errNotAnswer
	}
	a := &answer{ids: texts(top.RunIDs)}
	if len(top.DispatchedTo) > 0 {
		a.inbound = json.Unmarshal(top.DispatchedTo, &a.dispatched) == nil
	}
	inner := &top.wireResult
	if len(top.Result) > 0 {
		switch top.Result[0] {
		case '{':
			inner = new(wireResult)
			_ = json.Unmarshal(top.Result, inner) // cannot fail: it was valid as part of the whole
		case '[':
			var several []wireResult
			if json.Unmarshal(top.Result, &several) != nil || len(several) == 0 {
				return a, errNotAnswer
			}
			for _, one := range several {
				a.ids = append(a.ids, texts(one.RunID)...)
			}
			if len(several) > 1 {
				return a, errSeveral
			}
			inner = &several[0]
		}
	}
	id := text(inner.RunID)
	switch {
	case id != "" || len(inner.Output) > 0:
	case a.inbound || len(a.ids) > 0:
		a.inbound = true
		return a, nil
	default:
		return a, errNotAnswer
	}
	r := &Result{
		RunID: id, AgentName: text(inner.AgentName), Status: connic.RunStatus(text(inner.Status)),
		Output: text(inner.Output), Error: text(inner.Error), Raw: body,
	}
	if id != "" && len(a.ids) == 0 {
		a.ids = []string{id}
	}
	if s := r.Status; s == "" || s == "ok" || s == "success" { // the status of the envelope, or none
		r.Status = connic.RunCompleted
		if r.Error != "" {
			r.Status = connic.RunFailed
		}
	}
	a.result = r
	if r.Status.Known() && !r.Status.Finished() {
		return a, errActive
	}
	return a, nil
}

// text returns the content of a JSON string, "" for null, and the JSON text of
// any other value.
func text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var s string
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// texts returns the elements of a list, or a single value as one element.
func texts(raw json.RawMessage) []string {
	if len(raw) == 0 {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	var out []string
	for _, item := range list {
		if s := text(item); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// salvage extracts the run ids from a truncated response, at its top level or
// within its result.
func salvage(body []byte) []string {
	var ids []string
	d := json.NewDecoder(bytes.NewReader(body))
	var object func(depth int) bool
	object = func(depth int) bool {
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return false
			}
			if name == "result" && depth == 0 {
				if open, err := d.Token(); err != nil || open != json.Delim('{') || !object(1) {
					return false
				}
				continue
			}
			var value json.RawMessage
			if d.Decode(&value) != nil {
				return false
			}
			if name == "run_id" || name == "run_ids" {
				ids = append(ids, texts(value)...)
			}
		}
		_, err := d.Token()
		return err == nil
	}
	if open, err := d.Token(); err == nil && open == json.Delim('{') {
		object(0)
	}
	return ids
}

// parse decodes the body of a 2xx response. Even a response that it cannot use
// may have started runs.
func (c *Connector) parse(op string, body []byte, attempts int) (*answer, error) {
	a, err := parseAnswer(body)
	if err == nil {
		return a, nil
	}
	fail := &Error{
		Op: op, Host: c.host, StatusCode: http.StatusOK, Attempts: attempts, Err: err,
		Body: c.mask.Head(body, 64<<10), unknown: true,
	}
	if errors.Is(err, errNotAnswer) {
		fail.Detail, _ = problem.Parse(fail.Body)
	}
	if a != nil {
		fail.RunIDs = a.ids
	}
	return a, fail
}

// Call sends an input to a sync connector and returns the finished run of its
// agent. The request lasts as long as the run: at most five minutes, the limit
// of the service, or until the context ends.
//
// It does not count against the API quota. A run that did not complete is
// returned together with a [*connic.RunError]. If the error matches
// [connic.ErrOutcomeUnknown], the run may still be in progress: the end of the
// context does not stop it, and a second Call would start a second run. The
// error contains the run's id if the response included it.
//
// The request and the format of the response are documented.
func (c *Connector) Call(ctx context.Context, in Input) (*Result, error) {
	body, attempts, err := c.invoke(ctx, "call", &in)
	if err != nil {
		return nil, err
	}
	a, err := c.parse("call", body, attempts)
	switch {
	case err != nil && a != nil && a.result != nil:
		return a.result, err
	case err != nil:
		return nil, err
	case a.result == nil:
		return nil, &ModeError{Host: c.host, DispatchedTo: a.dispatched, RunIDs: a.ids}
	}
	return a.result, a.result.failure()
}

// Send sends an input to an inbound connector, which starts all agents that are
// linked to it, and returns the ids of their runs without waiting. To wait for
// them, use [connic.RunsService.WaitAll], or receive their results from an
// outbound connector with a [Handler].
//
// It does not count against the API quota. A connector that is linked to no
// agent yields a [Dispatch] without runs, and no error.
//
// The request and the format of the response are documented.
func (c *Connector) Send(ctx context.Context, in Input) (*Dispatch, error) {
	body, attempts, err := c.invoke(ctx, "send", &in)
	if err != nil {
		return nil, err
	}
	a, err := c.parse("send", body, attempts)
	if err != nil && !errors.Is(err, errActive) {
		return nil, err
	}
	d := &Dispatch{DispatchedTo: max(a.dispatched, len(a.ids)), RunIDs: a.ids, Raw: body}
	if err == nil {
		d.Result = a.result
	}
	return d, nil
}

// SendAndWait sends an input to an inbound connector and waits until all runs
// that it started have finished. It sends exactly once: whatever happens during
// the wait, it starts no further run. The runs are returned in the order of
// their ids in the response.
//
// Runs that did not complete are returned like the others, and the error
// includes a [*connic.RunError] for each. If the context ends first, the error
// is or includes a [*connic.WaitError] whose Pending lists the missing runs;
// resume with [connic.RunsService.WaitAll].
//
// Sending does not count against the API quota. Each poll of all the runs costs
// one request: see [connic.RunsService.WaitAll].
func (c *Connector) SendAndWait(ctx context.Context, client *connic.Client, in Input, opts ...connic.WaitOption) ([]*connic.Run, error) {
	if client == nil {
		return nil, argument("SendAndWait", "client", "is nil")
	}
	dispatch, err := c.Send(ctx, in)
	if err != nil {
		return nil, err
	}
	if r := dispatch.Result; r != nil {
		return []*connic.Run{r.run()}, r.failure()
	}
	if len(dispatch.RunIDs) == 0 {
		return nil, &Error{
			Op: "send", Host: c.host, StatusCode: http.StatusOK, Attempts: 1, unknown: dispatch.DispatchedTo > 0,
			Err: errors.New("the response names no run to wait for; is the connector linked to an agent?"),
		}
	}
	var errs []error
	ended := make(map[string]*connic.Run, len(dispatch.RunIDs))
	for run, err := range client.Runs.WaitAll(ctx, dispatch.RunIDs, opts...) {
		if run != nil {
			ended[run.ID] = run
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	runs := make([]*connic.Run, 0, len(ended))
	for _, id := range dispatch.RunIDs {
		if run := ended[id]; run != nil {
			runs = append(runs, run)
			delete(ended, id)
		}
	}
	err = errors.Join(errs...)
	if len(errs) == 1 {
		err = errs[0]
	}
	// Whatever went wrong, name the runs that were started.
	var missing []string
	for _, id := range dispatch.RunIDs {
		if !slices.ContainsFunc(runs, func(r *connic.Run) bool { return r.ID == id }) {
			missing = append(missing, id)
		}
	}
	var wait *connic.WaitError
	if err != nil && len(missing) > 0 && !errors.As(err, &wait) {
		err = &Error{Op: "send", Host: c.host, Attempts: 1, RunIDs: missing, Err: err}
	}
	return runs, err
}
