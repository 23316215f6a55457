package connic

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/watch"
)

// An Evaluation is the verdict of a judge on one run.
type Evaluation struct {
	ID      string           `json:"id" api:"words,evaluation_id"`
	JudgeID string           `json:"judge_id,omitzero" api:"words"`
	RunID   string           `json:"run_id,omitzero" api:"words"`
	Status  EvaluationStatus `json:"status" api:"words"`
	// Score is the sum of the scores of all criteria, and MaxScore its maximum.
	// They are meaningless until the evaluation has completed.
	Score     float64          `json:"score" api:"words"`
	MaxScore  float64          `json:"max_score" api:"words"`
	Criteria  []CriterionScore `json:"criteria,omitzero" api:"words"`
	Error     string           `json:"error,omitzero" api:"words"`
	CreatedAt time.Time        `json:"created_at,omitzero" api:"words"`

	RawItem
}

// A CriterionScore is the score for one criterion.
type CriterionScore struct {
	Name      string  `json:"name" api:"words"`
	Score     float64 `json:"score" api:"words"`
	MaxScore  float64 `json:"max_score" api:"words"`
	Reasoning string  `json:"reasoning,omitzero" api:"words"`
}

// Share returns the score as a fraction of the maximum, from 0 to 1, or 0 if
// the maximum is not known.
func (e *Evaluation) Share() float64 {
	if e.MaxScore <= 0 {
		return 0
	}
	return e.Score / e.MaxScore
}

// EvaluationStatus is the status of an evaluation: "pending", "queued", "running"
// or "processing", and finally "completed" or "failed". The vendor names none;
// these are assumed.
type EvaluationStatus string

// The known evaluation statuses.
const (
	EvaluationPending    EvaluationStatus = "pending"
	EvaluationQueued     EvaluationStatus = "queued"
	EvaluationRunning    EvaluationStatus = "running"
	EvaluationProcessing EvaluationStatus = "processing"
	EvaluationCompleted  EvaluationStatus = "completed"
	EvaluationFailed     EvaluationStatus = "failed"
)

func (s EvaluationStatus) active() bool {
	return s == EvaluationPending || s == EvaluationQueued || s == EvaluationRunning || s == EvaluationProcessing
}

// Finished reports whether s is one of the known final statuses.
func (s EvaluationStatus) Finished() bool { return s == EvaluationCompleted || s == EvaluationFailed }

// Known reports whether this version of the package knows s.
func (s EvaluationStatus) Known() bool { return s.active() || s.Finished() }

// failure returns the error of a finished evaluation, or nil if it completed.
func (e *Evaluation) failure() error {
	if e.Status == EvaluationCompleted {
		return nil
	}
	return &EvaluationError{Evaluation: e}
}

// An EvaluationError is returned with an evaluation that ended without
// completing: it failed, or ended in a status that this version of the package
// does not know. In the latter case it matches [ErrUnknownStatus].
type EvaluationError struct {
	Evaluation *Evaluation
	hidden
}

