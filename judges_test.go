package connic_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// fair is a valid judge.
func fair() connic.JudgeCreate {
	return connic.JudgeCreate{
		Name: "quality", AgentName: "support", Model: "fake/judge",
		Criteria: []connic.Criterion{{Name: "accuracy", MaxScore: 10}, {Name: "tone", Description: "friendly", MaxScore: 5}},
	}
}

// judged returns a fake with an agent that repeats its message and takes a
// second.
func judged(t *testing.T) (*connictest.Server, *connic.Client) {
	t.Helper()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
		if in.Message == "fail" {
			return nil, errors.New("out of words")
		}
		return in.Message, nil
	})
	return srv, srv.Client()
}

func completed(t *testing.T, client *connic.Client, message string) *connic.Run {
	t.Helper()
	run, err := client.Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: message})
	var ended *connic.RunError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return run
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestJudgesAreMadeChangedAndRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, client := judged(t)
		req := fair()
		req.TriggerMode, req.SampleRate, req.Enabled = connic.JudgeAutomatic, 20, connic.Set(false)
		req.Filters = []connic.RunFilter{{Field: "status", Operator: connic.FilterEquals, Value: "completed"}}
		req.ScoreAlert = &connic.ScoreAlert{Threshold: 8, Window: 3}
		made := must[*connic.Judge](t)(client.Judges.Create(t.Context(), req))
		if made.ID == "" || made.Enabled || made.SampleRate != 20 || len(made.Criteria) != 2 || made.Criteria[1].Description != "friendly" ||
			made.Filters[0].Value != "completed" || made.ScoreAlert == nil || made.ScoreAlert.Threshold != 8 || made.CreatedAt.IsZero() {
			t.Errorf("the new judge is %+v", made)
		}
		time.Sleep(time.Minute)
		changed := must[*connic.Judge](t)(client.Judges.Update(t.Context(), made.ID, connic.JudgeUpdate{
			SystemPrompt: connic.Set("Be strict."), Filters: connic.Null[[]connic.RunFilter](), ScoreAlert: connic.Null[connic.ScoreAlert](),
			Enabled: connic.Set(true),
		}))
		if changed.Name != "quality" || changed.SystemPrompt != "Be strict." || len(changed.Filters) != 0 || changed.ScoreAlert != nil ||
			!changed.Enabled || changed.SampleRate != 20 || changed.UpdatedAt.Sub(changed.CreatedAt) != time.Minute {
			t.Errorf("the changed judge is %+v", changed)
		}
		got := must[*connic.Judge](t)(client.Judges.Get(t.Context(), made.ID))
		if got.SystemPrompt != changed.SystemPrompt || !got.UpdatedAt.Equal(changed.UpdatedAt) {
			t.Errorf("Get returns %+v", got)
		}
		all := must[[]*connic.Judge](t)(connic.Collect(client.Judges.All(t.Context(), &connic.JudgeListParams{AgentName: "support"}), 0))
		if len(all) != 1 || all[0].ID != made.ID {
			t.Errorf("All yields %d judges", len(all))
		}
		if page := must[*connic.Page[connic.Judge]](t)(client.Judges.List(t.Context(), &connic.JudgeListParams{AgentName: "other"})); len(page.Items) != 0 {
			t.Errorf("another agent has %d judges", len(page.Items))
		}
		if err := client.Judges.Delete(t.Context(), made.ID); err != nil {
			t.Error(err)
		}
		if err := client.Judges.Delete(t.Context(), made.ID); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("deleting it again: %v", err)
		}
	})
}

