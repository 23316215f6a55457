package connector

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/bulk"
	routes "github.com/connic-go/connic/internal/route"
)

const (
	bulkSenders  = 64
	bulkInFlight = 1000 // runs that are collected
	bulkGrace    = 10 * time.Second
)

// bulkOptions are the options of a bulk call.
type bulkOptions = bulk.Options[connic.WaitOption, connic.RequestOption, connic.Run]

// CallAll calls a sync connector with each of many inputs, once, and yields each
// result as it arrives. Inputs are pairs of a key, which is the caller's own, and
// an input. It works as [connic.AgentsService.TriggerAll] does, with the same
// journals and options, but for the following.
//
// As many calls are in flight as [WithMaxInFlight] allows. The end of the context
// ends them: after 10 s with a journal, which makes their outcomes unknown, and at
// once without one.
//
// With [connic.WithCollector], runs whose response was lost, or not handled before
// the process ended, are searched for and collected through the API, with polls
// from its quota. Without it, they are yielded with an error that names the run or
// matches [connic.ErrOutcomeUnknown], in each call, and never called again without
// [connic.ResendUnknown] or [connic.WithSettle].
//
// The cost of a run is known only if it was collected through the API, so a
// [connic.WithBudget] does not serve here.
//
// A call fails for all inputs if the secret is refused, the connector does not
// exist or is an inbound one, or the service asks for a pause that is too long.
func (c *Connector) CallAll(ctx context.Context, inputs iter.Seq2[string, Input], journal connic.Journal, opts ...connic.BulkOption) iter.Seq2[connic.BulkResult[Result], error] {
	job := &bulk.Job[Input, Result, connic.Run]{
		Op: "connector.call_all",
		Send: func(ctx context.Context, in Input, begin func() error) bulk.Sent[Result] {
			result, err := c.call(ctx, in, begin)
			var failed *Error
			switch {
			case result != nil && !errors.As(err, &failed):
				return bulk.Sent[Result]{Value: result, IDs: valid(result.RunID), Final: true, Err: err}
			case errors.As(err, &failed) && len(failed.RunIDs) > 0:
				return bulk.Sent[Result]{Value: &Result{RunID: failed.RunIDs[0]}, IDs: valid(failed.RunIDs...), Err: err}
			}
			return bulk.Sent[Result]{Err: err}
		},
		Recover: func(ids []string) (*Result, error) {
			return &Result{RunID: ids[0]}, &Error{Op: "call", Host: c.host, RunIDs: ids, Err: errNotCollected}
		},
		Join: func(_ *Result, parts []bulk.Ended[connic.Run]) (*Result, error) {
			r := &Result{RunID: parts[0].ID}
			if run := parts[0].Value; run != nil {
				r.AgentName, r.Status, r.Output, r.Error = run.AgentName, run.Status, run.Output, run.Error
			}
			return r, c.mask.Error(parts[0].Err)
		},
		Fatal: func(err error) (fatal, all bool) {
			var mode *ModeError
			fatal = errors.As(err, &mode) || isFatal(err)
			return fatal, fatal
		},
	}
	return runBulk(ctx, c, job, inputs, journal, opts)
}

// errNotCollected is why a call of an earlier process has no result.
var errNotCollected = errors.New("the result was not handled by the process that made the call; see connic.WithCollector")

// A Sent is what [Connector.SendAll] yields of an input.
type Sent struct {
	Dispatch
	// Runs are the runs that have ended, in the order of their ids. They are
	// present only with [connic.WithCollector].
	Runs []*connic.Run
}

// SendAll sends each of many inputs to an inbound connector, once. Inputs are
// pairs of a key, which is the caller's own, and an input. It works as
// [connic.AgentsService.TriggerAll] does, with the same journals and options, but
// for the following.
//
// With [connic.WithCollector] it waits for all runs that an input has started, and
// yields the input when the last of them has ended, with an error for each that did
// not complete. Lost ones are searched for. Without it, an input is yielded when it
// was accepted; receive the results with a [Handler].
//
// Sending does not count against the API quota, but collecting does. An input that
// starts no run fails.
func (c *Connector) SendAll(ctx context.Context, inputs iter.Seq2[string, Input], journal connic.Journal, opts ...connic.BulkOption) iter.Seq2[connic.BulkResult[Sent], error] {
	job := &bulk.Job[Input, Sent, connic.Run]{
		Op: "connector.send_all",
		Recover: func(ids []string) (*Sent, error) {
			return &Sent{Dispatch: Dispatch{DispatchedTo: len(ids), RunIDs: ids}}, nil
		},
		Join: c.joinRuns,
		Cost: costOfRuns,
		Fatal: func(err error) (fatal, all bool) {
			fatal = isFatal(err)
			return fatal, fatal
		},
	}
	job.Send = func(ctx context.Context, in Input, begin func() error) bulk.Sent[Sent] {
		d, err := c.send(ctx, in, begin)
		var failed *Error
		switch {
		case errors.As(err, &failed) && len(failed.RunIDs) > 0:
			return bulk.Sent[Sent]{IDs: valid(failed.RunIDs...), Err: err}
		case err != nil:
			return bulk.Sent[Sent]{Err: err}
		case d.Result != nil:
			return bulk.Sent[Sent]{Value: &Sent{*d, []*connic.Run{d.Result.Run()}}, IDs: valid(d.RunIDs...), Final: true, Err: c.failure(d.Result)}
		case len(d.RunIDs) == 0:
			return bulk.Sent[Sent]{Value: &Sent{Dispatch: *d}, Err: &Error{Op: "send", Host: c.host, StatusCode: http.StatusOK, Attempts: 1, Err: errNoRun}}
		}
		ids := valid(d.RunIDs...)
		return bulk.Sent[Sent]{Value: &Sent{Dispatch: *d}, IDs: ids, Final: job.Collect == nil || len(ids) == 0}
	}
	return runBulk(ctx, c, job, inputs, journal, opts)
}

