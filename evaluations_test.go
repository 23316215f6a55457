package connic_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestEvaluateAndWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		srv.Judge("quality", func(ctx context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
			if err := pause(ctx, 30*time.Second); err != nil {
				return nil, err
			}
			if in.Run.Output == "nonsense" {
				return nil, errors.New("I cannot read this")
			}
			return map[string]connictest.Score{
				"accuracy": {Points: 9.7, Reasoning: "says " + in.Run.Output}, "tone": {Points: 0.1},
			}, nil
		})
		judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), fair()))
		good, bad := completed(t, client, "hello"), completed(t, client, "nonsense")

		before := srv.Executions("judges.evaluations")
		start := time.Now()
		var seen []string
		e, err := client.Judges.EvaluateAndWait(t.Context(), judge.ID, good.ID, connic.WithProgress(func(e connic.WaitEvent) {
			seen = append(seen, e.Status)
		}))
		if err != nil {
			t.Fatal(err)
		}
		if e.Status != connic.EvaluationCompleted || e.Score != 9.8 || e.MaxScore != 15 || e.RunID != good.ID || e.JudgeID != judge.ID ||
			e.Criteria[0].Reasoning != "says hello" || e.Criteria[1].Score != 0.1 {
			t.Errorf("the evaluation is %+v", e)
		}
		if share := e.Share(); share < 0.65 || share > 0.66 {
			t.Errorf("the share is %v", share)
		}
		if seen[0] != "pending" || seen[len(seen)-1] != "completed" {
			t.Errorf("the states were %v", seen)
		}
		polls := srv.Executions("judges.evaluations") - before
		if took := time.Since(start); polls != len(seen) || polls > 8 || took < 30*time.Second || took > 47*time.Second {
			t.Errorf("it took %v and %d requests", took, polls)
		}
		if n := srv.Executions("judges.evaluate"); n != 1 {
			t.Errorf("%d evaluations were asked for", n)
		}

		e, err = client.Judges.EvaluateAndWait(t.Context(), judge.ID, bad.ID)
		var failed *connic.EvaluationError
		if !errors.As(err, &failed) || failed.Evaluation != e || e.Status != connic.EvaluationFailed || errors.Is(err, connic.ErrUnknownStatus) ||
			!strings.Contains(err.Error(), "I cannot read this") {
			t.Errorf("the failed evaluation is %+v with %v", e, err)
		}
	})
}

// cannedAnswers is a transport that returns responses in turn and records the
// requests.
type cannedAnswers struct {
	answers []string
	sent    []string
}

func (s *cannedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	text := `{"detail": "one request too many"}`
	status := http.StatusNotImplemented
	if n := len(s.sent); n < len(s.answers) {
		text, status = s.answers[n], http.StatusOK
	}
	s.sent = append(s.sent, r.Method+" "+r.URL.RequestURI())
	return &http.Response{StatusCode: status, Request: r, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// TestEvaluateAndWaitTakesManyAnswers tests responses that the service may
// give. Which one it gives is not known.
func TestEvaluateAndWaitTakesManyAnswers(t *testing.T) {
	t.Parallel()
	const ask, look = "POST /v1/projects/p/judges/j1/evaluate", "GET /v1/projects/p/judges/j1/evaluations?run_id=r1&limit=100"
	tests := map[string]struct {
		answers []string
		sent    []string
		status  connic.EvaluationStatus
		score   float64
		err     string // "" for none
		unknown bool
		at      time.Duration // at least
	}{
		"finished at once": {
			answers: []string{`{"id": "e1", "status": "completed", "score": 8, "max_score": 10}`}, sent: []string{ask},
			status: connic.EvaluationCompleted, score: 8,
		},
		"finished at once, without an id": {
			answers: []string{`{"score": 8}`}, sent: []string{ask}, status: connic.EvaluationCompleted, score: 8,
		},
		"failed at once": {
			answers: []string{`{"id": "e1", "status": "failed", "error": "no credit"}`}, sent: []string{ask},
			status: connic.EvaluationFailed, err: "evaluation e1 of run r1 ended: failed: no credit",
		},
		"later": {
			answers: []string{`{"id": "e1", "status": "accepted"}`, `[{"id": "e1", "run_id": "r1", "status": "processing"}]`, `[{"id": "e1", "run_id": "r1", "status": "completed", "score": 3}]`},
			sent:    []string{ask, look, look}, status: connic.EvaluationCompleted, score: 3, at: 4 * time.Second,
		},
		"later among others": {
			answers: []string{`{"evaluation_id": "e1"}`, `[{"id": "e2", "run_id": "r1", "status": "completed", "score": 1}, {"id": "e1", "status": "completed", "score": 3}]`},
			sent:    []string{ask, look}, status: connic.EvaluationCompleted, score: 3, at: 2 * time.Second,
		},
		"in a state that nobody knows": {
			answers: []string{`{"id": "e1"}`, `[{"id": "e1", "run_id": "r1", "status": "skipped"}]`},
			sent:    []string{ask, look}, status: "skipped", err: "evaluation e1 of run r1 has the unknown status skipped", unknown: true,
		},
		"without a state": {
			answers: []string{`{"id": "e1"}`, `[{"id": "e1", "run_id": "r1"}]`},
			sent:    []string{ask, look}, err: "evaluation e1 of run r1 was returned without a status", unknown: true,
		},
		"never named": {
			answers: []string{`{"status": "pending"}`}, sent: []string{ask}, status: connic.EvaluationPending,
			err: "waiting for evaluation of run r1 (last seen: pending): the service took the request and did not name the evaluation; see Judges.Evaluations",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				transport := &cannedAnswers{answers: test.answers}
				c := must[*connic.Client](t)(connic.New("p", "cnc_judges_test_key", connic.WithHTTPClient(&http.Client{Transport: transport})))
				start := time.Now()
				e, err := c.Judges.EvaluateAndWait(t.Context(), "j1", "r1")
				if strings.Join(transport.sent, "\n") != strings.Join(test.sent, "\n") {
					t.Errorf("it sent %q, want %q", transport.sent, test.sent)
				}
				if e == nil || e.Status != test.status || e.Score != test.score || e.JudgeID != "j1" {
					t.Fatalf("the evaluation is %+v", e)
				}
				text := ""
				if err != nil {
					text = strings.TrimPrefix(err.Error(), "connic: ")
				}
				if text != test.err || errors.Is(err, connic.ErrUnknownStatus) != test.unknown {
					t.Errorf("the error is %q, want %q", text, test.err)
				}
				if took := time.Since(start); took < test.at {
					t.Errorf("it took %v, less than %v", took, test.at)
				}
			})
		})
	}
	none := connic.Evaluation{Score: 3}
	if got := none.Share(); got != 0 {
		t.Errorf("the share of nothing is %v", got)
	}
}

func TestWaitEvaluationFindsItsRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		srv.Judge("", func(ctx context.Context, _ connictest.JudgeInput) (map[string]connictest.Score, error) {
			return nil, pause(ctx, 20*time.Second)
		})
		judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), fair()))
		run := completed(t, client, "hello")
		e := must[*connic.Evaluation](t)(client.Judges.Evaluate(t.Context(), judge.ID, run.ID))
		if e.Status != connic.EvaluationPending || e.ID == "" {
			t.Errorf("the new evaluation is %+v", e)
		}
		for range 120 { // on two pages after it
			must[*connic.Evaluation](t)(client.Judges.Evaluate(t.Context(), judge.ID, run.ID))
			time.Sleep(time.Second)
		}
		first := len(srv.Requests())
		got := must[*connic.Evaluation](t)(client.Judges.WaitEvaluation(t.Context(), judge.ID, e.ID))
		if got.ID != e.ID || got.Status != connic.EvaluationCompleted || got.Score != 0 || got.MaxScore != 15 {
			t.Errorf("the evaluation is %+v", got)
		}
		if sent := srv.Requests()[first:]; len(sent) != 2 || sent[0].Query != "limit=100" || sent[1].Query != "limit=100&offset=100" {
			t.Errorf("it sent %+v", sent)
		}

		late := must[*connic.Evaluation](t)(client.Judges.Evaluate(t.Context(), judge.ID, run.ID))
		first = len(srv.Requests())
		must[*connic.Evaluation](t)(client.Judges.WaitEvaluation(t.Context(), judge.ID, late.ID))
		sent := srv.Requests()[first:]
		if len(sent) < 3 || sent[0].Query != "limit=100" || sent[1].Query != "run_id="+run.ID+"&limit=100" {
			t.Errorf("it sent %+v", sent)
		}

		first = len(srv.Requests())
		_, err := client.Judges.WaitEvaluation(t.Context(), judge.ID, "evaluation-unknown")
		var wait *connic.WaitError
		if !errors.As(err, &wait) || wait.Polls != 5 || !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("the wait for an unknown evaluation ended with %v", err)
		}
		if n := len(srv.Requests()) - first; n != 2+4 { // two pages once, then the first only
			t.Errorf("it sent %d requests", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got, err = client.Judges.EvaluateAndWait(ctx, judge.ID, run.ID)
		if !errors.As(err, &wait) || !errors.Is(err, context.DeadlineExceeded) || got.ID == "" || wait.ID != got.ID || wait.LastStatus != "pending" {
			t.Errorf("the wait that was too short returned %+v with %v", got, err)
		}
	})
}

func TestWaitRunEvaluationOfAnAutomaticJudge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		srv.Judge("", func(ctx context.Context, _ connictest.JudgeInput) (map[string]connictest.Score, error) {
			return map[string]connictest.Score{"accuracy": {Points: 7}}, pause(ctx, 10*time.Second)
		})
		req := fair()
		req.TriggerMode = connic.JudgeAutomatic
		judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), req))
		if judge.SampleRate != 100 {
			t.Errorf("the fake's default sample rate is %v", judge.SampleRate)
		}
		// The wait begins before the run has ended, when there is no evaluation
		// yet.
		started := must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Message: "hello"}))
		e := must[*connic.Evaluation](t)(client.Judges.WaitRunEvaluation(t.Context(), judge.ID, started.RunID))
		if e.RunID != started.RunID || e.Score != 7 || e.Status != connic.EvaluationCompleted {
			t.Errorf("the evaluation is %+v", e)
		}
		// A second evaluation of the run is newer.
		again := must[*connic.Evaluation](t)(client.Judges.EvaluateAndWait(t.Context(), judge.ID, started.RunID))
		newest := must[*connic.Evaluation](t)(client.Judges.WaitRunEvaluation(t.Context(), judge.ID, started.RunID))
		if newest.ID != again.ID || newest.ID == e.ID {
			t.Errorf("the newest evaluation is %s, want %s", newest.ID, again.ID)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		none, err := client.Judges.WaitRunEvaluation(ctx, judge.ID, "run-never-judged")
		var wait *connic.WaitError
		if !errors.As(err, &wait) || wait.LastStatus != "" || none.RunID != "run-never-judged" || none.ID != "" {
			t.Errorf("the wait for what never comes returned %+v with %v", none, err)
		}
	})
}
