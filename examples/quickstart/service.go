package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

const (
	embedded  = "the embedded fake"
	fakeAgent = "report-reader"
)

// connect creates a client of the real service if credentials are set, and of
// an embedded fake otherwise.
func connect() (client *connic.Client, where string, stop func(), err error) {
	_, noFile := os.Stat(".connic")
	if os.Getenv("CONNIC_API_KEY") != "" || os.Getenv("CONNIC_PROJECT_ID") != "" || os.Getenv("CONNIC_TOKEN") != "" || noFile == nil {
		if client, err = connic.NewFromEnv(connic.WithApplication("connic-quickstart", connic.Version)); err != nil {
			return nil, "", nil, err
		}
		return client, "the Connic service", func() { _ = client.Close() }, nil
	}
	srv := connictest.Start()
	srv.Agent(fakeAgent, readReport)
	client = srv.Client()
	return client, embedded, func() {
		_ = client.Close()
		srv.Close()
	}, nil
}

// readReport is an agent that finds the best region and the total revenue in
// the table of a sales report.
func readReport(ctx context.Context, in connictest.Input) (any, error) {
	if len(in.Files) == 0 {
		return nil, fmt.Errorf("there is no report to read")
	}
	in.Log("reading " + in.Files[0].Name)
	var best string
	var most, total int
	err := in.Step("read_table", "tool", func() error {
		if err := work(ctx, 600*time.Millisecond); err != nil {
			return err
		}
		for line := range bytes.Lines(in.Files[0].Data) {
			fields := strings.Fields(string(line))
			if len(fields) != 3 {
				continue
			}
			revenue, err := strconv.Atoi(strings.ReplaceAll(fields[1], ",", ""))
			if err != nil {
				continue // the heading
			}
			total += revenue
			if revenue > most {
				best, most = fields[0], revenue
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if best == "" {
		return nil, fmt.Errorf("%s has no table of regions", in.Files[0].Name)
	}
	err = in.Step("answer", "llm", func() error { return work(ctx, 900*time.Millisecond) })
	if err != nil {
		return nil, err
	}
	words := int64(len(strings.Fields(in.Message)) + len(bytes.Fields(in.Files[0].Data)))
	in.Tokens(connic.TokenUsage{Input: words, Output: 21})
	in.Cost("0.0004", "EUR")
	return fmt.Sprintf("You asked: %s\nThe %s region did best with %d. All regions together made %d.", in.Message, best, most, total), nil
}

func work(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
