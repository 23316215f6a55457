package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/lenient"
)

// A Result is the finished run of a sync connector.
type Result struct {
	RunID     string
	AgentName string
	Status    connic.RunStatus
	// Output is the agent's text or, for an agent with an output schema, the
	// JSON text of the output, as received.
	Output string
	Error  string // of a run that did not complete
	// TokenUsage is that of the run. It is assumed that the response has it; if
	// it is zero, [connic.RunsService.Get] returns it.
	TokenUsage connic.TokenUsage
	Raw        json.RawMessage // the whole response, as received
}

// DecodeOutput decodes a JSON output into v.
func (r *Result) DecodeOutput(v any) error { return r.Run().DecodeOutput(v) }

// failure returns the error of a run that did not complete, or nil. Its run
// shows no secret, even if the output does.
func (c *Connector) failure(r *Result) error {
	if r.Status == connic.RunCompleted {
		return nil
	}
	run := r.Run()
	run.Output = c.mask.Text(run.Output)
	return &connic.RunError{Run: run}
}

// A Dispatch describes the runs that an inbound connector has started.
type Dispatch struct {
	// DispatchedTo is the number of agents started. It is 0 if the connector is
	// linked to none, or only to agents with files_required and the input has no
	// file.
	DispatchedTo int
	RunIDs       []string
	// Result is set if the connector turns out to be a sync one, which has
	// finished its run.
	Result *Result
	Raw    json.RawMessage // the whole response
}

// answer is the body of a 2xx response.
type answer struct {
	raw        json.RawMessage
	dispatched int
	ids        []string // masked
	result     *Result  // of a sync connector
}

var (
	errNotAnswer = errors.New("the response is not that of a connector")
	errSeveral   = errors.New("the response has the results of several runs")
	errActive    = errors.New("the response came before the run had finished")
	errUnnamed   = errors.New("the response does not name the runs that were started")
)

// fields are the members of a response, or of a result in it, that are read.
// They share memory with the document.
type fields struct {
	keys    map[string]json.RawMessage
	runIDs  []string
	results []*fields
	list    bool // the results are a list
}

var answerKeys = map[string]bool{"run_id": true, "agent_name": true, "status": true, "output": true, "error": true, "dispatched_to": true, "token_usage": true}

// read reads an object. With an error it has read what is complete.
func (f *fields) read(d *lenient.Decoder) error {
	return d.Members(func(key []byte) error {
		switch at := d.Peek(); {
		case string(key) == "run_ids" && at == '[':
			return d.Elements(func() error { return f.id(d) })
		case string(key) == "run_ids":
			return f.id(d)
		case string(key) == "result" && at == '{':
			return f.result(d)
		case string(key) == "result" && at == '[':
			f.list = true
			return d.Elements(func() error { return f.result(d) })
		}
		return keep(d, key, answerKeys, &f.keys)
	})
}

// keep reads the value at the position, and keeps it if its key is known and it
// is not null.
func keep(d *lenient.Decoder, key []byte, known map[string]bool, in *map[string]json.RawMessage) error {
	name := string(key)
	raw, err := value(d)
	if known[name] && string(raw) != "null" && err == nil {
		if *in == nil {
			*in = make(map[string]json.RawMessage, len(known))
		}
		(*in)[name] = raw
	}
	return err
}

func (f *fields) text(key string) string { return text(f.keys[key]) }

func (f *fields) id(d *lenient.Decoder) error {
	raw, err := value(d)
	if id := text(raw); err == nil && id != "" {
		f.runIDs = append(f.runIDs, id)
		err = d.Charge(2 * (len(id) + 16)) // append grows by doubling
	}
	return err
}

func (f *fields) result(d *lenient.Decoder) error {
	const size = 512 // of fields with a map, about
	if err := d.Charge(size); err != nil {
		return err
	}
	inner := new(fields)
	f.results = append(f.results, inner)
	return inner.read(d)
}

// value returns the value at the position. It shares memory with the document,
// and is nil if the document ends with a number, which may be truncated.
func value(d *lenient.Decoder) (json.RawMessage, error) {
	at := d.Offset()
	if err := d.Skip(); err != nil {
		return nil, err
	}
	raw := bytes.TrimSpace(d.Since(at))
	if d.Peek() == 0 && bytes.IndexByte([]byte(`"]}`), raw[len(raw)-1]) < 0 {
		return nil, nil
	}
	return raw, nil
}

