package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// furnish adds the agent and the judge of the example to the fake.
func furnish(fake *connictest.Server) {
	fake.Agent("support", support)
	fake.Judge("politeness", polite)
	client := fake.Client()
	defer func() { _ = client.Close() }()
	_, err := client.Judges.Create(context.Background(), connic.JudgeCreate{
		Name: "politeness", AgentName: "support", Model: "fake/model", TriggerMode: connic.JudgeManual, Enabled: connic.Set(true),
		Criteria: []connic.Criterion{{Name: "tone", MaxScore: 5}, {Name: "honesty", MaxScore: 5}},
	})
	if err != nil {
		panic(err) // the fake accepts every valid judge
	}
}

func support(ctx context.Context, in connictest.Input) (any, error) {
	select {
	case <-time.After(1200 * time.Millisecond): // simulates thinking
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	in.Cost("0.0016", connic.EUR)
	var order struct {
		Order int `json:"order"`
	}
	if err := in.DecodePayload(&order); err == nil && order.Order > 0 {
		if order.Order != 1207 {
			return nil, errors.New("there is no such order")
		}
		return map[string]any{
			"order": 1207, "total": 49.9, "items": []map[string]any{{"name": "cup"}, {"name": "kettle"}},
		}, nil
	}
	switch {
	case strings.Contains(in.Message, "return"):
		return "You can return goods within 30 days.", nil
	case strings.Contains(in.Message, "arrive"):
		return "We usually deliver within three working days, but I can't promise tomorrow.", nil
	}
	return "I am sorry that you had to ask again. I am looking for your parcel now.", nil
}

// polite is a judge that likes apologies and honest answers.
func polite(_ context.Context, in connictest.JudgeInput) (map[string]connictest.Score, error) {
	tone := connictest.Score{Points: 4, Reasoning: "matter-of-fact"}
	if strings.Contains(in.Run.Output, "sorry") {
		tone = connictest.Score{Points: 5, Reasoning: "it apologizes"}
	}
	return map[string]connictest.Score{"tone": tone, "honesty": {Points: 5}}, nil
}
