package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/grace"
	"github.com/connic-go/connic/internal/lenient"
)

// A TriggerRequest is the input of a run: a message, a structured payload,
// files, or any combination of these.
type TriggerRequest struct {
	Message string
	// Payload is any value that encodes to a JSON object. Its keys are added to
	// the top level of the request, alongside message and files, and must differ
	// from those. Without a message and files, Payload may encode to any JSON
	// value, which then is the request body.
	Payload any
	Files   []File
}

// encode returns the request body of a trigger.
func (r TriggerRequest) encode() (json.RawMessage, error) {
	bad := func(arg, reason string) (json.RawMessage, error) {
		return nil, &ArgumentError{Op: api.Table[api.AgentsTrigger].Name, Arg: arg, Reason: reason}
	}
	if r.Message == "" && r.Payload == nil && len(r.Files) == 0 {
		return bad("request", "is empty: it has neither message nor payload nor files")
	}
	files := slices.Clone(r.Files)
	for i, f := range files {
		if f.Data == nil {
			files[i].Data = []byte{} // what is streamed follows
		}
		if f.Name == "" {
			return bad("file", "has no name")
		}
		if f.MIMEType == "" {
			return bad("file", "has no MIME type")
		}
	}
	own := []byte{'{'}
	if r.Message != "" || len(r.Files) > 0 {
		encoded, err := json.Marshal(struct {
			Message string `json:"message,omitempty"`
			Files   []File `json:"files,omitempty"`
		}{r.Message, files})
		if err != nil {
			return bad("request", "cannot be encoded as JSON: "+err.Error())
		}
		if r.Payload == nil {
			return encoded, nil
		}
		own = encoded[:len(encoded)-1]
	}
	payload, err := json.Marshal(r.Payload)
	if err != nil {
		return bad("payload", "cannot be encoded as JSON: "+err.Error())
	}
	if string(payload) == "null" {
		return bad("payload", "is null")
	}
	if len(own) == 1 {
		return payload, nil
	}
	if payload[0] != '{' {
		return bad("payload", "does not encode to a JSON object, and the request has a message or files too")
	}
	empty := true
	var clash string
	d := lenient.New(payload)
	_ = d.Members(func(key []byte) error { // cannot fail: it was just encoded
		empty = false
		switch {
		case string(key) == "message" && r.Message != "":
			clash = "has a key message, and the request has a message too"
		case string(key) == "files" && len(r.Files) > 0:
			clash = "has a key files, and the request has files too"
		}
		return d.Skip()
	})
	switch {
	case clash != "":
		return bad("payload", clash)
	case empty:
		return append(own, '}'), nil
	}
	return append(append(own, ','), payload[1:]...), nil
}

// fill sets the body of a request to that of a trigger.
func (r TriggerRequest) fill(to *request) (err error) {
	if to.encoded, err = r.encode(); err == nil && slices.ContainsFunc(r.Files, streamed) {
		to.stream = r.stream
	}
	return err
}

// TriggerResult is the response to a trigger.
type TriggerResult struct {
	RunID     string    `json:"run_id" api:"assumed,id"`
	Status    RunStatus `json:"status" api:"assumed"`
	AgentName string    `json:"agent_name,omitzero" api:"assumed"`
	// Output is set if the service responds with the finished run.
	Output string `json:"output,omitzero" api:"assumed,response"`
}

// triggerWire covers every place where the response may name the run.
type triggerWire struct {
	TriggerResult
	RunIDs []string `json:"run_ids"`
	Run    *Run     `json:"run"`
}

func (w *triggerWire) id() string {
	switch {
	case w.RunID != "":
		return w.RunID
	case w.Run != nil && w.Run.ID != "":
		return w.Run.ID
	case len(w.RunIDs) == 1:
		return w.RunIDs[0]
	}
	return ""
}

func decodeTrigger(d *lenient.Decoder) (*TriggerResult, error) {
	w := new(triggerWire)
	if err := d.Decode(w); err != nil {
		return nil, err
	}
	result := &w.TriggerResult
	result.RunID = w.id()
	if result.Output != "" && !result.Status.Finished() {
		result.Status = RunCompleted
	}
	if result.RunID == "" && result.Output == "" {
		return nil, &lenient.FieldError{Field: "run_id", Err: errors.New("the response names no run")}
	}
	return result, nil
}

// salvageTrigger extracts the run's id from a truncated response, using the
// members that are complete.
func salvageTrigger(body []byte) any {
	var w triggerWire
	d := lenient.New(body)
	_ = d.Members(func(key []byte) error {
		switch string(key) {
		case "run_id", "id":
			return d.Whole(&w.RunID)
		case "run_ids":
			return d.Whole(&w.RunIDs)
		case "run":
			return d.Whole(&w.Run)
		}
		return d.Skip()
	})
	if id := w.id(); id != "" {
		return &TriggerResult{RunID: id}
	}
	return nil
}