func TestJudgesRefuseBeforeSending(t *testing.T) {
	t.Parallel()
	var sent int
	client := connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
		return transportFunc(func(*http.Request) (*http.Response, error) {
			sent++
			return nil, errors.New("sent")
		})
	})
	c := must[*connic.Client](t)(connic.New("p", "cnc_judges_test_key", client))
	create := map[string]struct {
		spoil func(*connic.JudgeCreate)
		want  string
	}{
		"no name":               {func(r *connic.JudgeCreate) { r.Name = " " }, "name is empty"},
		"no agent":              {func(r *connic.JudgeCreate) { r.AgentName = "" }, "agent name is empty"},
		"model without a slash": {func(r *connic.JudgeCreate) { r.Model = "sonnet" }, "model is not of the form provider/model"},
		"model without a name":  {func(r *connic.JudgeCreate) { r.Model = "anthropic/" }, "model is not of the form provider/model"},
		"model, no provider":    {func(r *connic.JudgeCreate) { r.Model = "/sonnet" }, "model is not of the form provider/model"},
		"model with a blank":    {func(r *connic.JudgeCreate) { r.Model = "a/b c" }, "model is not of the form provider/model"},
		"no criteria":           {func(r *connic.JudgeCreate) { r.Criteria = nil }, "criteria are empty; a judge needs at least 1"},
		"criterion, no name":    {func(r *connic.JudgeCreate) { r.Criteria[1].Name = "" }, "criteria contain one without a name"},
		"criterion, no points":  {func(r *connic.JudgeCreate) { r.Criteria[0].MaxScore = 0 }, "criteria contain one whose max_score is not more than 0"},
		"criterion, NaN":        {func(r *connic.JudgeCreate) { r.Criteria[0].MaxScore = math.NaN() }, "criteria contain one whose max_score is not more than 0"},
		"trigger mode":          {func(r *connic.JudgeCreate) { r.SampleRate, r.TriggerMode = 10, "" }, "and no mode is set"},
		"rate too low":          {func(r *connic.JudgeCreate) { r.TriggerMode, r.SampleRate = connic.JudgeAutomatic, 0.5 }, "sample rate is not between 1 and 100 percent"},
		"rate too high":         {func(r *connic.JudgeCreate) { r.TriggerMode, r.SampleRate = connic.JudgeAutomatic, 101 }, "sample rate is not between 1 and 100 percent"},
		"rate NaN":              {func(r *connic.JudgeCreate) { r.TriggerMode, r.SampleRate = connic.JudgeAutomatic, math.NaN() }, "sample rate is not between 1 and 100 percent"},
		"rate by hand":          {func(r *connic.JudgeCreate) { r.TriggerMode, r.SampleRate = connic.JudgeManual, 10 }, "sample rate belongs to the trigger mode automatic"},
		"rate without a mode":   {func(r *connic.JudgeCreate) { r.SampleRate = 10 }, "sample rate belongs to the trigger mode automatic"},
		"filter, no field":      {func(r *connic.JudgeCreate) { r.Filters = []connic.RunFilter{{Operator: connic.FilterExists}} }, "filters contain one without a field"},
		"filter operator": {func(r *connic.JudgeCreate) {
			r.Filters = []connic.RunFilter{{Field: "status", Value: "x"}}
		}, "contain one without an operator"},
		"filter, no value": {func(r *connic.JudgeCreate) {
			r.Filters = []connic.RunFilter{{Field: "status", Operator: connic.FilterEquals}}
		}, "filters contain one without a value"},
		"alert": {func(r *connic.JudgeCreate) { r.ScoreAlert = &connic.ScoreAlert{Threshold: -1} }, "score alert has a threshold below 0"},
	}
	for name, test := range create {
		req := fair()
		test.spoil(&req)
		_, err := c.Judges.Create(t.Context(), req)
		refused(t, name, err, "judges.create", test.want)
	}
	update := map[string]struct {
		change connic.JudgeUpdate
		want   string
	}{
		"nothing":      {connic.JudgeUpdate{}, "update is empty: it changes nothing"},
		"rate":         {connic.JudgeUpdate{SampleRate: connic.Set(0.0)}, "sample rate is not between 1 and 100 percent"},
		"rate by hand": {connic.JudgeUpdate{SampleRate: connic.Set(5.0), TriggerMode: connic.Set(connic.JudgeManual)}, "sample rate belongs to"},
		"no criteria":  {connic.JudgeUpdate{Criteria: connic.Set([]connic.Criterion{})}, "criteria are empty"},
		"empty name":   {connic.JudgeUpdate{Name: connic.Set("")}, "name is empty"},
	}
	for name, test := range update {
		_, err := c.Judges.Update(t.Context(), "j", test.change)
		refused(t, name, err, "judges.update", test.want)
	}
	_, err := c.Judges.Evaluate(t.Context(), "j", "")
	refused(t, "evaluate", err, "judges.evaluate", "run id is empty")
	_, err = c.Judges.WaitEvaluation(t.Context(), "j", "")
	refused(t, "wait", err, "judges.evaluations", "evaluation id is empty")
	_, err = c.Judges.WaitRunEvaluation(t.Context(), "j", "")
	refused(t, "wait for a run", err, "judges.evaluations", "run id is empty")
	if sent != 0 {
		t.Errorf("%d requests were sent", sent)
	}
}

