package connic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// Evaluation is what a judge found about one run.
type Evaluation struct {
	ID      string           `json:"id" api:"words,evaluation_id"`
	JudgeID string           `json:"judge_id,omitzero" api:"words"`
	RunID   string           `json:"run_id,omitzero" api:"words"`
	Status  EvaluationStatus `json:"status" api:"words"`
	// Score is the sum of the criteria's scores, and MaxScore what it could have
	// been. They mean nothing before the evaluation has completed.
	Score     float64          `json:"score" api:"words"`
	MaxScore  float64          `json:"max_score" api:"words"`
	Criteria  []CriterionScore `json:"criteria,omitzero" api:"words"`
	Error     string           `json:"error,omitzero" api:"words"`
	CreatedAt time.Time        `json:"created_at,omitzero" api:"words"`

	rawItem
}

// CriterionScore is the score by one criterion.
type CriterionScore struct {
	Name      string  `json:"name" api:"words"`
	Score     float64 `json:"score" api:"words"`
	MaxScore  float64 `json:"max_score" api:"words"`
	Reasoning string  `json:"reasoning,omitzero" api:"words"`
}

// Share is the part of the best possible score that was reached, from 0 to 1; 0
// where the best score is not known.
func (e *Evaluation) Share() float64 {
	if e.MaxScore <= 0 {
		return 0
	}
	return e.Score / e.MaxScore
}

// EvaluationStatus is the state of an evaluation. The vendor names none; these
// are assumed.
type EvaluationStatus string

// The known states of an evaluation.
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

// Finished reports whether s is one of the known final states.
func (s EvaluationStatus) Finished() bool { return s == EvaluationCompleted || s == EvaluationFailed }

// Known reports whether this version of the package knows s.
func (s EvaluationStatus) Known() bool { return s.active() || s.Finished() }

// failure is the error of a finished evaluation, nil if it completed.
func (e *Evaluation) failure() error {
	if e.Status == EvaluationCompleted {
		return nil
	}
	return &EvaluationError{Evaluation: e}
}

// EvaluationError is an evaluation that ended, but did not complete: it failed,
// or ended in a state that this version of the package does not know (then it
// matches [ErrUnknownStatus]).
type EvaluationError struct{ Evaluation *Evaluation }

func (e *EvaluationError) Error() string {
	v := e.Evaluation
	if v == nil {
		return endedText("evaluation", "", "", "", false, "")
	}
	return endedText("evaluation", v.ID, about("run", v.RunID), string(v.Status), v.Status.Known(), v.Error)
}

// MarshalText implements [encoding.TextMarshaler] with what Error returns, so
// that an error in a JSON log is its text, and not the evaluation with all its data.
func (e *EvaluationError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Is matches [ErrUnknownStatus] where the status is not known.
func (e *EvaluationError) Is(target error) bool {
	return target == ErrUnknownStatus && e.Evaluation != nil && !e.Evaluation.Status.Known()
}

// decoded fills in what the service leaves out: the score is the sum of the
// criteria's, and a score ends an evaluation.
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

// total is the sum where the service gives one, and else the sum of the parts. It
// adds decimals, so that 0.7 and 0.1 do not stay below a threshold of 0.8.
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

// decodeEvaluation decodes the answer to a request for an evaluation.
func decodeEvaluation(judgeID, runID string) func(*lenient.Decoder) (*Evaluation, error) {
	return func(d *lenient.Decoder) (*Evaluation, error) {
		var w struct {
			Evaluation
			Inner *Evaluation `json:"evaluation"`
		}
		// An answer that says nothing but that the request was taken is one too.
		if err := d.End(d.Value(&w)); err != nil {
			return nil, err
		}
		e := &w.Evaluation
		if w.Inner != nil && e.ID == "" {
			e = w.Inner
		}
		finish(d, e, 0)
		e.Status = cmp.Or(e.Status, EvaluationPending)
		e.JudgeID, e.RunID = cmp.Or(e.JudgeID, judgeID), cmp.Or(e.RunID, runID)
		return e, nil
	}
}

// EvaluationListParams selects evaluations of a judge. Zero fields select all.
type EvaluationListParams struct {
	RunID         string
	Status        EvaluationStatus
	Limit, Offset int
}

func (s *JudgesService) evaluations(p *EvaluationListParams) (listing[Evaluation], EvaluationListParams) {
	var params EvaluationListParams
	if p != nil {
		params = *p
	}
	return listing[Evaluation]{
		name: "evaluations", id: func(e *Evaluation) string { return e.ID },
		limit: params.Limit, offset: params.Offset,
	}, params
}

func (s *JudgesService) evaluationPage(ctx context.Context, judgeID string, l *listing[Evaluation], p EvaluationListParams, lane Lane, opts []RequestOption) (*Page[Evaluation], error) {
	r := request{op: api.JudgesEvaluations, id: judgeID, lane: lane}
	r.query.add("run_id", p.RunID)
	r.query.add("status", string(p.Status))
	l.query(&r.query)
	page, err := do(ctx, (*service)(s).of(), r, l.decode, opts)
	if err != nil {
		return nil, err
	}
	for _, e := range page.Items {
		e.JudgeID = cmp.Or(e.JudgeID, judgeID)
	}
	return page, nil
}

// Evaluations returns one page of what a judge found, newest first as far as is
// known. It costs one request.
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) Evaluations(ctx context.Context, judgeID string, p *EvaluationListParams, opts ...RequestOption) (*Page[Evaluation], error) {
	l, params := s.evaluations(p)
	return s.evaluationPage(ctx, judgeID, &l, params, LaneCall, opts)
}