func (e *EvaluationError) Error() string {
	v := e.Evaluation
	if v == nil {
		return e.endedText("evaluation", "", "", "", false, "")
	}
	return e.endedText("evaluation", v.ID, about("run", v.RunID), string(v.Status), v.Status.Known(), v.Error)
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error, so that a JSON log contains the text rather than the whole evaluation.
func (e *EvaluationError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Is reports whether target is [ErrUnknownStatus] and the status is not known.
func (e *EvaluationError) Is(target error) bool {
	return target == ErrUnknownStatus && e.Evaluation != nil && !e.Evaluation.Status.Known()
}

// decoded fills in what the service omits: the total score is the sum over the
// criteria, and an evaluation with a score has ended.
func (e *Evaluation) decoded() {
	e.Score = total(e.Score, e.Criteria, func(c CriterionScore) float64 { return c.Score })
	e.MaxScore = total(e.MaxScore, e.Criteria, func(c CriterionScore) float64 { return c.MaxScore })
	if e.Status == "" {
		switch {
		case e.Error != "":
			e.Status = EvaluationFailed
		case e.Score != 0 || len(e.Criteria) > 0:
			e.Status = EvaluationCompleted
		}
	}
}

// total returns the given sum or, if the service omits it, the sum of the
// parts. It adds decimals, so that 0.7 and 0.1 reach a threshold of 0.8.
func total(given float64, parts []CriterionScore, of func(CriterionScore) float64) float64 {
	if given != 0 {
		return given
	}
	var d Decimal
	for _, part := range parts {
		d = d.Add(Decimal{strconv.FormatFloat(of(part), 'f', -1, 64)})
	}
	return d.Float64()
}

// decodeEvaluation decodes the response to a request for an evaluation.
func decodeEvaluation(judgeID, runID string) func(*lenient.Decoder) (*Evaluation, error) {
	return func(d *lenient.Decoder) (*Evaluation, error) {
		var w struct {
			Evaluation
			Inner *Evaluation `json:"evaluation"`
		}
		if err := d.End(d.Value(&w)); err != nil {
			return nil, err
		}
		e := &w.Evaluation
		if w.Inner != nil && e.ID == "" {
			e = w.Inner
		}
		// One with a status alone acknowledges the request.
		if e.ID == "" && e.RunID == "" && !e.Status.Known() && e.Score == 0 && len(e.Criteria) == 0 {
			return nil, otherDocument("id")
		}
		finish(d, e, 0)
		e.Status = cmp.Or(e.Status, EvaluationPending)
		e.JudgeID, e.RunID = cmp.Or(e.JudgeID, judgeID), cmp.Or(e.RunID, runID)
		return e, nil
	}
}

// EvaluationListParams selects evaluations by a judge. The zero value selects
// all of them.
type EvaluationListParams struct {
	RunID  string
	Status EvaluationStatus
	// Limit is the number of evaluations per page, at most 100 (assumed). If it is 0,
	// Evaluations leaves it to the service, and AllEvaluations uses 100.
	Limit, Offset int
}

func evaluationListing(s *JudgesService, judgeID string, p *EvaluationListParams) listing[Evaluation] {
	if p == nil {
		p = new(EvaluationListParams)
	}
	l := listing[Evaluation]{
		scope: s.scope(), request: request{op: api.JudgesEvaluations, id: judgeID}, name: "evaluations",
		id: func(e *Evaluation) string { return e.ID }, limit: p.Limit, offset: p.Offset,
		complete: func(items []*Evaluation) {
			for _, e := range items {
				e.JudgeID = cmp.Or(e.JudgeID, judgeID)
			}
		},
	}
	l.request.query.add("run_id", p.RunID)
	l.request.query.add("status", string(p.Status))
	return l
}

// Evaluations returns one page of a judge's evaluations, presumably newest
// first. It costs one request.
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) Evaluations(ctx context.Context, judgeID string, p *EvaluationListParams, opts ...RequestOption) (*Page[Evaluation], error) {
	return evaluationListing(s, judgeID, p).page(ctx, opts)
}

// AllEvaluations iterates over a judge's evaluations, starting at the given
// offset. Evaluations may be added and deleted during the iteration: each of
// the others is yielded once, or the iteration ends with [ErrPageLoop]. It
// costs one request per Limit evaluations, and a few more if the list changes;
// the default Limit is 100.
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) AllEvaluations(ctx context.Context, judgeID string, p *EvaluationListParams, opts ...RequestOption) iter.Seq2[*Evaluation, error] {
	return evaluationListing(s, judgeID, p).all(ctx, opts)
}

