package connictest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
)

// A JudgeFunc scores a run. It returns a score for each of the judge's criteria
// by name; criteria that it omits score 0. The context ends when the server is
// closed.
type JudgeFunc func(ctx context.Context, in JudgeInput) (map[string]Score, error)

// A Score is the score for one criterion.
type Score struct {
	Points    float64 // from 0 to the criterion's max_score
	Reasoning string
}

// A JudgeInput is the input of a judge.
type JudgeInput struct {
	JudgeID   string
	JudgeName string
	// Run is the finished run as the API shows it, including traces.
	Run      *connic.Run
	Criteria []connic.Criterion

	server     *Server
	evaluation *evaluation
}

// Cost adds to the cost of the evaluation. The amount is a decimal such as
// "0.0125", and the currency is EUR or USD. It counts as judge cost of the
// agent. Cost panics if the amount is not a number.
func (in JudgeInput) Cost(amount, currency string) {
	d, err := connic.ParseDecimal(amount)
	if err != nil {
		panic(err)
	}
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	if e := in.evaluation; e.status == connic.EvaluationPending { // else it is over
		in.server.charge(e.agent, e.environment, d, currency, true)
	}
}

// Judge sets the function that scores for judges with the given name or, if the
// name is empty, for all judges without a function of their own. The judges
// themselves are created through the API. Evaluations by a judge without a
// function fail.
func (s *Server) Judge(name string, do JudgeFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scoring[name] = do
}

// evaluation is the verdict of a judge on a run.
type evaluation struct {
	id          string
	run         string // its id
	agent       string
	environment string
	status      connic.EvaluationStatus
	scores      []object
	score       float64
	max         float64
	error       string
	created     time.Time
}

func (e *evaluation) object(j *judge) object {
	o := object{
		"id": e.id, "judge_id": j.ID, "run_id": e.run, "status": string(e.status), "score": nil, "max_score": e.max,
		"criteria": nonNil(e.scores), "error": text(e.error), "created_at": timestamp(e.created),
	}
	if e.status == connic.EvaluationCompleted {
		o["score"] = e.score
	}
	return o
}

// judgeRun lets the automatic judges score a finished run. Of the matching
// runs, a judge scores the first and then an even share according to its sample
// rate: at 25 percent, every fourth run. The caller holds the mutex.
func (s *Server) judgeRun(r *run) {
	for _, j := range s.judges {
		if !j.Enabled || j.TriggerMode != connic.JudgeAutomatic || j.AgentName != r.agent || !matches(j.Filters, r) {
			continue
		}
		before := math.Ceil(float64(j.eligible) * j.SampleRate / 100)
		j.eligible++
		if math.Ceil(float64(j.eligible)*j.SampleRate/100) > before {
			s.evaluate(j, r)
		}
	}
}

// evaluate starts an evaluation. The caller holds the mutex.
func (s *Server) evaluate(j *judge, r *run) *evaluation {
	e := &evaluation{id: s.newID("evaluation"), run: r.id, agent: r.agent, environment: r.environment, status: connic.EvaluationPending, created: s.now()}
	for _, c := range j.Criteria {
		e.max = plus(e.max, c.MaxScore)
	}
	j.evaluations = push(j.evaluations, e, maxEvaluations)
	do := s.scoring[j.Name]
	if do == nil {
		do = s.scoring[""]
	}
	in := JudgeInput{
		JudgeID: j.ID, JudgeName: j.Name, Criteria: slices.Clone(j.Criteria), server: s, evaluation: e, Run: shown[connic.Run](r.object(true)),
	}
	if j.FilterExpression != "" && j.TriggerMode == connic.JudgeAutomatic {
		do = func(context.Context, JudgeInput) (map[string]Score, error) {
			return nil, errors.New("connictest: the fake does not understand filter expressions")
		}
	}
	if !s.begin() {
		return e
	}
	go func() {
		defer s.work.Done()
		s.score(j, e, do, in)
	}()
	return e
}

// plus adds without the rounding errors of binary fractions: 0.7 plus 0.1 is
// 0.8.
func plus(a, b float64) float64 { return math.Round((a+b)*1e9) / 1e9 }

