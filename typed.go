package connic

import (
	"context"
	"errors"
	"reflect"
	"strings"
)

// An AgentOf is the name of an agent, with the Go types of its input and output.
// It is a string, so that an agent is declared once, as a constant:
//
//	const ExtractInvoice connic.AgentOf[Request, Invoice] = "invoice-extractor"
//
// A call with another input, or one that assigns the output to another type, does
// not compile. The module contrib/connicgen generates the constants and the types
// from the schemas of a project.
//
// In is the type of the input:
//
//   - A string, or a type whose kind is string, is the message.
//   - A [TriggerRequest] is sent as it is.
//   - Any other value is the payload. Its keys message and files, if it has them,
//     are those that agents take as such; a field files is a []File.
//
// Out is the type of the output: see [OutputAs].
type AgentOf[In, Out any] string

// Request returns the request that triggers the agent with an input. Mark it with
// [TriggerRequest.Marked] to find the run of a trigger whose outcome is unknown.
func (a AgentOf[In, Out]) Request(in In) TriggerRequest {
	switch in := any(in).(type) {
	case TriggerRequest:
		return in
	case *TriggerRequest:
		if in == nil {
			return TriggerRequest{}
		}
		return *in
	case nil:
		return TriggerRequest{}
	}
	if v := reflect.ValueOf(in); v.Kind() == reflect.String {
		return TriggerRequest{Message: v.String()}
	}
	return TriggerRequest{Payload: in}
}

// Trigger starts a run of the agent, as [AgentsService.Trigger] does. It costs one
// request.
func (a AgentOf[In, Out]) Trigger(ctx context.Context, c *Client, in In, opts ...RequestOption) (*TriggerResult, error) {
	if c == nil {
		return nil, noClient("agents.trigger")
	}
	return c.Agents.Trigger(ctx, string(a), a.Request(in), opts...)
}

// TriggerAndWait starts a run of the agent and waits until it has finished, as
// [AgentsService.TriggerAndWait] does, with the same run, errors and cost. It
// returns the output of the run, or the zero value with an error.
//
// A run that completed with an output that is no Out is returned with an
// [*OutputError]. It is not triggered again: it was executed and billed.
func (a AgentOf[In, Out]) TriggerAndWait(ctx context.Context, c *Client, in In, opts ...WaitOption) (Out, *Run, error) {
	var zero Out
	if c == nil {
		return zero, nil, noClient("agents.trigger")
	}
	run, err := c.Agents.TriggerAndWait(ctx, string(a), a.Request(in), opts...)
	return a.waited(c, run, err)
}

// Wait waits until a run of the agent has finished, as [RunsService.Wait] does,
// with the same run, errors and cost. It returns the output of the run, or the zero
// value with an error.
//
// To wait for many runs, use [RunsService.WaitAll] or [RunsService.Watch], and
// Output for each run that is yielded without an error.
func (a AgentOf[In, Out]) Wait(ctx context.Context, c *Client, runID string, opts ...WaitOption) (Out, *Run, error) {
	var zero Out
	if c == nil {
		return zero, nil, noClient("runs.wait")
	}
	run, err := c.Runs.Wait(ctx, runID, opts...)
	return a.waited(c, run, err)
}

// waited returns what a wait ended with, and the output of the run.
func (a AgentOf[In, Out]) waited(c *Client, run *Run, err error) (Out, *Run, error) {
	if err != nil {
		var zero Out
		return zero, run, err
	}
	out, err := a.Output(run)
	return out, run, c.hide(err)
}

// Output returns the output of a run of the agent: see [OutputAs]. A run of another
// agent is refused with an [*OutputError]. Those of its A/B variants, which are
// named after it with "-test-" and a name, are runs of the agent, and so is a run
// that names none. It costs no request.
func (a AgentOf[In, Out]) Output(r *Run) (Out, error) {
	if r != nil && r.AgentName != "" && r.AgentName != string(a) && !strings.HasPrefix(r.AgentName, string(a)+"-test-") {
		var zero Out
		return zero, &OutputError{
			Run: r, Type: typeName[Out](), Problem: OutputOfOtherAgent, Err: errors.New("it is a run of " + r.AgentName + ", not of " + string(a)),
		}
	}
	return OutputAs[Out](r)
}

func noClient(op string) error { return &ArgumentError{Op: op, Arg: "client", Reason: "is nil"} }

func typeName[T any]() string { return reflect.TypeFor[T]().String() }