// Evaluate asks a judge to score a run, regardless of the judge's trigger mode,
// and returns without waiting. To wait for the score, use
// [JudgesService.EvaluateAndWait]. The format of the response is not known: the
// returned evaluation has at least the ids of the judge and the run, and
// usually an id of its own.
//
// Each evaluation costs tokens. As with [AgentsService.Trigger], the request is
// not repeated blindly: see [ErrOutcomeUnknown]. It costs one request.
//
//	API:    POST /projects/{project}/judges/{judge}/evaluate
//	Access: judges write
//	Status: assumed
func (s *JudgesService) Evaluate(ctx context.Context, judgeID, runID string, opts ...RequestOption) (*Evaluation, error) {
	return s.evaluate(ctx, judgeID, runID, nil, opts)
}

func (s *JudgesService) evaluate(ctx context.Context, judgeID, runID string, queued func(Reason, time.Duration), opts []RequestOption) (*Evaluation, error) {
	if reason := checkFilled(runID); reason != "" {
		return nil, &ArgumentError{Op: api.Table[api.JudgesEvaluate].Name, Arg: "run id", Reason: reason}
	}
	body := struct {
		RunID string `json:"run_id"`
	}{runID}
	r := request{op: api.JudgesEvaluate, id: judgeID, body: body, queued: queued}
	return do(ctx, s.scope(), r, decodeEvaluation(judgeID, runID), opts)
}

// EvaluateAndWait asks a judge to score a run and waits for the score. It asks
// exactly once: whatever happens during the wait, it does not request another
// evaluation.
//
// If the context ends first, the error is a [*WaitError] and the returned
// Evaluation has the id; resume with [JudgesService.WaitEvaluation]. An
// evaluation that failed is returned together with an [*EvaluationError].
//
// It costs one request, plus its part of the polls that all waits for the
// judge's evaluations share: after 2 s, and then at growing intervals of up to
// 15 s.
//
//	API:    POST /projects/{project}/judges/{judge}/evaluate
//	Access: judges write
//	Status: assumed
func (s *JudgesService) EvaluateAndWait(ctx context.Context, judgeID, runID string, opts ...WaitOption) (*Evaluation, error) {
	conf := newWaitConfig(opts)
	e, err := s.evaluate(ctx, judgeID, runID, conf.queued("evaluation"), nil)
	switch {
	case err != nil:
		return nil, err
	case e.Status.Finished():
		return e, s.scope().hide(e.failure())
	case e.ID == "":
		return e, &WaitError{
			Kind: "evaluation of run", ID: runID, Pending: []string{runID}, LastStatus: string(e.Status),
			Err: errors.New("the service took the request and did not name the evaluation; see Judges.Evaluations"),
		}
	}
	w := evaluationWaiter(s, &conf, judgeID)
	return w.await(ctx, w.JoinKnown(ctx, conf.terms(), true, e.clone(), e.ID), e.ID, e)
}

// WaitEvaluation waits until an evaluation has finished and returns it. An
// evaluation that failed is returned together with an [*EvaluationError]. If
// the wait itself ends first, the evaluation as last seen is returned together
// with a [*WaitError].
//
// The API has no operation to get a single evaluation, so WaitEvaluation
// searches the list. The first poll covers the judge's newest evaluations, at
// least 500, at one request per 100. Later polls follow after 2 s, and then at
// growing intervals of up to 15 s (see [WithPoll]). All waits of a Client for
// evaluations by one judge share their polls: usually one list request per poll
// and 100 evaluations. If the evaluation is missing from the list for 15 s, the
// wait ends with [ErrNotFound].
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) WaitEvaluation(ctx context.Context, judgeID, evaluationID string, opts ...WaitOption) (*Evaluation, error) {
	conf := newWaitConfig(opts)
	known := &Evaluation{ID: evaluationID, JudgeID: judgeID}
	return evaluationWaiter(s, &conf, judgeID).one(ctx, api.Table[api.JudgesEvaluations].Name, evaluationID, known)
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
	return evaluationWaiter(s, &conf, judgeID).all(ctx, api.Table[api.JudgesEvaluations].Name, evaluationIDs)
}