// AllEvaluations iterates over what a judge found, from the given offset on. It
// costs one request per 100 evaluations, or per Limit.
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) AllEvaluations(ctx context.Context, judgeID string, p *EvaluationListParams, opts ...RequestOption) iter.Seq2[*Evaluation, error] {
	l, params := s.evaluations(p)
	return l.all(ctx, "judges.evaluations", func(ctx context.Context, l *listing[Evaluation]) (*Page[Evaluation], error) {
		return s.evaluationPage(ctx, judgeID, l, params, LaneCall, opts)
	})
}

// Evaluate asks a judge to score a run, whatever the judge's trigger mode, and
// returns at once; see [JudgesService.EvaluateAndWait] for the score. What the
// service answers is not known: the evaluation that is returned has at least the
// ids of judge and run, and usually an id of its own.
//
// Each evaluation costs tokens. As with [AgentsService.Trigger] the request is
// not repeated blindly: see [ErrOutcomeUnknown]. It costs one request.
//
//	API:    POST /projects/{project}/judges/{judge}/evaluate
//	Access: judges write
//	Status: assumed
func (s *JudgesService) Evaluate(ctx context.Context, judgeID, runID string, opts ...RequestOption) (*Evaluation, error) {
	if reason := checkFilled(runID); reason != "" {
		return nil, &ArgumentError{Op: api.Table[api.JudgesEvaluate].Name, Arg: "run id", Reason: reason}
	}
	body := struct {
		RunID string `json:"run_id"`
	}{runID}
	return do(ctx, (*service)(s).of(), request{op: api.JudgesEvaluate, id: judgeID, body: body}, decodeEvaluation(judgeID, runID), opts)
}

// EvaluateAndWait asks a judge to score a run, and waits for the score. It asks
// once: whatever happens while it waits, it does not ask for another evaluation.
//
// When the context ends first, the error is a [*WaitError], and the returned
// Evaluation has its id: go on with [JudgesService.WaitEvaluation]. An evaluation
// that failed is returned together with an [*EvaluationError].
//
// It costs one request, and one per poll: after 2 s, and then less and less often
// down to every 15 s.
//
//	API:    POST /projects/{project}/judges/{judge}/evaluate
//	Access: judges write
//	Status: assumed
func (s *JudgesService) EvaluateAndWait(ctx context.Context, judgeID, runID string, opts ...WaitOption) (*Evaluation, error) {
	conf := newWaitConfig(opts)
	e, err := s.Evaluate(ctx, judgeID, runID, conf.request...)
	switch {
	case err != nil:
		return nil, err
	case e.Status.Finished():
		return e, e.failure()
	case e.ID == "":
		return e, &WaitError{
			Kind: "evaluation of run", ID: runID, Pending: []string{runID}, LastStatus: string(e.Status),
			Err: errors.New("the service took the request and did not name the evaluation; see Judges.Evaluations"),
		}
	}
	return s.wait(ctx, conf, evaluationWatch{judges: s, conf: conf, judgeID: judgeID, runID: e.RunID, id: e.ID}, true, e)
}