// runs returns the ids of the runs that a response names, masked.
func (c *Connector) runs(f *fields) []string {
	ids := f.runIDs
	if id := f.text("run_id"); id != "" && len(ids) == 0 {
		ids = []string{id}
	}
	if len(ids) == 0 || f.list {
		for _, one := range f.results {
			if id := one.text("run_id"); id != "" {
				ids = append(ids, id)
			}
		}
	}
	for i := range ids {
		ids[i] = c.mask.Line(ids[i], exchange.MaxID)
	}
	return ids
}

// parse decodes the body of a 2xx response. With an error it still returns the
// runs that the response names. All texts but the output pass the mask.
func (c *Connector) parse(d *lenient.Decoder) (a answer, err error) {
	var f fields
	if err := d.End(f.read(d)); err != nil {
		a.ids = c.runs(&f)
		return a, fmt.Errorf("%w: %w", errNotAnswer, err)
	}
	a.raw, a.ids = bytes.Clone(d.Since(0)), c.runs(&f)
	inner := &f
	switch {
	case len(f.results) > 1:
		return a, errSeveral
	case len(f.results) == 1:
		inner = f.results[0]
	}
	id := inner.text("run_id")
	if id == "" {
		id = f.text("run_id")
	}
	if id == "" {
		counted := json.Unmarshal(f.keys["dispatched_to"], &a.dispatched) == nil
		switch {
		case len(a.ids) > 0:
		case a.dispatched > 0:
			return a, errUnnamed
		case !counted || f.text("error") != "":
			return a, errNotAnswer
		}
		a.dispatched = max(a.dispatched, len(a.ids))
		return a, nil
	}
	r := &Result{
		RunID: c.mask.Line(id, exchange.MaxID), AgentName: c.line(inner.text("agent_name")), Status: connic.RunStatus(c.line(inner.text("status"))),
		Output: inner.text("output"), Error: c.mask.Text(inner.text("error")), Raw: a.raw,
	}
	if usage := inner.keys["token_usage"]; usage != nil {
		_ = lenient.Unmarshal(usage, &r.TokenUsage) // what it cannot be decoded from stays in Raw
	}
	if s := r.Status; s == "" || s == "ok" || s == "success" { // the status of the envelope, or none
		r.Status = connic.RunCompleted
		if r.Error != "" {
			r.Status = connic.RunFailed
		}
	}
	a.result, a.dispatched = r, len(a.ids)
	if r.Status.Known() && !r.Status.Finished() {
		return a, errActive
	}
	return a, nil
}

// text returns the content of a JSON string, "" for null, and the JSON text of
// any other value.
func text(raw json.RawMessage) string {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case raw[0] == '"':
		return lenient.Text(raw)
	}
	return string(raw)
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
	return c.call(ctx, in, nil)
}

func (c *Connector) call(ctx context.Context, in Input, begin func() error) (*Result, error) {
	a, err := c.invoke(ctx, "call", &in, begin)
	return a.result, err
}

// Send sends an input to an inbound connector, which starts all agents that are
// linked to it, and returns the ids of their runs without waiting. To wait for
// them, use [connic.RunsService.WaitAll], or receive their results from an
// outbound connector with a [Handler].
//
// It does not count against the API quota. An input that starts no agent yields
// a [Dispatch] without runs, and no error.
//
// The request and the format of the response are documented.
func (c *Connector) Send(ctx context.Context, in Input) (*Dispatch, error) {
	return c.send(ctx, in, nil)
}

func (c *Connector) send(ctx context.Context, in Input, begin func() error) (*Dispatch, error) {
	a, err := c.invoke(ctx, "send", &in, begin)
	if err != nil {
		return nil, err
	}
	return &Dispatch{DispatchedTo: a.dispatched, RunIDs: a.ids, Result: a.result, Raw: a.raw}, nil
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
		return []*connic.Run{r.Run()}, c.failure(r)
	}
	if len(dispatch.RunIDs) == 0 {
		return nil, &Error{
			Op: "send", Host: c.host, StatusCode: http.StatusOK, Attempts: 1,
			Err: errNoRun,
		}
	}
	var errs []error
	ended := make(map[string]*connic.Run, len(dispatch.RunIDs))
	for run, err := range client.Runs.WaitAll(ctx, dispatch.RunIDs, opts...) {
		if run != nil {
			ended[run.ID] = run
		}
		if err != nil {
			errs = append(errs, c.mask.Error(err)) // it may quote what the agent's tools say
		}
	}
	runs := make([]*connic.Run, 0, len(ended))
	for _, id := range dispatch.RunIDs {
		if run := ended[id]; run != nil {
			runs = append(runs, run)
			delete(ended, id)
		}
	}
	err = joined(errs)
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
