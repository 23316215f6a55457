package connic

import (
	"context"
	"iter"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/route"
)

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
			if reason := route.Check(id); reason != "" {
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
	return waitAll(ctx, s.watchJobs(&conf, p), conf, api.KnowledgeJobsList, jobIDs, (*Job).failure)
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
	return waitAll(ctx, s.watch(&conf, judgeID), conf, api.JudgesEvaluations, evaluationIDs, (*Evaluation).failure)
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
	return waitAll(ctx, s.watch(&conf), conf, api.TestRunsGet, ids, (*TestRun).failure)
}
