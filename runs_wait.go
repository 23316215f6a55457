package connic

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/watch"
)

// waiter returns the waiter for runs.
func runWaiter(s *RunsService, conf *waitConfig) *waiter[Run] {
	w := newWaiter(s.scope(), conf, "", conf.failure, watch.Kind[Run]{
		Name: "run",
		ID:   func(r *Run) string { return r.ID },
		State: func(r *Run) watch.State {
			status := r.effectiveStatus()
			return watch.State{Status: string(status), Done: r.finished(), Pause: status == RunAwaitingApproval}
		},
		Get: func(ctx context.Context, id string, a watch.Ask) (*Run, error) {
			return do(ctx, s.scope(), request{op: api.RunsGet, id: id, lane: LanePoll}, decodeRun, conf.asked(a))
		},
		List: func(last []*Run) func(context.Context, watch.Position, watch.Ask) (watch.Page[Run], error) {
			params := created(last)
			return pages(conf, runListing(s, &params))
		},
		// A list may omit long fields.
		Partial: func(r *Run) bool { return r.effectiveStatus() == RunCompleted && r.Output == "" },
		Copy:    (*Run).clone,
	})
	w.cancel = func(ctx context.Context, id string) error { return s.Cancel(ctx, id) }
	if conf.progress != nil || conf.stopAtApproval || conf.onApproval != nil {
		w.pauses = newPauses((*ApprovalsService)(s), conf)
	}
	return w
}

// clone returns a copy that shares no memory with r.
func (r *Run) clone() *Run {
	own := *r
	own.Context, own.Traces = bytes.Clone(r.Context), slices.Clone(r.Traces)
	if r.Approval != nil {
		own.Approval = r.Approval.clone()
	}
	return &own
}

// created selects the period in which the runs were created, or all runs if one
// of them was never seen.
func created(last []*Run) RunListParams {
	params := RunListParams{Limit: pageLimit}
	for _, run := range last {
		if run == nil || run.CreatedAt.IsZero() {
			return RunListParams{Limit: pageLimit}
		}
		if at := run.CreatedAt.Add(-time.Second); params.CreatedAfter.IsZero() || at.Before(params.CreatedAfter) {
			params.CreatedAfter = at
		}
		if at := run.CreatedAt.Add(time.Second); at.After(params.CreatedBefore) {
			params.CreatedBefore = at
		}
	}
	return params
}

// Wait waits until a run has finished and returns it. A run that did not
// complete is returned together with a [*RunError].
//
// The wait lasts as long as its context: polls that fail because of the
// network, the service or the rate limit are repeated (see [WithPollFailures]).
// It ends early, with a [*WaitError], if the key is refused, the response
// cannot be decoded, or the run is not found, or refused otherwise, for 15 s.
// In these cases, and when the context ends, the run as last seen is returned
// with the error; it has at least its ID.
//
// Wait polls immediately, then after 2 s, and then at growing intervals of up
// to 15 s, or up to a minute while the run awaits approval (see [WithPoll]). All waits of a Client share their polls: one list
// request per poll and 100 runs. A single wait, and any run that the list does
// not show, costs one request per poll. Polls take precedence over calls that
// are queued for the rate limit, and slots of the quota are reserved for them
// during a wait.
//
// A run taken from a list has the fields that the list shows. One that
// completed without an output there is fetched individually. If the service's
// list omits the traces, use [RunsService.Get].
//
//	API:    GET /projects/{project}/runs/{run}
//	Access: runs read
//	Status: documented
func (s *RunsService) Wait(ctx context.Context, id string, opts ...WaitOption) (*Run, error) {
	conf := newWaitConfig(opts)
	return runWaiter(s, &conf).one(ctx, "runs.wait", id, &Run{ID: id})
}

// WaitAll waits for many runs and yields each as it ends. A run that did not
// complete is yielded with a [*RunError]. A run that cannot be retrieved,
// because it is refused for 15 s or its response cannot be decoded, is
// yielded with a [*WaitError], either as nil or as last seen; an id that is
// empty or not a valid path segment is yielded with a nil run and an
// [*ArgumentError]. The wait continues for the others. If the wait itself ends
// first, a last pair has a nil run and a [*WaitError] that lists the pending
// ids. Duplicate ids are waited for once.
//
// A poll costs one list request per 100 runs, plus a single request for each
// run that the list does not show. If the list is refused, it costs one request
// per run. Polls are 2 s apart at first, at growing intervals of up to
// 15 s. They never cost more than 24 requests a minute of a quota of 60, or 30
// if each run is fetched individually. In all other respects WaitAll behaves
// like [RunsService.Wait].
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) WaitAll(ctx context.Context, ids []string, opts ...WaitOption) iter.Seq2[*Run, error] {
	conf := newWaitConfig(opts)
	return runWaiter(s, &conf).all(ctx, "runs.wait_all", ids)
}

