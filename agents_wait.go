package connic

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// abortTimeout limits the cancel request of CancelOnAbort.
const abortTimeout = 10 * time.Second

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
	body, err := req.encode()
	if err != nil {
		return nil, err
	}
	if ctx == nil {
		return nil, &ArgumentError{Op: api.Table[api.AgentsTrigger].Name, Arg: "context", Reason: "is nil"}
	}
	watch := s.scope().Runs.watch(&conf)
	expected, begun := 1, 0
	watch.expect(1, 0, false)
	arrived := func() {
		watch.expect(-expected, -begun, false)
		expected, begun = 0, 0
	}
	defer func() { arrived() }()
	r := request{op: api.AgentsTrigger, id: agent, encoded: body, salvage: salvageTrigger}
	r.admitted = func() {
		watch.expect(0, 1-begun, true)
		begun = 1
	}
	if _, ok := ctx.Deadline(); ok {
		r.spare = conf.firstLook()
	}
	result, err := do(ctx, s.scope(), r, decodeTrigger, nil)
	if result == nil {
		return nil, err
	}
	// A truncated response that contains the run's id is sufficient.
	if result.RunID == "" {
		run := &Run{AgentName: agent, Status: result.Status, Output: result.Output}
		return run, s.scope().hide(run.failure())
	}
	if err := s.scope().checkRun(ctx, "agents.trigger_and_wait", result.RunID); err != nil {
		return &Run{ID: result.RunID, AgentName: agent}, &WaitError{
			Kind: "run", ID: result.RunID, Pending: []string{result.RunID}, LastStatus: string(result.Status), Err: err,
		}
	}
	wait := watch.join(ctx, conf, !result.Status.Finished(), result.RunID)
	arrived()
	run, err := s.scope().Runs.await(wait, ctx, result.RunID)
	if run.AgentName == "" {
		named := *run // other waits may share it
		named.AgentName = agent
		run = &named
		var bad *RunError
		if errors.As(err, &bad) {
			bad.Run = run
		}
	}
	var ended *WaitError
	if conf.cancelOnAbort && ctx.Err() != nil && errors.As(err, &ended) {
		err = s.scope().Runs.abort(ctx, run.ID, err)
	}
	return run, err
}

// firstLook is the time from a trigger to the response to the first poll after
// it.
func (c *waitConfig) firstLook() time.Duration {
	return c.initial + c.initial/10 + min(c.initial/4, 500*time.Millisecond)
}

// abort cancels a run whose caller has gone.
func (s *RunsService) abort(ctx context.Context, id string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	failed := s.Cancel(ctx, id)
	if failed == nil || errors.Is(failed, ErrConflict) || errors.Is(failed, ErrNotFound) { // the run has ended
		return err
	}
	return fmt.Errorf("%w; it could not be canceled: %w", err, failed)
}
