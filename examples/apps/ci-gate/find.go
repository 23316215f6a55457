package main

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/connic-go/connic"
)

const (
	// clocks is how far the service's clock may be behind ours.
	clocks = time.Minute
	looks  = 3
)

// find looks for the runs of triggers that got no answer: among the agent's runs
// since then, one that has the case's input and is no other case's. If there are
// more of them than triggers that are missed, somebody else asks the same, and
// none is taken: a case without a run is honest, a case with a stranger's run is
// not. It never triggers again.
func (g *gate) find(ctx context.Context, lost []*Result, found func(*Result)) {
	if len(lost) == 0 {
		return
	}
	// Also when the gate has been interrupted: what was started is to be known.
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer done()
	for look := range looks {
		if look > 0 {
			select {
			case <-time.After(time.Duration(look) * 2 * time.Second): // it may not be in the list yet
			case <-ctx.Done():
				return
			}
		}
		runs, err := g.recent(ctx, lost)
		if err != nil {
			g.line.Say("looking for %d runs whose trigger got no answer: %v", len(lost), err)
			continue
		}
		lost = g.match(lost, runs, found)
		if len(lost) == 0 {
			return
		}
	}
}

// recent lists the agent's runs since the first of the triggers, by their input.
func (g *gate) recent(ctx context.Context, lost []*Result) (map[string][]*connic.Run, error) {
	since := lost[0].record.Began
	for _, r := range lost {
		if r.record.Began.Before(since) {
			since = r.record.Began
		}
	}
	params := connic.RunListParams{AgentName: g.suite.Agent, CreatedAfter: since.Add(-clocks)}
	runs := make(map[string][]*connic.Run)
	for run, err := range g.client.Runs.All(ctx, &params) {
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		taken := g.byRun[run.ID] != nil
		g.mu.Unlock()
		if !taken && !run.CreatedAt.Before(since.Add(-clocks)) && run.ParentRunID == "" {
			key := canonical(run.Input)
			runs[key] = append(runs[key], run)
		}
	}
	return runs, nil
}

// match gives runs to cases, and returns the cases that go without.
func (g *gate) match(lost []*Result, runs map[string][]*connic.Run, found func(*Result)) (rest []*Result) {
	byInput := make(map[string][]*Result)
	for _, r := range lost {
		key := canonical(r.Case.input)
		byInput[key] = append(byInput[key], r)
	}
	for input, cases := range byInput {
		candidates := runs[input]
		if input == "" || len(candidates) > len(cases) {
			rest = append(rest, cases...)
			continue
		}
		// Cases with the same input can have each other's run.
		for i, r := range cases {
			if i >= len(candidates) {
				rest = append(rest, r)
				continue
			}
			r.RunID, r.record.RunID = candidates[i].ID, candidates[i].ID
			if err := g.journal.note(r.Case, r.record); err != nil {
				g.line.Say("%s: run %s cannot be noted down: %v", r.Case.Name, r.RunID, err)
			}
			g.line.Say("%s: no answer came to its trigger; run %s is the one", r.Case.Name, r.RunID)
			found(r)
		}
	}
	return rest
}

// canonical makes JSON that says the same look the same.
func canonical(input string) string {
	d := json.NewDecoder(bytes.NewReader([]byte(input)))
	d.UseNumber()
	var v map[string]any
	if d.Decode(&v) != nil || d.More() {
		return input
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return input
	}
	return string(raw)
}