// WaitEvaluation waits until an evaluation has finished, and returns it. An
// evaluation that failed is returned together with an [*EvaluationError]; when the
// wait itself ends first, the evaluation as it was last seen is returned together
// with a [*WaitError].
//
// The API offers no way to get a single evaluation: it is looked for in the list.
// The first look goes through the judge's newest evaluations, at most 500, at one
// request per 100. Then a poll costs one request: after 2 s, and then less and less
// often down to every 15 s (see [WithPoll]). An evaluation that is not in the list
// five polls in a row ends the wait with [ErrNotFound].
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) WaitEvaluation(ctx context.Context, judgeID, evaluationID string, opts ...WaitOption) (*Evaluation, error) {
	conf := newWaitConfig(opts)
	if reason := checkFilled(evaluationID); reason != "" {
		return nil, &ArgumentError{Op: api.Table[api.JudgesEvaluations].Name, Arg: "evaluation id", Reason: reason}
	}
	watch := evaluationWatch{judges: s, conf: conf, judgeID: judgeID, id: evaluationID}
	return s.wait(ctx, conf, watch, false, &Evaluation{ID: evaluationID, JudgeID: judgeID})
}

// WaitRunEvaluation waits until a judge has evaluated a run, and returns the
// newest evaluation of it: for automatic judges, which nobody asks. Otherwise it
// is as [JudgesService.WaitEvaluation].
//
// An evaluation that does not exist yet is waited for. An automatic judge passes
// over runs that its sample rate or its filters leave out, and then none will
// ever come: bound the wait with the context.
//
// It costs one request per poll.
//
//	API:    GET /projects/{project}/judges/{judge}/evaluations
//	Access: judges read
//	Status: assumed
func (s *JudgesService) WaitRunEvaluation(ctx context.Context, judgeID, runID string, opts ...WaitOption) (*Evaluation, error) {
	conf := newWaitConfig(opts)
	if reason := checkFilled(runID); reason != "" {
		return nil, &ArgumentError{Op: api.Table[api.JudgesEvaluations].Name, Arg: "run id", Reason: reason}
	}
	watch := evaluationWatch{judges: s, conf: conf, judgeID: judgeID, runID: runID}
	return s.wait(ctx, conf, watch, false, &Evaluation{JudgeID: judgeID, RunID: runID})
}

// wait returns known where it saw nothing.
func (s *JudgesService) wait(ctx context.Context, conf waitConfig, watch evaluationWatch, pauseFirst bool, known *Evaluation) (*Evaluation, error) {
	w := waiting[Evaluation]{
		kind: "evaluation", id: watch.id, pauseFirst: pauseFirst, fetch: watch.look,
		state: func(e *Evaluation) waitState {
			missing := e.ID == "" && e.Status == "" // there is none yet
			return waitState{status: string(e.Status), done: !e.Status.active() && !missing}
		},
	}
	if watch.id == "" {
		w.kind, w.id = "evaluation of run", watch.runID
	}
	e, err := poll(ctx, conf, w)
	if e == nil {
		e = known
	}
	if err != nil {
		return e, err
	}
	return e, e.failure()
}

// evaluationPages bounds the first look for an evaluation whose run is not known.
const evaluationPages = 5

// evaluationWatch looks for one evaluation in the list: by its id or, if that is
// not known, the newest one of the run.
type evaluationWatch struct {
	judges    *JudgesService
	conf      waitConfig
	judgeID   string
	looked    bool // through several pages; what is new stands on the first one
	runID, id string
}

func (w *evaluationWatch) look(ctx context.Context) (*Evaluation, error) {
	params := EvaluationListParams{RunID: w.runID, Limit: pageLimit}
	l, _ := w.judges.evaluations(&params)
	pages := 1
	if w.id != "" && w.runID == "" && !w.looked {
		pages = evaluationPages
	}
	var newest *Evaluation
	for range pages {
		page, err := w.judges.evaluationPage(ctx, w.judgeID, &l, params, LanePoll, w.conf.request)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Items {
			switch {
			case w.id != "" && e.ID == w.id:
				w.runID = e.RunID
				return e, nil
			case w.id == "" && (e.RunID == w.runID || e.RunID == "") && (newest == nil || e.CreatedAt.After(newest.CreatedAt)):
				newest = e
			}
		}
		if newest != nil || !page.HasNext() || len(page.Items) == 0 {
			break
		}
		l.offset += len(page.Items)
		l.cursor = page.NextCursor
	}
	w.looked = true
	switch {
	case newest != nil:
		return newest, nil
	case w.id == "":
		return &Evaluation{JudgeID: w.judgeID, RunID: w.runID}, nil
	}
	return nil, fmt.Errorf("connic: judges.evaluations: %w: the judge has no evaluation with this id", ErrNotFound)
}
