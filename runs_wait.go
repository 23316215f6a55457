package connic

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// runKind describes how the watch polls runs.
func (s *RunsService) kind() watchKind[Run] {
	return watchKind[Run]{
		name: "run",
		id:   func(r *Run) string { return r.ID },
		state: func(r *Run) waitState {
			return waitState{status: string(r.effectiveStatus()), done: r.finished()}
		},
		get: func(ctx context.Context, id string, opts []RequestOption) (*Run, error) {
			run, err := do(ctx, s.scope(), request{op: api.RunsGet, id: id, lane: LanePoll}, decodeRun, opts)
			if err == nil && run.ID == "" {
				run.ID = id
			}
			return run, err
		},
		list: s.look,
		// A list may omit long fields.
		partial: func(r *Run) bool { return r.effectiveStatus() == RunCompleted && r.Output == "" },
		show:    func(e *WaitEvent, r *Run) { e.Run = r },
	}
}

// look returns the list of runs, newest first. Once all awaited runs have been
// seen, it covers only the period in which they were created.
func (s *RunsService) look(seen []*Run) listing[Run] {
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
	return s.listing(&params)
}

func (s *RunsService) watch(conf *waitConfig) *watch[Run] {
	return watchOf(s.scope(), conf, "", s.kind())
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
// to 15 s (see [WithPoll]). All waits of a Client share their polls: one list
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
	if err := s.scope().checkRun(ctx, "runs.wait", id); err != nil {
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
	return run, s.scope().hide(run.failure())
}

func (c *scope) checkRun(ctx context.Context, op, id string) error {
	return c.checkWait(ctx, op, "run", id)
}

// WaitAll waits for many runs and yields each as it ends. A run that did not
// complete is yielded with a [*RunError]. A run that cannot be retrieved,
// because it is refused for 15 s or its response cannot be decoded, is
// yielded with a [*WaitError], either as nil or as last seen; the wait
// continues for the others. If the wait itself ends first, a last pair has a
// nil run and a [*WaitError] that lists the pending ids. Duplicate ids are
// waited for once. An id that is not a valid path segment fails the wait before
// anything is sent.
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
	return func(yield func(*Run, error) bool) {
		for _, id := range ids {
			if err := s.scope().checkRun(ctx, "runs.wait_all", id); err != nil {
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
		check := func(id string) error { return s.scope().checkRun(ctx, "runs.watch", id) }
		if err := s.scope().made("runs.watch"); ctx == nil || err != nil {
			yield(nil, cmp.Or(err, check("")))
			return
		}
		s.watch(&conf).join(ctx, conf, true).all(ctx, ids, check, conf.ended, yield)
	}
}

// ended returns the error that a run is yielded with.
func (c *waitConfig) ended(r *Run) error {
	if c.stopAtApproval && r.effectiveStatus() == RunAwaitingApproval {
		return nil
	}
	return r.failure()
}