func refused(t *testing.T, name string, err error, op, want string) {
	t.Helper()
	var argument *connic.ArgumentError
	if !errors.As(err, &argument) || argument.Op != op || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: the error is %v, want an ArgumentError of %s with %q", name, err, op, want)
	}
}

func TestSampleRateAndFiltersInTheFake(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rate     float64
		filters  []connic.RunFilter
		messages []string
		want     []string
	}{
		"all":            {100, nil, []string{"a", "fail", "c"}, []string{"a", "fail", "c"}},
		"every fourth":   {25, nil, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}, []string{"1", "5", "9"}},
		"three of five":  {60, nil, []string{"1", "2", "3", "4", "5", "6"}, []string{"1", "2", "4", "6"}},
		"completed only": {100, []connic.RunFilter{{Field: "status", Operator: connic.FilterEquals, Value: "completed"}}, []string{"a", "fail", "c"}, []string{"a", "c"}},
		"not completed":  {100, []connic.RunFilter{{Field: "status", Operator: connic.FilterNotEquals, Value: "completed"}}, []string{"a", "fail"}, []string{"fail"}},
		"contains":       {100, []connic.RunFilter{{Field: "output", Operator: connic.FilterContains, Value: "rr"}}, []string{"sorry", "hello"}, []string{"sorry"}},
		"exists":         {100, []connic.RunFilter{{Field: "error", Operator: connic.FilterExists}}, []string{"a", "fail"}, []string{"fail"}},
		"context":        {100, []connic.RunFilter{{Field: "context.agent", Operator: connic.FilterEquals, Value: "support"}}, []string{"a"}, []string{"a"}},
		"within JSON":    {100, []connic.RunFilter{{Field: "output.vip", Operator: connic.FilterEquals, Value: true}}, []string{`{"vip": true}`, `{"vip": false}`, "x"}, []string{`{"vip": true}`}},
		"both filters": {100, []connic.RunFilter{
			{Field: "agent_name", Operator: connic.FilterEquals, Value: "support"}, {Field: "output", Operator: connic.FilterEquals, Value: "b"},
		}, []string{"a", "b"}, []string{"b"}},
		"rate counts matching runs": {50, []connic.RunFilter{{Field: "output", Operator: connic.FilterContains, Value: "x"}}, []string{"x1", "y", "x2", "y", "x3"}, []string{"x1", "x3"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv, client := judged(t)
				var scored []string
				srv.Judge("quality", func(_ context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
					scored = append(scored, in.Run.Input)
					return nil, nil
				})
				req := fair()
				req.TriggerMode, req.SampleRate, req.Filters = connic.JudgeAutomatic, test.rate, test.filters
				must[*connic.Judge](t)(client.Judges.Create(t.Context(), req))
				req.Enabled = connic.Set(false)
				must[*connic.Judge](t)(client.Judges.Create(t.Context(), req)) // does nothing
				for _, message := range test.messages {
					completed(t, client, message)
				}
				if strings.Join(scored, " ") != strings.Join(test.want, " ") {
					t.Errorf("%v were scored, want %v", scored, test.want)
				}
			})
		})
	}
}

