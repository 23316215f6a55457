package main

import (
	"context"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

const fakeAgent = "support"

// furnish adds an agent to the fake that knows the terms of a shop.
func furnish(fake *connictest.Server) { fake.Agent(fakeAgent, support) }

func support(ctx context.Context, in connictest.Input) (any, error) {
	select {
	case <-time.After(3 * time.Second): // simulates thinking
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	in.Tokens(connic.TokenUsage{Input: int64(len(strings.Fields(in.Message))), Output: 17})
	in.Cost("0.0003", connic.EUR)
	question := strings.ToLower(in.Message)
	switch {
	case strings.Contains(question, "return"), strings.Contains(question, "keep"):
		return "You can return goods within 30 days.", nil
	case strings.Contains(question, "ship"), strings.Contains(question, "deliver"):
		return "We ship within two working days.", nil
	}
	return "I don't know. Please write to a person.", nil
}
