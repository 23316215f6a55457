package connic

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/watch"
)

// resume makes the waits of the client poll soon for what a decision changes.
func (s *ApprovalsService) resume(a *Approval) {
	all := &s.scope().watches
	for kind, id := range map[string]string{"run": a.RunID, "approval": a.ID} {
		all.mu.Lock()
		w := all.of[watchKey{kind, ""}]
		all.mu.Unlock()
		if w, ok := w.(interface{ Soon(id string) }); ok {
			w.Soon(id)
		}
	}
}

// waiter returns the waiter for approvals.
func approvalWaiter(s *ApprovalsService, conf *waitConfig) *waiter[Approval] {
	return newWaiter(s.scope(), conf, "", (*Approval).failure, watch.Kind[Approval]{
		Name: "approval",
		ID:   func(a *Approval) string { return a.ID },
		State: func(a *Approval) watch.State {
			pending := a.Status == ApprovalPending
			return watch.State{Status: string(a.Status), Done: !pending, Pause: pending}
		},
		Get: func(ctx context.Context, id string, a watch.Ask) (*Approval, error) {
			return do(ctx, s.scope(), request{op: api.ApprovalsGet, id: id, lane: LanePoll}, decodeInto[Approval], conf.asked(a))
		},
		List: func([]*Approval) func(context.Context, watch.Position, watch.Ask) (watch.Page[Approval], error) {
			return pages(conf, approvalListing(s, &ApprovalListParams{Limit: pageLimit}))
		},
		Copy: (*Approval).clone,
	})
}

// failure returns the error of an approval that is not pending any more.
func (a *Approval) failure() error {
	if a.Status.Finished() {
		return nil
	}
	return fmt.Errorf("connic: approval %s: %w: %s", a.ID, ErrUnknownStatus, mask.Line(string(a.Status), maxID))
}

// Wait waits until an approval is decided or has expired, and returns it. Its
// Status says which: a rejection is no error. An approval with a status that this
// version of the package does not know is returned with [ErrUnknownStatus].
//
// The wait lasts as long as its context, and ends early as [RunsService.Wait]
// does. It polls immediately, then after 2 s, and then at growing intervals of up
// to a minute (see [WithPoll]), so days of waiting cost at most one request a
// minute. All waits for approvals share their polls. A decision made with the
// same Client is seen within 3 s.
//
//	API:    GET /projects/{project}/approvals/{approval}
//	Access: approvals read
//	Status: assumed
func (s *ApprovalsService) Wait(ctx context.Context, id string, opts ...WaitOption) (*Approval, error) {
	conf := newWaitConfig(opts)
	return approvalWaiter(s, &conf).one(ctx, "approvals.wait", id, &Approval{ID: id})
}

// queue is what is pending, as one poll shows it.
type queue struct{ pending []*Approval }

// queueID identifies the only item of a queue's watch.
const queueID = "pending"

// Follow iterates over the pending approvals: first those that there are, oldest
// first, and then each as it comes. Status, Limit and Offset of p are ignored. It
// ends when the context ends, whose error is in the last pair, or when polls fail
// in a way that ends [RunsService.Wait]. An approval is yielded once while it is
// pending; whether it still is when its turn comes is known only by asking.
//
// Polls are shared with others that follow the same approvals. They are 2 s apart
// at first, and then at growing intervals of up to a minute (see [WithPoll]). Each
// costs one request per 100 approvals that are pending, of which it reads at most
// 1,000. To learn of an approval at once, have an outbound connector notify you:
// see package connector.
//
//	API:    GET /projects/{project}/approvals
//	Access: approvals read
//	Status: assumed
func (s *ApprovalsService) Follow(ctx context.Context, p *ApprovalListParams, opts ...WaitOption) iter.Seq2[*Approval, error] {
	own := ApprovalListParams{Status: ApprovalPending, Limit: pageLimit}
	if p != nil {
		own.RunID, own.AgentName, own.EnvironmentID = p.RunID, p.AgentName, p.EnvironmentID
	}
	conf := newWaitConfig(opts)
	return func(yield func(*Approval, error) bool) {
		w := approvalQueue(s, &conf, &own)
		if err := w.check(ctx, "approvals.follow"); err != nil {
			yield(nil, err)
			return
		}
		terms := conf.terms()
		terms.Every = true
		x := w.Join(ctx, terms, false, queueID)
		defer x.Leave()
		known := make(map[string]bool)
		for {
			updates, _, _, ended := x.Next(ctx, nil)
			for i := range updates {
				u := &updates[i]
				w.report(u)
				if u.Ended != nil {
					yield(nil, u.Err)
					return
				}
				if u.Value == nil {
					continue
				}
				now := make(map[string]bool, len(u.Value.pending))
				for _, a := range u.Value.pending {
					now[a.ID] = true
					if !known[a.ID] && !yield(a.clone(), nil) {
						return
					}
				}
				known = now
			}
			if ended != nil {
				yield(nil, ended.Err)
				return
			}
		}
	}
}