// WaitRunEvaluation waits until a judge has evaluated a run, and returns the
// newest evaluation of that run. It is intended for automatic judges. In all
// other respects it behaves like [JudgesService.WaitEvaluation].
//
// The evaluation need not exist yet. An automatic judge skips runs that its
// sample rate or filters exclude, and then no evaluation ever appears: limit
// the wait with the context.
//
// It costs one request per poll, which all such waits for one judge share.
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) WaitRunEvaluation(ctx context.Context, judgeID, runID string, opts ...WaitOption) (*Evaluation, error) {
	conf := newWaitConfig(opts)
	known := &Evaluation{JudgeID: judgeID, RunID: runID}
	w := firstEvaluationWaiter(s, &conf, judgeID)
	if err := w.check(ctx, api.Table[api.JudgesEvaluations].Name, runID); err != nil {
		return known, err
	}
	return w.await(ctx, w.JoinKnown(ctx, conf.terms(), false, known.clone(), runID), runID, known)
}

// waiter returns the waiter for the evaluations by a judge.
func evaluationWaiter(s *JudgesService, conf *waitConfig, judgeID string) *waiter[Evaluation] {
	return newWaiter(s.scope(), conf, judgeID, (*Evaluation).failure, watch.Kind[Evaluation]{
		Name: "evaluation",
		ID:   func(e *Evaluation) string { return e.ID },
		State: func(e *Evaluation) watch.State {
			return watch.State{Status: string(e.Status), Done: !e.Status.active()}
		},
		List: newestEvaluations(s, conf, judgeID),
		Copy: (*Evaluation).clone,
	})
}

// runWaiter returns the waiter for the newest evaluation by a judge of each of
// several runs.
func firstEvaluationWaiter(s *JudgesService, conf *waitConfig, judgeID string) *waiter[Evaluation] {
	return newWaiter(s.scope(), conf, judgeID, (*Evaluation).failure, watch.Kind[Evaluation]{
		Name: "evaluation of run",
		ID:   func(e *Evaluation) string { return e.RunID },
		State: func(e *Evaluation) watch.State {
			missing := e.ID == "" && e.Status == "" // no evaluation yet
			return watch.State{Status: string(e.Status), Done: !e.Status.active() && !missing}
		},
		Absent: func(id string) *Evaluation { return &Evaluation{JudgeID: judgeID, RunID: id} },
		List:   newestEvaluations(s, conf, judgeID),
		Copy:   (*Evaluation).clone,
	})
}

func (e *Evaluation) clone() *Evaluation {
	own := *e
	own.Criteria = slices.Clone(e.Criteria)
	return &own
}

// newest lists a judge's evaluations, newest first: only those of one run if all
// that were seen last are of that run.
func newestEvaluations(s *JudgesService, conf *waitConfig, judgeID string) func([]*Evaluation) func(context.Context, watch.Position, watch.Ask) (watch.Page[Evaluation], error) {
	return func(last []*Evaluation) func(context.Context, watch.Position, watch.Ask) (watch.Page[Evaluation], error) {
		params := EvaluationListParams{Limit: pageLimit}
		if len(last) > 0 && last[0] != nil {
			params.RunID = last[0].RunID
		}
		if slices.ContainsFunc(last, func(e *Evaluation) bool { return e == nil || e.RunID != params.RunID }) {
			params.RunID = ""
		}
		l := evaluationListing(s, judgeID, &params)
		l.complete = func(items []*Evaluation) {
			for _, e := range items {
				e.JudgeID, e.RunID = cmp.Or(e.JudgeID, judgeID), cmp.Or(e.RunID, params.RunID)
			}
			slices.SortStableFunc(items, func(a, b *Evaluation) int { return b.CreatedAt.Compare(a.CreatedAt) })
		}
		return pages(conf, l)
	}
}