// score calls the judge and records its result, however it ends.
func (s *Server) score(j *judge, e *evaluation, do JudgeFunc, in JudgeInput) {
	var scores map[string]Score
	problem := "the judge " + noReturn
	defer func() {
		if p := recover(); p != nil {
			problem = fmt.Sprintf("the judge panicked: %v", p)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if problem == "" {
			problem = errorText(e.take(in.Criteria, scores))
		}
		if problem != "" {
			e.status, e.error = connic.EvaluationFailed, problem
			return
		}
		e.status = connic.EvaluationCompleted
		s.alert(j)
	}()
	if do == nil {
		problem = fmt.Sprintf("connictest: no function scores for the judge %q; see Server.Judge", in.JudgeName)
		return
	}
	result, err := do(s.ctx, in)
	scores, problem = maps.Clone(result), errorText(err)
}

// take records the scores if they match the judge's criteria.
func (e *evaluation) take(criteria []connic.Criterion, scores map[string]Score) error {
	for name := range scores {
		if !slices.ContainsFunc(criteria, func(c connic.Criterion) bool { return c.Name == name }) {
			return fmt.Errorf("connictest: a score was given for %q, which is not a criterion of the judge", name)
		}
	}
	for _, c := range criteria {
		points := scores[c.Name].Points
		if !(points >= 0 && points <= c.MaxScore) {
			return fmt.Errorf("connictest: the score %v for %q is not between 0 and %v", points, c.Name, c.MaxScore)
		}
		e.score = plus(e.score, points)
		e.scores = append(e.scores, object{
			"name": c.Name, "score": points, "max_score": c.MaxScore, "reasoning": text(scores[c.Name].Reasoning),
		})
	}
	return nil
}

// alert records that the average score of a judge fell below its threshold. The
// window of the fake counts evaluations. The caller holds the mutex.
func (s *Server) alert(j *judge) {
	if j.ScoreAlert == nil {
		return
	}
	var sum float64
	n, window := 0, 1
	if count, ok := j.ScoreAlert.Window.(float64); ok {
		window = int(count)
	}
	for _, e := range slices.Backward(j.evaluations) {
		if e.status == connic.EvaluationCompleted && n < window {
			sum += e.score
			n++
		}
	}
	if average := sum / float64(n); n == window && average < j.ScoreAlert.Threshold {
		s.notice("judge", j.ID, j.Name, fmt.Sprintf("the average score of the last %d evaluations is %v, below %v", n, average, j.ScoreAlert.Threshold))
	}
}

// matches reports whether a run meets all filters. A field is one of the run as
// the API shows it; dots lead into run_context (or context for short), and into
// inputs and outputs that are JSON.
func matches(filters []connic.RunFilter, r *run) bool {
	for _, f := range filters {
		value, exists := field(r.object(true), f.Field)
		met := false
		switch f.Operator {
		case connic.FilterExists:
			met = exists
		case connic.FilterEquals:
			met = exists && sameValue(value, f.Value)
		case connic.FilterNotEquals:
			met = !exists || !sameValue(value, f.Value)
		case connic.FilterContains:
			met = exists && hasValue(value, f.Value)
		}
		if !met {
			return false
		}
	}
	return true
}

func field(o object, path string) (any, bool) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, false
	}
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return nil, false
	}
	for i, name := range strings.Split(path, ".") {
		if i == 0 && name == "context" {
			name = "run_context"
		}
		if s, ok := value.(string); ok && json.Unmarshal([]byte(s), &value) != nil {
			return nil, false
		}
		members, _ := value.(map[string]any)
		if value = members[name]; value == nil {
			return nil, false
		}
	}
	return value, true
}

func sameValue(a, b any) bool {
	return reflect.DeepEqual(a, b) || fmt.Sprint(a) == fmt.Sprint(b)
}

func hasValue(value, element any) bool {
	switch v := value.(type) {
	case string:
		return strings.Contains(v, fmt.Sprint(element))
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return sameValue(item, element) })
	case map[string]any:
		_, ok := v[fmt.Sprint(element)]
		return ok
	}
	return false
}

func (s *Server) evaluateRun(x *exchange) answer {
	j := s.findJudge(x.id)
	if j == nil {
		return notFound("Judge")
	}
	var body struct {
		RunID string `json:"run_id"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	r := s.findRun(body.RunID)
	switch {
	case body.RunID == "":
		return *invalid("Field required", "missing", "body", "run_id")
	case r == nil:
		return notFound("Run")
	case r.agent != j.AgentName:
		return *invalid("The run is not one of the judge's agent", "value_error", "body", "run_id")
	case !r.status.Finished():
		return problem(http.StatusConflict, "The run has not finished yet")
	case !j.Enabled:
		return problem(http.StatusConflict, "The judge is disabled")
	}
	e := s.evaluate(j, r)
	s.changed(x, "evaluation", e.id, nil, e.object(j))
	return ok(e.object(j))
}

func (s *Server) listEvaluations(x *exchange) answer {
	j := s.findJudge(x.id)
	if j == nil {
		return notFound("Judge")
	}
	if x.has("status") && !connic.EvaluationStatus(x.param("status")).Known() {
		return *invalid("Input should be the status of an evaluation", "enum", "query", "status")
	}
	var items []object
	for _, e := range slices.Backward(j.evaluations) {
		if !x.differs("run_id", e.run) && !x.differs("status", string(e.status)) {
			items = append(items, e.object(j))
		}
	}
	return x.page(items)
}
