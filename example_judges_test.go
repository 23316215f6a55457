package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A quality gate for a pipeline: an agent answers questions, a judge scores the
// answers, and nothing is deployed if one of them is not good enough. The fake
// stands in for the service.
func ExampleJudgesService_EvaluateAndWait() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		if strings.Contains(in.Message, "refund") {
			return "We refund within 14 days.", nil
		}
		return "No idea.", nil
	})
	srv.Judge("answers", func(_ context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
		if in.Run.Output == "No idea." {
			return map[string]connictest.Score{"politeness": {Points: 2, Reasoning: "rather short"}}, nil
		}
		return map[string]connictest.Score{"correctness": {Points: 10}, "politeness": {Points: 4}}, nil
	})
	client := srv.Client()

	const enough = 0.8
	ctx := context.Background()
	quick := connic.WithPoll(time.Millisecond, time.Millisecond) // only against a fake
	judge, err := client.Judges.Create(ctx, connic.JudgeCreate{
		Name: "answers", AgentName: "support", Model: "acme/large-1", TriggerMode: connic.JudgeManual,
		Criteria: []connic.Criterion{
			{Name: "correctness", Description: "Is the answer right?", MaxScore: 10},
			{Name: "politeness", Description: "Is it friendly?", MaxScore: 5},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	open := true
	for _, question := range []string{"How does a refund work?", "When do you open?"} {
		run, err := client.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: question}, quick)
		if err != nil {
			fmt.Println(err)
			return
		}
		evaluation, err := client.Judges.EvaluateAndWait(ctx, judge.ID, run.ID, quick)
		var failed *connic.EvaluationError
		if errors.As(err, &failed) {
			fmt.Println("not judged:", failed)
			open = false
			continue
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %v of %v\n", question, evaluation.Score, evaluation.MaxScore)
		for _, c := range evaluation.Criteria {
			if c.Reasoning != "" {
				fmt.Printf("  %s: %s\n", c.Name, c.Reasoning)
			}
		}
		open = open && evaluation.Share() >= enough
	}
	fmt.Println("deploy:", open)
	// Output:
	// How does a refund work? 14 of 15
	// When do you open? 2 of 15
	//   politeness: rather short
	// deploy: false
}

// An automatic judge scores the runs that its filters and its sample rate
// select.
func ExampleJudgesService_WaitRunEvaluation() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "Hello!", nil })
	srv.Judge("", func(context.Context, connictest.JudgeInput) (map[string]connictest.Score, error) {
		return map[string]connictest.Score{"tone": {Points: 4.5}}, nil
	})
	client := srv.Client()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	judge, err := client.Judges.Create(ctx, connic.JudgeCreate{
		Name: "tone", AgentName: "support", Model: "openai/gpt-5", Criteria: []connic.Criterion{{Name: "tone", MaxScore: 5}},
		TriggerMode: connic.JudgeAutomatic, SampleRate: 100,
		Filters: []connic.RunFilter{{Field: "status", Operator: connic.FilterEquals, Value: string(connic.RunCompleted)}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	started, err := client.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "Hi"})
	if err != nil {
		fmt.Println(err)
		return
	}
	evaluation, err := client.Judges.WaitRunEvaluation(ctx, judge.ID, started.RunID, connic.WithPoll(time.Millisecond, time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(evaluation.Status, evaluation.Score, evaluation.Share())
	// Output: completed 4.5 0.9
}

// An absent field remains unchanged, a null field is cleared, and a zero value
// is a value like any other.
func ExampleNullable() {
	change := connic.JudgeUpdate{
		SampleRate: connic.Set(20.0),
		Enabled:    connic.Set(false),
		ScoreAlert: connic.Null[connic.ScoreAlert](),
	}
	body, err := json.Marshal(change)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(body))
	// Output: {"sample_rate":20,"enabled":false,"score_alert":null}
}

// A judge is compared with the wanted configuration, and updated only if
// something differs.
func ExampleJudge_Diff() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", nil)
	client := srv.Client()
	ctx := context.Background()
	judge, err := client.Judges.Create(ctx, connic.JudgeCreate{
		Name: "tone", AgentName: "support", Model: "openai/gpt-5", Criteria: []connic.Criterion{{Name: "tone", MaxScore: 5}},
		TriggerMode: connic.JudgeAutomatic, SampleRate: 20,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	wanted := connic.JudgeUpdate{Name: connic.Set("tone"), SampleRate: connic.Set(50.0)}
	for range 2 {
		changes := judge.Diff(wanted)
		fmt.Println(changes)
		if len(changes) == 0 {
			break
		}
		if judge, err = client.Judges.Update(ctx, judge.ID, wanted); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// [sample_rate: 20 → 50]
	// []
}

// What a program wants is stated once, and made so as often as it runs: found,
// changed or created.
func ExampleJudgesService_Ensure() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", nil)
	client := srv.Client()
	ctx := context.Background()

	wanted := connic.JudgeCreate{
		Name: "tone", AgentName: "support", Model: "openai/gpt-5", Criteria: []connic.Criterion{{Name: "tone", MaxScore: 5}},
		TriggerMode: connic.JudgeAutomatic, SampleRate: 20, ScoreAlert: &connic.ScoreAlert{Threshold: 3.5},
	}
	for range 2 {
		got, err := client.Judges.Ensure(ctx, wanted)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("created:", got.Created, "changes:", got.Changes)
	}

	wanted.SampleRate, wanted.ScoreAlert = 50, nil
	got, err := client.Judges.Ensure(ctx, wanted)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, change := range got.Changes {
		fmt.Println(change)
	}
	// Output:
	// created: true changes: []
	// created: false changes: []
	// sample_rate: 20 → 50
	// score_alert: {"threshold":3.5} → null
}

// A file is read while it is sent.
func ExampleTriggerFile() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		title, _, _ := strings.Cut(string(in.Files[0].Data), "\n")
		return in.Files[0].Name + " (" + in.Files[0].MIMEType + "): " + title, nil
	})
	run, err := srv.Client().Agents.TriggerAndWait(context.Background(), "support", connic.TriggerRequest{
		Message: "Summarize this", Files: []connic.File{connic.TriggerFile(connic.LocalFile("README.md"))},
	}, connic.WithPoll(time.Millisecond, time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Output)
	// Output: README.md (text/markdown): # connic
}
