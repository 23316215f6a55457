package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Furnish gives a fake the agents and the costs that the examples use.
func Furnish(srv *connictest.Server) {
	srv.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
		return support(ctx, in, time.Second)
	})
	srv.Agent("slow", func(ctx context.Context, in connictest.Input) (any, error) {
		return support(ctx, in, 5*time.Second)
	})
	srv.Agent("payments", pay)
	srv.Agent("invoice-extractor", extract)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	srv.Usage(
		connic.UsageRow{Date: today, AgentName: "support", Currency: "EUR", TotalCost: connic.MustDecimal("12.40"), RunCount: 310},
		connic.UsageRow{Date: today, AgentName: "support", Currency: "USD", TotalCost: connic.MustDecimal("3.05"), RunCount: 61},
		connic.UsageRow{Date: today, AgentName: "invoice-extractor", Currency: "EUR", TotalCost: connic.MustDecimal("7.125"), RunCount: 95},
	)
}

// support answers any question, after some time.
func support(ctx context.Context, in connictest.Input, thinking time.Duration) (any, error) {
	err := in.Step("think", "llm", func() error {
		select {
		case <-time.After(thinking):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return nil, err
	}
	in.Tokens(connic.TokenUsage{Input: int64(len(in.Message) / 4), Output: 12})
	in.Cost("0.0004", "EUR")
	return "You may return the goods within 30 days.", nil
}

// pay asks a person before it pays.
func pay(ctx context.Context, in connictest.Input) (any, error) {
	_, err := in.RequestApproval(ctx, connictest.ApprovalRequest{
		ToolName: "pay", Arguments: map[string]any{"invoice": 17, "amount": "49.90 EUR"},
	})
	if err != nil {
		return nil, err
	}
	return "Invoice 17 is paid.", nil
}

// extract reads lines such as "Screws 10.00" below the name of the vendor.
func extract(_ context.Context, in connictest.Input) (any, error) {
	var request struct{ Text string }
	if err := in.DecodePayload(&request); err != nil {
		return nil, err
	}
	vendor, rest, _ := strings.Cut(request.Text, "\n")
	items := []map[string]any{}
	for line := range strings.Lines(rest) {
		var name, price string
		if _, err := fmt.Sscan(line, &name, &price); err == nil {
			items = append(items, map[string]any{"name": name, "price": price})
		}
	}
	return map[string]any{"vendor": vendor, "items": items}, nil
}
