package connic

import (
	"context"
	"iter"
	"slices"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
)

// pager adapts a paged list operation to the list function of a watchKind.
func pager[T any](l *listing[T], page func(context.Context, *listing[T]) (*Page[T], error)) func(context.Context) ([]*T, error) {
	over := false
	return func(ctx context.Context) ([]*T, error) {
		if over {
			return nil, nil
		}
		p, err := page(ctx, l)
		if err != nil {
			return nil, err
		}
		over = !p.HasNext() || len(p.Items) == 0
		l.offset += len(p.Items)
		l.cursor = p.NextCursor
		return p.Items, nil
	}
}

// waitAll waits for all ids using a watch, and yields each as it ends.
func waitAll[T any](ctx context.Context, w *watch[T], conf waitConfig, op api.Op, ids []string, failure func(*T) error) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		if err := w.client.made(api.Table[op].Name); err != nil {
			yield(nil, err)
			return
		}
		if ctx == nil {
			yield(nil, &ArgumentError{Op: api.Table[op].Name, Arg: "context", Reason: "is nil"})
			return
		}
		for _, id := range ids {
			if reason := checkSegment(id); reason != "" {
				yield(nil, &ArgumentError{Op: api.Table[op].Name, Arg: w.kind.name + " id", Reason: reason})
				return
			}
		}
		if len(ids) > 0 {
			w.join(ctx, conf, false, ids...).all(ctx, nil, nil, failure, yield)
		}
	}
}

// WaitJobs waits for many ingestion jobs and yields each as it ends. A job that
// did not complete is yielded with a [*JobError], and one that cannot be
// retrieved with a [*WaitError]; the wait continues for the others. A poll
// costs one list request per 100 jobs, and a single request for each job that
// the list does not show. In all other respects WaitJobs relates to
// [KnowledgeService.WaitJob] as [RunsService.WaitAll] does to
// [RunsService.Wait].
//
//	API:    GET /projects/{project}/knowledge/jobs
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) WaitJobs(ctx context.Context, jobIDs []string, p *KnowledgeParams, opts ...WaitOption) iter.Seq2[*Job, error] {
	conf := newWaitConfig(opts)
	kind := watchKind[Job]{
		name: "ingestion job",
		id:   func(j *Job) string { return j.ID },
		state: func(j *Job) waitState {
			status := j.effectiveStatus()
			return waitState{status: string(status), done: !status.active()}
		},
		get: func(ctx context.Context, id string, opts []RequestOption) (*Job, error) {
			return s.getJob(ctx, id, p, LanePoll, opts)
		},
		list: func(_ []*Job, opts []RequestOption) func(context.Context) ([]*Job, error) {
			params := JobListParams{EnvironmentID: p.environment(), Limit: pageLimit}
			l, _ := s.jobListing(&params)
			opts = slices.Concat([]RequestOption{WithLane(LanePoll)}, opts)
			return pager(&l, func(ctx context.Context, l *listing[Job]) (*Page[Job], error) {
				return s.jobPage(ctx, l, params, opts)
			})
		},
	}
	return waitAll(ctx, newWatch((*service)(s).of(), kind, conf.request), conf, api.KnowledgeJobsList, jobIDs, func(j *Job) error {
		if j.effectiveStatus() == JobCompleted {
			return nil
		}
		return &JobError{Job: j}
	})
}

// WaitEvaluations waits for many evaluations by a judge and yields each as it
// ends. An evaluation that failed is yielded with an [*EvaluationError], and
// one that is missing from the list for 15 s with a [*WaitError]; the wait
// continues for the others. A poll costs one list request per 100 evaluations.
// In all other respects WaitEvaluations relates to
// [JudgesService.WaitEvaluation] as [RunsService.WaitAll] does to
// [RunsService.Wait].
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) WaitEvaluations(ctx context.Context, judgeID string, evaluationIDs []string, opts ...WaitOption) iter.Seq2[*Evaluation, error] {
	conf := newWaitConfig(opts)
	kind := watchKind[Evaluation]{
		name:  "evaluation",
		id:    func(e *Evaluation) string { return e.ID },
		state: func(e *Evaluation) waitState { return waitState{status: string(e.Status), done: !e.Status.active()} },
		list: func(_ []*Evaluation, opts []RequestOption) func(context.Context) ([]*Evaluation, error) {
			params := EvaluationListParams{Limit: pageLimit}
			l, _ := s.evaluations(&params)
			return pager(&l, func(ctx context.Context, l *listing[Evaluation]) (*Page[Evaluation], error) {
				return s.evaluationPage(ctx, judgeID, l, params, LanePoll, opts)
			})
		},
	}
	return waitAll(ctx, newWatch((*service)(s).of(), kind, conf.request), conf, api.JudgesEvaluations, evaluationIDs, (*Evaluation).failure)
}

// WaitAll waits for many test runs and yields each as it ends. A test run that
// did not pass is yielded with a [*TestRunError], and one that cannot be
// retrieved with a [*WaitError]; the wait continues for the others. The API has
// no list of test runs, so each poll costs one request per test run that is
// due, at most 30 a minute of a quota of 60. In all other respects WaitAll
// relates to [TestRunsService.Wait] as [RunsService.WaitAll] does to
// [RunsService.Wait].
//
//	API:    GET /projects/{project}/test-runs/{test_run}
//	Access: undocumented
//	Status: observed
func (s *TestRunsService) WaitAll(ctx context.Context, ids []string, opts ...WaitOption) iter.Seq2[*TestRun, error] {
	conf := newWaitConfig(opts)
	kind := watchKind[TestRun]{
		name: "test run",
		id:   func(r *TestRun) string { return r.ID },
		state: func(r *TestRun) waitState {
			return waitState{status: mask.Text(string(r.Status)), phase: mask.Text(r.Phase), done: r.Status.Finished()}
		},
		get: func(ctx context.Context, id string, opts []RequestOption) (*TestRun, error) {
			return do(ctx, (*service)(s).of(), request{op: api.TestRunsGet, id: id, lane: LanePoll}, decodeTestRun, opts)
		},
	}
	return waitAll(ctx, newWatch((*service)(s).of(), kind, conf.request), conf, api.TestRunsGet, ids, func(r *TestRun) error {
		if r.Status == TestRunPassed {
			return nil
		}
		return &TestRunError{TestRun: r}
	})
}