var errNoRun = errors.New("the response names no run; is the connector linked to an agent?")

// joinRuns returns what an input has led to whose runs have ended.
func (c *Connector) joinRuns(sent *Sent, parts []bulk.Ended[connic.Run]) (*Sent, error) {
	if sent == nil {
		sent = new(Sent)
	}
	var errs []error
	byID := make(map[string]*connic.Run, len(parts))
	for _, p := range parts {
		byID[p.ID] = p.Value
		if p.Err != nil {
			errs = append(errs, c.mask.Error(p.Err))
		}
		if len(sent.RunIDs) < len(parts) {
			sent.RunIDs = append(sent.RunIDs, p.ID)
		}
	}
	sent.DispatchedTo = max(sent.DispatchedTo, len(sent.RunIDs))
	for _, id := range sent.RunIDs {
		if run := byID[id]; run != nil {
			sent.Runs = append(sent.Runs, run)
		}
	}
	return sent, joined(errs)
}

// costOfRuns returns the sum of the runs in the currency of the first.
func costOfRuns(s *Sent) (amount, currency string) {
	var sums connic.Sums
	for _, run := range s.Runs {
		sums = sums.Add(connic.Money{Amount: run.Cost, Currency: run.Currency})
	}
	for _, m := range sums {
		if m.Currency != "" {
			return m.Amount.String(), m.Currency
		}
	}
	return "", ""
}

// valid returns the ids that can be looked up.
func valid(ids ...string) (good []string) {
	for _, id := range ids {
		if routes.Check(id) == "" {
			good = append(good, id)
		}
	}
	return good
}

// isFatal reports whether other calls would fail in the same way.
func isFatal(err error) bool {
	return !errors.Is(err, connic.ErrOutcomeUnknown) && (errors.Is(err, connic.ErrUnauthorized) || errors.Is(err, connic.ErrForbidden) ||
		errors.Is(err, connic.ErrNotFound) || errors.Is(err, connic.ErrRateLimited))
}

// runBulk runs a job of a connector. Its job is complete but for what both have in
// common.
func runBulk[Out any](ctx context.Context, c *Connector, job *bulk.Job[Input, Out, connic.Run], inputs iter.Seq2[string, Input], journal connic.Journal, opts []connic.BulkOption) iter.Seq2[connic.BulkResult[Out], error] {
	o := new(bulkOptions)
	for _, opt := range opts {
		if opt != nil {
			opt(o)
		}
	}
	job.Argument = func(arg, reason string) error {
		return &connic.ArgumentError{Op: job.Op, Arg: arg, Reason: reason}
	}
	job.Mark, job.Unknown = markInput, connic.ErrOutcomeUnknown
	job.Lost = func(err error) bool { return errors.Is(err, connic.ErrOutcomeUnknown) }
	job.Over = func(err error) bool {
		var ended *connic.RunError
		return errors.As(err, &ended)
	}
	if journal != nil {
		job.Grace = bulkGrace
	}
	if by := o.Collector; by != nil {
		job.Over = by.Over
		job.Collect = func(ctx context.Context, ids <-chan string, f func(string, *connic.Run, error) bool) {
			by.Collect(ctx, ids, o.Wait, f)
		}
		job.Find = func(ctx context.Context, lost []bulk.Record, found func(string, []string)) error {
			return by.Find(ctx, lost, job.Cost == nil, found)
		}
	}
	return func(yield func(connic.BulkResult[Out], error) bool) {
		bad := func(arg, reason string) { yield(connic.BulkResult[Out]{Index: -1}, job.Argument(arg, reason)) }
		switch {
		case c == nil || c.url == nil:
			bad("connector", "was not made by New")
		case ctx == nil:
			bad("context", "is nil")
		case inputs == nil:
			bad("inputs", "are a nil sequence")
		case o.Bad != "":
			bad("options", o.Bad)
		default:
			u := c.url()
			sum := sha256.Sum256([]byte(u.Path))
			job.Target = fmt.Sprintf("%s#%x", c.host, sum[:4])
			job.Senders = cap(c.slots)
			job.InFlight = job.Senders
			if job.Cost != nil { // inbound
				job.Senders = min(job.Senders, bulkSenders)
				job.InFlight = bulkInFlight
			}
			bulk.Run(ctx, job, inputs, journal, &o.Config, func(r bulk.Result[Out], err error) bool {
				return yield(connic.BulkResult[Out](r), err)
			})
		}
	}
}

// markInput marks an input, if it can be marked.
func markInput(in Input) (marked Input, marker string) {
	r, marker := connic.TriggerRequest{Message: in.Message, Payload: in.Payload}.Marked()
	if r.Message == "" {
		raw, err := json.Marshal(r.Payload)
		if err != nil { // it is no object
			return in, ""
		}
		r.Payload = json.RawMessage(raw)
	}
	in.Message, in.Payload = r.Message, r.Payload
	return in, marker
}