// queue returns the waiter for the pending approvals that p selects.
func approvalQueue(s *ApprovalsService, conf *waitConfig, p *ApprovalListParams) *waiter[queue] {
	l := approvalListing(s, p)
	l.request.lane = LanePoll
	return newWaiter(s.scope(), conf, string(l.request.query), func(*queue) error { return nil }, watch.Kind[queue]{
		Name:  "approvals",
		ID:    func(*queue) string { return queueID },
		State: func(*queue) watch.State { return watch.State{Status: string(ApprovalPending), Pause: true} },
		Get: func(ctx context.Context, _ string, a watch.Ask) (*queue, error) {
			pending, err := collectApprovals(ctx, l, conf.asked(a), func(a *Approval) bool {
				return a.Status == ApprovalPending && (p.RunID == "" || p.RunID == a.RunID)
			})
			return &queue{pending}, err
		},
		Copy: func(q *queue) *queue { return q },
	})
}

// An ApprovalError says which approval ended a wait with [OnApproval], and why.
type ApprovalError struct {
	Approval *Approval // still pending, unless Err says otherwise
	Err      error
}

func (e *ApprovalError) Error() string {
	s := "connic: approval "
	if e.Approval != nil {
		s += e.Approval.ID
	}
	return mask.Line(s+": "+causeText(e.Err), maxText)
}

// Unwrap returns the cause.
func (e *ApprovalError) Unwrap() error { return e.Err }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *ApprovalError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// OnApproval makes a wait decide the approvals that its runs await. When a run
// pauses, f is called with the approval, and decides or asks a person, which may
// take as long as the approval lasts. The decision is sent, and the wait goes on.
//
// The calls are made on goroutines of their own, one at a time for each run and
// in the order of the requests; a wait for many runs makes those of several runs
// at once. The context of f ends with the wait, and when the run does not await
// the approval any more: because somebody else decided, the approval expired, or
// the run ended. What f then returns is ignored. f must return when its context
// ends; the wait does not wait for it.
//
// If f returns an error, or a decision that [Approval.Check] refuses, the approval
// stays pending, and the wait for its run ends with a [*WaitError] that wraps an
// [*ApprovalError]. So does a decision that cannot be sent. A panic of f is one of
// the wait.
//
// Besides the polls, each approval costs two requests: to find it, and to decide
// it.
func OnApproval(f func(ctx context.Context, a *Approval) (Decision, error)) WaitOption {
	return func(c *waitConfig) { c.onApproval = f }
}

// errNotAwaited ends the context of a function that decides.
var errNotAwaited = errors.New("connic: the run does not await the approval any more")

// pauses is what a wait knows of the approvals that its runs await.
type pauses struct {
	service *ApprovalsService
	conf    *waitConfig
	wake    func() // makes the wait call failed
	runs    map[string]*pause
	decided map[string]bool // approvals, by this wait
}

// pause is the time that a run awaits approval.
type pause struct {
	approval *Approval // nil if it is not known
	empty    int       // searches in vain
	skip     int       // polls until the next search
	refused  time.Time // since when the search is refused
	err      error     // that ended the search
	asking   *asking
}

// asking is a call of the function that decides.
type asking struct {
	cancel   context.CancelCauseFunc
	done     chan struct{}
	function chan struct{} // closed when the function has returned
	err      error
	panicked any
}

func newPauses(s *ApprovalsService, conf *waitConfig) *pauses {
	return &pauses{service: s, conf: conf, runs: make(map[string]*pause), decided: make(map[string]bool)}
}

// named returns the approval that a run awaits, for the caller, or nil.
func (p *pauses) named(runID string) *Approval {
	if r := p.runs[runID]; r != nil && r.approval != nil {
		return r.approval.clone()
	}
	return nil
}