func TestJudgesInTheFakeAreStrict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), fair()))
		run := completed(t, client, "hello")
		evaluate := func(scores map[string]connictest.Score) string {
			t.Helper()
			srv.Judge("quality", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) { return scores, nil })
			_, err := client.Judges.EvaluateAndWait(t.Context(), judge.ID, run.ID)
			var failed *connic.EvaluationError
			if !errors.As(err, &failed) {
				t.Fatalf("the evaluation ended with %v", err)
			}
			return failed.Evaluation.Error
		}
		if text := evaluate(map[string]connictest.Score{"speed": {Points: 1}}); !strings.Contains(text, "speed") {
			t.Errorf("a criterion that does not exist: %s", text)
		}
		if text := evaluate(map[string]connictest.Score{"tone": {Points: 6}}); !strings.Contains(text, "between 0 and 5") {
			t.Errorf("too good a score: %s", text)
		}
		srv.Judge("quality", nil)
		if _, err := client.Judges.EvaluateAndWait(t.Context(), judge.ID, run.ID); err == nil || !strings.Contains(err.Error(), "Server.Judge") {
			t.Errorf("without a function: %v", err)
		}
		if _, err := client.Judges.Evaluate(t.Context(), judge.ID, "run-unknown"); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("a run that does not exist: %v", err)
		}
		running := must[*connic.TriggerResult](t)(client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Message: "hello"}))
		if _, err := client.Judges.Evaluate(t.Context(), judge.ID, running.RunID); !errors.Is(err, connic.ErrConflict) {
			t.Errorf("a run that is running: %v", err)
		}
		srv.Agent("sales", func(context.Context, connictest.Input) (any, error) { return "", nil })
		if _, err := client.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{AgentName: connic.Set("sails")}); !errors.Is(err, connic.ErrInvalid) {
			t.Errorf("an agent that does not exist: %v", err)
		}
		must[*connic.Judge](t)(client.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{AgentName: connic.Set("sales")}))
		if _, err := client.Judges.Evaluate(t.Context(), judge.ID, run.ID); !errors.Is(err, connic.ErrInvalid) {
			t.Errorf("a run of another agent: %v", err)
		}
		must[*connic.Judge](t)(client.Judges.Update(t.Context(), judge.ID, connic.JudgeUpdate{AgentName: connic.Set("support"), Enabled: connic.Set(false)}))
		if _, err := client.Judges.Evaluate(t.Context(), judge.ID, run.ID); !errors.Is(err, connic.ErrConflict) {
			t.Errorf("a disabled judge: %v", err)
		}
	})
}

func TestScoreAlertInTheFake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, client := judged(t)
		points := map[string]float64{"1": 6, "2": 9, "3": 8, "4": 4} // the first one alone does not fill a window
		srv.Judge("quality", func(_ context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
			return map[string]connictest.Score{"accuracy": {Points: points[in.Run.Output]}}, nil
		})
		req := fair()
		req.TriggerMode, req.ScoreAlert = connic.JudgeAutomatic, &connic.ScoreAlert{Threshold: 7, Window: 2}
		judge := must[*connic.Judge](t)(client.Judges.Create(t.Context(), req))
		for _, message := range []string{"1", "2", "3"} {
			completed(t, client, message)
		}
		if notices := srv.Notices(); len(notices) != 0 {
			t.Errorf("there are notices: %+v", notices)
		}
		completed(t, client, "4")
		if notices := srv.Notices(); len(notices) != 1 || notices[0].Kind != "judge" || notices[0].ID != judge.ID || !strings.Contains(notices[0].Text, "is 6, below 7") {
			t.Errorf("the notices are %+v", notices)
		}
	})
}

// TestAJudgeNeedsNoModel leaves the model to the service, as JudgeCreate
// documents.
func TestAJudgeNeedsNoModel(t *testing.T) {
	t.Parallel()
	_, client := judged(t)
	plain := fair()
	plain.Model = ""
	judge, err := client.Judges.Create(t.Context(), plain)
	if err != nil || judge.Model == "" {
		t.Errorf("%+v, %v", judge, err)
	}
}
