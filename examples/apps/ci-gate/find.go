package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/connic-go/connic"
)

const (
	// clocks is how far the service's clock may be behind the local one.
	clocks = time.Minute
	looks  = 3
)

// find searches for the runs of triggers that got no response. A run with a
// marker is found by it, if the service shows it. For the others, find searches
// the recent runs of the agent for one that has the input of the case and
// belongs to no other case. If there are more such runs than missing triggers,
// someone else sends the same input, and none is used: it is better to leave a
// case without a run than to give it a foreign one. find never triggers again.
// It returns the cases that remain without a run, and the error of the last
// request if that failed.
func (g *gate) find(ctx context.Context, lost []*Result, found func(*Result)) (rest []*Result, err error) {
	if len(lost) == 0 {
		return nil, nil
	}
	// Do this even if the gate was interrupted, to learn what was started.
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer done()
	for look := range looks {
		if look > 0 {
			select {
			case <-time.After(time.Duration(look) * 2 * time.Second): // it may not be in the list yet
			case <-ctx.Done():
				return lost, ctx.Err()
			}
		}
		if lost = g.findMarked(ctx, lost, found); len(lost) == 0 {
			return nil, nil
		}
		var runs map[string][]*connic.Run
		runs, err = g.recent(ctx, lost)
		if err != nil {
			g.line.Say("searching for %d runs whose triggers got no response: %v", len(lost), err)
			continue
		}
		if lost = g.match(lost, runs, found); len(lost) == 0 {
			return nil, nil
		}
	}
	return lost, err
}

// findMarked finds runs by their markers, and returns the cases that remain
// without one.
func (g *gate) findMarked(ctx context.Context, lost []*Result, found func(*Result)) (rest []*Result) {
	for _, r := range lost {
		if r.record.Marker != "" {
			runs, err := g.client.Runs.FindTriggered(ctx, connic.RunSearch{
				Marker: r.record.Marker, AgentName: g.suite.Agent, Since: r.record.Began,
			})
			if err != nil {
				g.line.Say("searching for the run of %s, whose trigger got no response: %v", r.Case.Name, err)
			} else if runs = slices.DeleteFunc(runs, isChild); len(runs) == 1 {
				g.found(r, runs[0])
				found(r)
				continue
			}
		}
		rest = append(rest, r)
	}
	return rest
}

// isChild reports whether a run was started by another run, possibly with the
// same input.
func isChild(run *connic.Run) bool { return run.ParentRunID != "" }

// found records the run of a case.
func (g *gate) found(r *Result, run *connic.Run) {
	r.RunID, r.record.RunID = run.ID, run.ID
	if err := g.journal.note(r.Case, r.record); err != nil {
		g.line.Say("%s: run %s cannot be noted down: %v", r.Case.Name, r.RunID, err)
	}
	g.line.Say("%s: its trigger got no response, but started run %s", r.Case.Name, r.RunID)
}

// recent lists the agent's runs since the first of the triggers, by input.
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
		if !taken && !run.CreatedAt.Before(since.Add(-clocks)) && !isChild(run) {
			key := canonical(run.Input)
			runs[key] = append(runs[key], run)
		}
	}
	return runs, nil
}

// match assigns runs to cases, and returns the cases that remain without one.
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
		// Runs are interchangeable between cases with the same input.
		for i, r := range cases {
			if i >= len(candidates) {
				rest = append(rest, r)
				continue
			}
			g.found(r, candidates[i])
			found(r)
		}
	}
	return rest
}

// canonical returns equivalent JSON values in the same form.
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
