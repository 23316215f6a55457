package connector

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/connic-go/connic"
)

// Run returns the result as a run, with the fields that the two have in common.
func (r *Result) Run() *connic.Run {
	return &connic.Run{ID: r.RunID, AgentName: r.AgentName, Status: r.Status, Output: r.Output, Error: r.Error, TokenUsage: r.TokenUsage}
}

// InputOf returns the input of a connector for an agent: see [connic.AgentOf]. An
// [Input] is sent as it is.
func InputOf[In, Out any](a connic.AgentOf[In, Out], in In) Input {
	switch in := any(in).(type) {
	case Input:
		return in
	case *Input:
		if in == nil {
			return Input{}
		}
		return *in
	}
	r := a.Request(in)
	input := Input{Message: r.Message, Payload: r.Payload}
	for _, f := range r.Files {
		input.Files = append(input.Files, File{Name: f.Name, MIMEType: f.MIMEType, Data: f.Data, Open: f.Open})
	}
	return input
}

// CallAs sends an input to a sync connector of an agent, as [Connector.Call] does,
// with the same result and errors. It returns the output of the run, or the zero
// value with an error.
//
// A run that completed with an output that is no Out, or that is one of another
// agent, is returned with a [*connic.OutputError].
func CallAs[In, Out any](ctx context.Context, c *Connector, a connic.AgentOf[In, Out], in In) (Out, *Result, error) {
	var zero Out
	result, err := c.Call(ctx, InputOf(a, in))
	if err != nil {
		return zero, result, err
	}
	out, err := a.Output(result.Run())
	return out, result, c.mask.Error(err)
}

// SendAndWaitAs sends an input to an inbound connector, as [Connector.SendAndWait]
// does, and returns the output and the run of one agent, whatever happened to the
// runs of the other agents of the connector. With an error, the output is the zero
// value:
//
//   - the run and a [*connic.RunError]: the run did not complete
//   - the run and a [*connic.OutputError]: its output is no Out; or no run is one of
//     the agent, and the error names the agents that ran, and has their first run
//   - no run, and an error of [Connector.SendAndWait]: the run of the agent has not
//     ended, or is not known
func SendAndWaitAs[In, Out any](ctx context.Context, c *Connector, client *connic.Client, a connic.AgentOf[In, Out], in In, opts ...connic.WaitOption) (Out, *connic.Run, error) {
	var zero Out
	runs, err := c.SendAndWait(ctx, client, InputOf(a, in), opts...)
	missing := errors.As(err, new(*connic.WaitError)) || errors.As(err, new(*Error))
	run, other := runOf(a, runs, len(runs) == 1 && !missing)
	switch {
	case run != nil:
		out, failed := a.Output(run)
		if failed != nil {
			failed = cmp.Or(errorOf(err, run), c.mask.Error(failed))
		}
		return out, run, failed
	case other == nil || missing:
		return zero, nil, err // the run of the agent may be one that is missing
	}
	return zero, runs[0], c.mask.Error(other)
}

// runOf returns the run of an agent, or the error that there is none among the
// runs. It returns neither if there are no runs. A run that names no agent is that
// of the agent only if it is known to be the only one.
func runOf[In, Out any](a connic.AgentOf[In, Out], runs []*connic.Run, only bool) (*connic.Run, error) {
	var names []string
	text := connic.AgentOf[In, string](a) // which any output is
	for _, run := range runs {
		_, err := text.Output(run)
		if !errors.As(err, new(*connic.OutputError)) && (run.AgentName != "" || only) {
			return run, nil
		}
		names = append(names, cmp.Or(run.AgentName, "an agent without a name"))
	}
	if len(runs) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to name
	}
	slices.Sort(names)
	return nil, &connic.OutputError{
		Run: runs[0], Type: reflect.TypeFor[Out]().String(), Problem: connic.OutputOfOtherAgent,
		Err: errors.New("no run is one of " + string(a) + ", but of " + strings.Join(slices.Compact(names), ", ")),
	}
}

// errorOf returns the error of one run among those of several.
func errorOf(err error, run *connic.Run) error {
	all, ok := err.(failures) //nolint:errorlint // made by joined
	if !ok {
		all = failures{err}
	}
	for _, err := range all {
		var failed *connic.RunError
		if errors.As(err, &failed) && failed.Run != nil && failed.Run.ID == run.ID {
			return err
		}
	}
	return nil
}