// Watch waits for runs whose ids arrive one by one, for servers and workers. It
// receives ids until the channel is closed, and yields runs as they end, in the
// same pairs as [RunsService.WaitAll]. It ends when the channel is closed and
// all runs have ended, or with a last pair with a nil run when the context
// ends. An id that is not a valid path segment is yielded as a pair of its own.
// Nothing is received from the channel while the body of the loop runs.
//
// A run is first polled 2 s after its id was received, together with the
// others.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) Watch(ctx context.Context, ids <-chan string, opts ...WaitOption) iter.Seq2[*Run, error] {
	conf := newWaitConfig(opts)
	return func(yield func(*Run, error) bool) {
		w := runWaiter(s, &conf)
		check := func(id string) error { return w.check(ctx, "runs.watch", id) }
		switch err := w.check(ctx, "runs.watch"); {
		case err != nil:
			yield(nil, err)
		case ids != nil:
			w.pairs(ctx, w.Join(ctx, conf.terms(), true), nil, ids, check, yield)
		}
	}
}

// failure returns the error that a run is returned with.
func (c *waitConfig) failure(r *Run) error {
	if c.stopAtApproval && r.effectiveStatus() == RunAwaitingApproval {
		return nil
	}
	return r.failure()
}

// deadlines cancels runs that take longer than [CancelAfter] allows.
type deadlines struct {
	after  time.Duration // 0 means never
	cancel func(ctx context.Context, id string) error
	has    func(id string) bool // whether a run is still waited for
	wake   func()               // makes the wait call check
	runs   []deadline
	timer  *time.Timer
}

type deadline struct {
	id string
	at time.Time
}

func (d *deadlines) add(ids ...string) {
	if d.after <= 0 || d.cancel == nil {
		return
	}
	for _, id := range ids {
		if slices.ContainsFunc(d.runs, func(r deadline) bool { return r.id == id }) {
			continue
		}
		d.runs = append(d.runs, deadline{id, time.Now().Add(d.after)})
	}
	d.arm()
}

// arm sets the timer for the next deadline.
func (d *deadlines) arm() {
	d.stop()
	if len(d.runs) > 0 {
		next := slices.MinFunc(d.runs, func(a, b deadline) int { return a.at.Compare(b.at) })
		d.timer = time.AfterFunc(time.Until(next.at), d.wake)
	}
}

func (d *deadlines) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// check cancels the runs whose deadline has passed.
func (d *deadlines) check(ctx context.Context) {
	now := time.Now()
	if !slices.ContainsFunc(d.runs, func(r deadline) bool { return !now.Before(r.at) }) {
		return
	}
	left := d.runs[:0]
	for _, run := range d.runs {
		if !d.has(run.id) {
			continue
		}
		if !now.Before(run.at) {
			if err := cancelRun(ctx, d.cancel, run.id); err == nil || errors.Is(err, errEnded) {
				continue
			}
			run.at = time.Now().Add(pollMax)
		}
		left = append(left, run)
	}
	d.runs = left
	d.arm()
}

// abortTimeout limits the cancel requests of [CancelOnAbort], and each of those of
// [CancelAfter].
const abortTimeout = 10 * time.Second

var errEnded = errors.New("the run has ended")

// cancelRun asks the service to cancel a run.
func cancelRun(ctx context.Context, cancel func(context.Context, string) error, id string) error {
	ctx, stop := context.WithTimeout(ctx, abortTimeout)
	defer stop()
	err := cancel(ctx, id)
	if errors.Is(err, ErrConflict) {
		return errEnded
	}
	return err
}

// abort cancels the runs of a wait whose context has ended. It returns the error of
// the wait, and the ids of the runs that may continue.
func abort(ctx context.Context, p *watch.Pending, cancel func(context.Context, string) error) (left []string, err error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer stop()
	canceled, ended := 0, 0
	var failed error
	for i, id := range p.IDs {
		switch err := cancelRun(ctx, cancel, id); {
		case err == nil:
			canceled++
		case errors.Is(err, errEnded):
			ended++
		default:
			failed, left = cmp.Or(failed, err), append(left, id)
		}
		if ctx.Err() != nil {
			left = append(left, p.IDs[i+1:]...)
			break
		}
	}
	all := len(p.IDs)
	switch {
	case all == 0:
		return nil, p.Err
	case failed != nil && all == 1:
		return left, fmt.Errorf("%w; the run could not be canceled: %w", p.Err, failed)
	case failed != nil:
		return left, fmt.Errorf("%w; %d of %d runs were canceled: %w", p.Err, canceled, all, failed)
	case ended == 1 && all == 1:
		return left, fmt.Errorf("%w; the run has ended", p.Err)
	case all == 1:
		return left, fmt.Errorf("%w; the run was canceled", p.Err)
	}
	return left, fmt.Errorf("%w; %d of %d runs were canceled", p.Err, canceled, all)
}