// see notes what a poll shows of a run.
func (p *pauses) see(ctx context.Context, runID string, state watch.State, seen, done, ended bool) {
	r := p.runs[runID]
	switch {
	case !seen && !ended:
		return
	case ended, !state.Pause:
		if r != nil && r.asking != nil {
			r.asking.cancel(errNotAwaited)
		}
		delete(p.runs, runID)
		return
	case r == nil:
		r = new(pause)
		p.runs[runID] = r
	}
	if r.approval == nil && r.err == nil {
		p.find(ctx, runID, r)
	}
	if p.conf.onApproval != nil && !done && r.approval != nil && r.asking == nil {
		p.ask(ctx, r)
	}
}

// find looks for the approval that a run awaits.
func (p *pauses) find(ctx context.Context, runID string, r *pause) {
	if r.skip > 0 {
		r.skip--
		return
	}
	l := approvalListing(p.service, &ApprovalListParams{Status: ApprovalPending, RunID: runID, Limit: pageLimit})
	l.request.lane = LanePoll
	found, err := collectApprovals(ctx, l, alongside(p.conf.request), func(a *Approval) bool {
		return a.RunID == runID && a.Status == ApprovalPending && !p.decided[a.ID]
	})
	switch v := verdict(err, 0); {
	case len(found) > 0:
		r.approval = found[0]
	case err == nil:
		r.empty++
		r.skip, r.refused = r.empty, time.Time{}
	case v.Hopeless, v.Refused && !r.refused.IsZero() && time.Since(r.refused) >= missingFor:
		r.err = err
		p.wake()
	case !v.Refused:
		r.refused = time.Time{}
	case r.refused.IsZero():
		r.refused = time.Now()
	}
}

// ask calls the function that decides, and sends the decision.
func (p *pauses) ask(ctx context.Context, r *pause) {
	ctx, cancel := context.WithCancelCause(ctx)
	k := &asking{cancel: cancel, done: make(chan struct{}), function: make(chan struct{})}
	r.asking = k
	approval, f := r.approval.clone(), p.conf.onApproval
	id, check := approval.ID, approval.clone() // f may change what it gets
	go func() {
		returned := false
		defer func() {
			if k.panicked = recover(); k.panicked == nil && !returned {
				k.err = errors.New("connic: OnApproval: the function called runtime.Goexit")
			}
			cancel(nil)
			close(k.done)
			p.wake()
		}()
		d, err := func() (Decision, error) {
			defer close(k.function)
			return f(ctx, approval)
		}()
		switch {
		case ctx.Err() != nil: // what it returned is obsolete
		case err != nil:
			k.err = err
		default:
			if k.err = check.Check(d); k.err == nil {
				_, k.err = p.service.Decide(ctx, id, d, alongside(p.conf.request)...)
			}
		}
		var other *DecidedError
		if errors.As(k.err, &other) || context.Cause(ctx) == errNotAwaited { //nolint:errorlint // it is never wrapped
			k.err = nil // the run goes on without us
		}
		returned = true
	}()
}

// failed iterates over the runs whose approvals cannot be decided. After a
// decision, soon is called with the id of the run.
func (p *pauses) failed(soon func(runID string)) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for id, r := range p.runs {
			var err error
			about := r.approval
			switch k := r.asking; {
			case k != nil:
				select {
				case <-k.done:
				default:
					continue
				}
				if k.panicked != nil {
					panic(k.panicked) //nolint:forbidigo // the function panicked, on another goroutine
				}
				if err = k.err; err == nil {
					p.decided[r.approval.ID] = true
					*r = pause{}
					soon(id)
					continue
				}
			case r.err != nil && p.conf.onApproval != nil:
				err, about = r.err, &Approval{RunID: id}
			default:
				continue
			}
			delete(p.runs, id)
			if !yield(id, &ApprovalError{Approval: about, Err: err}) {
				return
			}
		}
	}
}

// stop ends what was begun. It waits for decisions that are being sent, but not
// for functions that do not return.
func (p *pauses) stop() {
	for _, r := range p.runs {
		if r.asking == nil {
			continue
		}
		r.asking.cancel(nil)
		select {
		case <-r.asking.function:
			<-r.asking.done
		default:
		}
	}
}
