package connic

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/api"
)

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
	w := s.scope().Runs.waiter(&conf)
	if err := w.check(ctx, api.Table[api.AgentsTrigger].Name); err != nil {
		return nil, err
	}
	w.Expect(1, 0, false)
	expected, begun := 1, 0
	arrived := func() {
		w.Expect(-expected, -begun, false)
		expected, begun = 0, 0
	}
	defer func() { arrived() }()
	r := request{op: api.AgentsTrigger, id: agent, encoded: body, salvage: salvageTrigger}
	sending := ctx
	admitted := func() {}
	if conf.cancelOnAbort {
		own := newGrace(ctx)
		defer own.stop()
		sending, admitted = own, own.begin
	}
	r.admitted = func() {
		w.Expect(0, 1-begun, true)
		begun = 1
		admitted()
	}
	if _, ok := ctx.Deadline(); ok {
		r.spare = conf.firstPoll()
	}
	if conf.progress != nil {
		start := time.Now()
		r.queued = func(reason Reason, wait time.Duration) {
			conf.progress(WaitEvent{Kind: "run", Phase: string(reason), After: time.Since(start), Next: wait})
		}
	}
	result, err := do(sending, s.scope(), r, decodeTrigger, nil)
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

// firstPoll is the time from a trigger to the response to the first poll after
// it.
func (c *waitConfig) firstPoll() time.Duration {
	return c.initial + c.initial/10 + min(c.initial/4, 500*time.Millisecond)
}

// grace is a context that outlives another one by abortTimeout if a request was
// sent before that one ended.
type grace struct {
	context.Context
	of      context.Context
	cancel  context.CancelCauseFunc
	forget  func() bool
	mu      sync.Mutex
	begun   bool
	expires *time.Timer
}

func newGrace(ctx context.Context) *grace {
	g := &grace{of: ctx}
	g.Context, g.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	g.forget = context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.begun {
			g.cancel(contextError(ctx))
			return
		}
		g.expires = time.AfterFunc(abortTimeout, func() { g.cancel(contextError(ctx)) })
	})
	return g
}

// begin is called when a request is about to be sent.
func (g *grace) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of.Err() != nil { // a repeated one
		g.cancel(contextError(g.of))
	}
	g.begun = true
}

func (g *grace) stop() {
	g.forget()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.expires != nil {
		g.expires.Stop()
	}
	g.cancel(nil)
}

// Deadline implements [context.Context].
func (g *grace) Deadline() (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	end, ok := g.of.Deadline()
	if ok && g.begun {
		end = end.Add(abortTimeout)
	}
	return end, ok
}
