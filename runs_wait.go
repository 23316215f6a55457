package connic

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// runKind is how the client looks at runs.
func (s *RunsService) kind() watchKind[Run] {
	return watchKind[Run]{
		name: "run",
		id:   func(r *Run) string { return r.ID },
		state: func(r *Run) waitState {
			return waitState{status: string(r.effectiveStatus()), done: r.finished()}
		},
		get: func(ctx context.Context, id string, opts []RequestOption) (*Run, error) {
			run, err := do(ctx, (*service)(s).of(), request{op: api.RunsGet, id: id, lane: LanePoll}, decodeRun, opts)
			if err == nil && run.ID == "" {
				run.ID = id
			}
			return run, err
		},
		list: s.look,
		// A list may leave out what is long.
		partial: func(r *Run) bool { return r.effectiveStatus() == RunCompleted && r.Output == "" },
		show:    func(e *WaitEvent, r *Run) { e.Run = r },
	}
}

// look pages through the runs, newest first, within the time in which those that
// are waited for were created, once all of them have been seen.
func (s *RunsService) look(seen []*Run, opts []RequestOption) func(context.Context) ([]*Run, error) {
	params := RunListParams{Limit: pageLimit}
	for _, run := range seen {
		if run == nil || run.CreatedAt.IsZero() {
			params.CreatedAfter, params.CreatedBefore = time.Time{}, time.Time{}
			break
		}
		if at := run.CreatedAt.Add(-time.Second); params.CreatedAfter.IsZero() || at.Before(params.CreatedAfter) {
			params.CreatedAfter = at
		}
		if at := run.CreatedAt.Add(time.Second); at.After(params.CreatedBefore) {
			params.CreatedBefore = at
		}
	}
	l, _ := s.listing(&params)
	return pager(&l, func(ctx context.Context, l *listing[Run]) (*Page[Run], error) {
		return s.page(ctx, l, params, LanePoll, opts)
	})
}

// watch is the client's watch, or one of its own for a wait with request options.
func (s *RunsService) watch(conf *waitConfig) *watch[Run] {
	if len(conf.request) > 0 {
		return newWatch((*service)(s).of(), s.kind(), conf.request)
	}
	c := (*service)(s).of()
	c.watching.Do(func() { c.runWatch = newWatch(c, s.kind(), nil) })
	return c.runWatch
}

// Wait waits until a run has finished, and returns it. A run that did not
// complete is returned together with a [*RunError].
//
// The wait lasts as long as its context: looks that fail because of the network,
// the service or the rate limit are repeated (see [WithPollFailures]). It ends
// early, with a [*WaitError], when the key is refused, the answer cannot be
// decoded, or the run is not found for 15 s. Then, and when the context ends, the
// run as it was last seen is returned beside the error; it has at least the id.
//
// It looks at once, after 2 s, and then less and less often down to every 15 s
// (see [WithPoll]). All waits of a Client look together: one list request per look
// and 100 runs. A wait by itself, or for what the list does not show, costs one
// request per look. Looks go before calls in the line for the rate limit, and
// places of the quota are kept for them while something is waited for.
//
// A run that comes from a list is what the list shows of it; one that has
// completed without an output there is asked for once more. If the service's list
// leaves out the traces, [RunsService.Get] has them.
//
//	API:    GET /projects/{project}/runs/{run}
//	Access: runs read
//	Status: documented
func (s *RunsService) Wait(ctx context.Context, id string, opts ...WaitOption) (*Run, error) {
	conf := newWaitConfig(opts)
	if err := (*service)(s).of().checkRun(ctx, "runs.wait", id); err != nil {
		return &Run{ID: id}, err
	}
	return s.await(s.watch(&conf).join(ctx, conf, false, id), ctx, id)
}

// await waits for one run. It never returns a nil Run.
func (s *RunsService) await(x *wait[Run], ctx context.Context, id string) (*Run, error) { //nolint:revive // the wait is the receiver
	run, err := x.one(ctx)
	if run == nil {
		return &Run{ID: id}, err
	}
	if err != nil || run.effectiveStatus() == RunAwaitingApproval {
		return run, err
	}
	return run, run.failure()
}

func (c *Client) checkRun(ctx context.Context, op, id string) error {
	if ctx == nil {
		return &ArgumentError{Op: op, Arg: "context", Reason: "is nil"}
	}
	if reason := checkSegment(id); reason != "" {
		return &ArgumentError{Op: op, Arg: "run id", Reason: reason}
	}
	return c.made(op)
}

// WaitAll waits for many runs and yields each as it ends: a run that did not
// complete together with a [*RunError], one that cannot be had (it is not found
// for 15 s, or its answer cannot be decoded) as a nil run, or as it was last seen,
// with a [*WaitError]. The others go on. When the wait itself ends first, a last
// pair has a nil run and a [*WaitError] that lists what is pending. Ids that are
// given twice are waited for once. An id that is no path segment fails the wait
// before anything is sent.
//
// However many runs there are, a look costs one list request per 100 of them, and
// a single request only for what the list does not show; where the key may not
// list runs, one request per run. Looks come every 2 s at first and less and less
// often down to every 15 s, and never cost more than 24 requests a minute of a
// quota of 60, or 30 where each run is asked for. Otherwise it is as
// [RunsService.Wait].
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) WaitAll(ctx context.Context, ids []string, opts ...WaitOption) iter.Seq2[*Run, error] {
	conf := newWaitConfig(opts)
	return func(yield func(*Run, error) bool) {
		for _, id := range ids {
			if err := (*service)(s).of().checkRun(ctx, "runs.wait_all", id); err != nil {
				yield(nil, err)
				return
			}
		}
		if len(ids) == 0 {
			return
		}
		s.watch(&conf).join(ctx, conf, false, ids...).all(ctx, nil, nil, conf.ended, yield)
	}
}

// Watch waits for runs whose ids come one after the other, for servers and
// workers: it takes ids until the channel is closed, and yields runs as they end,
// in pairs as those of [RunsService.WaitAll]. It ends when the channel is closed
// and all runs have ended, or with a last pair that has a nil run when the context
// ends. An id that is no path segment is a pair of its own. While the loop's body
// runs, nothing is taken from the channel.
//
// A run is looked for 2 s after its id came, together with the others.
//
//	API:    GET /projects/{project}/runs
//	Access: runs read
//	Status: assumed
func (s *RunsService) Watch(ctx context.Context, ids <-chan string, opts ...WaitOption) iter.Seq2[*Run, error] {
	conf := newWaitConfig(opts)
	return func(yield func(*Run, error) bool) {
		check := func(id string) error { return (*service)(s).of().checkRun(ctx, "runs.watch", id) }
		if err := (*service)(s).of().made("runs.watch"); ctx == nil || err != nil {
			yield(nil, cmp.Or(err, check("")))
			return
		}
		s.watch(&conf).join(ctx, conf, true).all(ctx, ids, check, conf.ended, yield)
	}
}

// ended is the error that a run is yielded with.
func (c *waitConfig) ended(r *Run) error {
	if c.stopAtApproval && r.effectiveStatus() == RunAwaitingApproval {
		return nil
	}
	return r.failure()
}