// Trigger starts a run of an agent and returns without waiting for it. To wait,
// use [RunsService.Wait] or [AgentsService.TriggerAndWait].
//
// The API has no protection against replays: a request that arrives twice
// starts two runs, and both are billed. Trigger therefore retries only if the
// first attempt cannot have been executed. If that is uncertain and no response
// came, the error is [ErrOutcomeUnknown]. If the response was truncated after
// it named the run, the result is returned with that error.
//
// The vendor describes this endpoint as intended for testing, and recommends
// webhook connectors for production traffic; package connector calls those.
//
// It costs one request.
//
//	API:    POST /projects/{project}/agents/{agent}/trigger
//	Access: agents write
//	Status: documented
func (s *AgentsService) Trigger(ctx context.Context, agent string, req TriggerRequest, opts ...RequestOption) (*TriggerResult, error) {
	r := request{op: api.AgentsTrigger, id: agent, salvage: salvageTrigger}
	if err := req.fill(&r); err != nil {
		return nil, err
	}
	return do(ctx, s.scope(), r, decodeTrigger, opts)
}

// TriggerAndWait starts a run of an agent and waits until it has finished. It
// triggers exactly once: whatever happens during the wait, it does not start
// another run.
//
// It returns one of the following:
//
//   - the run and no error: the run completed
//   - the run and a [*RunError]: the run ended badly, or in an unknown state
//   - a run with at least its ID and a [*WaitError]: the wait ended first, as
//     described at [RunsService.Wait]; resume with that method, or see
//     [CancelOnAbort]
//   - no run and the error of [AgentsService.Trigger]: no run was started or, with
//     [ErrOutcomeUnknown], it is not known whether one was
//   - no run and a [*LimitError]: nothing was sent, because the context's deadline
//     leaves no time for the trigger's turn under the rate limit and a subsequent
//     poll of the run
//
// If the service responds to the trigger with the output, TriggerAndWait
// returns that as the run, which may then have no ID.
//
// It costs one request, plus its part of the polls that all waits share (see
// [RunsService.Wait]), the first of them 2 s after the trigger.
//
//	API:    POST /projects/{project}/agents/{agent}/trigger
//	Access: agents write
//	Status: documented
func (s *AgentsService) TriggerAndWait(ctx context.Context, agent string, req TriggerRequest, opts ...WaitOption) (*Run, error) {
	conf := newWaitConfig(opts)
	r := request{op: api.AgentsTrigger, id: agent, salvage: salvageTrigger}
	if err := req.fill(&r); err != nil {
		return nil, err
	}
	w := runWaiter((*RunsService)(s), &conf)
	if err := w.check(ctx, api.Table[api.AgentsTrigger].Name); err != nil {
		return nil, err
	}
	_, leave := w.scope.activity.join(ctx, &activeWait{kind: w.kind, aborts: conf.cancelOnAbort})
	defer leave()
	result, arrived, err := sendTrigger(ctx, s, w, r, triggerOptions{patient: conf.cancelOnAbort, wait: &conf})
	defer arrived()
	if result == nil {
		return nil, err
	}
	// A truncated response that contains the run's id is sufficient.
	if result.RunID == "" {
		run := &Run{AgentName: agent, Status: result.Status, Output: result.Output}
		return run, s.scope().hide(run.failure())
	}
	if err := w.check(ctx, "agents.trigger_and_wait", result.RunID); err != nil {
		return &Run{ID: result.RunID, AgentName: agent}, &WaitError{
			Kind: "run", ID: result.RunID, Pending: []string{result.RunID}, LastStatus: string(result.Status), Err: err,
		}
	}
	x := w.Join(ctx, conf.terms(), !result.Status.Finished(), result.RunID)
	arrived()
	run, err := w.await(ctx, x, result.RunID, &Run{ID: result.RunID})
	run.AgentName = cmp.Or(run.AgentName, agent)
	return run, err
}

// triggerOptions configure a trigger whose run is waited for.
type triggerOptions struct {
	wait    *waitConfig
	begin   func() error // see callOptions
	request []RequestOption
	// patient has a request that was sent outlive the context, for its response.
	patient bool
}

// trigger sends a trigger whose run w is to wait for. Call arrived when it does,
// or will not.
func sendTrigger(ctx context.Context, s *AgentsService, w *waiter[Run], r request, o triggerOptions) (result *TriggerResult, arrived func(), err error) {
	w.Expect(1, 0, false)
	expected, begun := 1, 0
	arrived = func() {
		w.Expect(-expected, -begun, false)
		expected, begun = 0, 0
	}
	defer func() { // also if user code panics
		if result == nil {
			arrived()
		}
	}()
	sending := ctx
	admitted := func() {}
	if o.patient {
		own := grace.New(ctx, abortTimeout)
		defer own.Stop()
		sending, admitted = own, own.Begin
	}
	r.admitted = func() {
		w.Expect(0, 1-begun, true)
		begun = 1
		admitted()
	}
	if _, ok := ctx.Deadline(); ok {
		r.spare = o.wait.firstPoll()
	}
	if o.begin == nil {
		r.queued = o.wait.queued("run")
	}
	result, err = do(sending, s.scope(), r, decodeTrigger, append(slices.Clone(o.request), withBegin(o.begin)))
	return result, arrived, err
}

// firstPoll is the time from a trigger to the response to the first poll after
// it.
func (c *waitConfig) firstPoll() time.Duration {
	return c.initial + c.initial/10 + min(c.initial/4, 500*time.Millisecond)
}
