package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

const (
	// clocks is how far the service's clock may be behind the local one.
	clocks = time.Minute
	// visible is how long after a trigger its run may become visible.
	visible  = 75 * time.Second
	maxPause = 15 * time.Second // between two looks
)

// find searches for the runs of triggers that got no response, and that have no
// marker or are not found by it: the gate sends the inputs as they are, because
// others would be tested otherwise. It looks among the recent runs of the agent
// for one that has the input of the case and belongs to no other case. If there
// are more such runs than missing triggers, someone else sends the same input, and
// none is used: it is better to leave a case without a run than to give it a
// foreign one.
func (g *gate) find(ctx context.Context, lost []connic.JournalRecord) (map[string]connic.Settlement, error) {
	wanted := make(map[string]bool)
	var since, last time.Time
	for _, record := range lost {
		r := g.byKey[record.Key]
		if r == nil { // the case has been changed or removed since
			continue
		}
		g.mu.Lock()
		r.lost = true
		g.mu.Unlock()
		wanted[record.Key] = true
		if since.IsZero() || record.Sent.Before(since) {
			since = record.Sent
		}
		if record.Sent.After(last) {
			last = record.Sent
		}
	}
	found := make(map[string]connic.Settlement)
	for pause := firstLook; len(wanted) > 0; pause = min(2*pause, maxPause) {
		runs, err := g.recent(ctx, since.Add(-clocks))
		if err != nil {
			g.app.Progress.Say("searching for %d runs whose triggers got no response: %s", len(wanted), cli.Message(err))
		} else {
			g.match(wanted, runs, found)
		}
		if len(wanted) == 0 || time.Since(last) > visible {
			return found, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return found, ctx.Err()
		}
	}
	return found, nil
}

// recent lists the agent's runs since a time, by input.
func (g *gate) recent(ctx context.Context, since time.Time) (map[string][]*connic.Run, error) {
	params := connic.RunListParams{AgentName: g.suite.Agent, CreatedAfter: since, EnvironmentID: g.app.EnvironmentID()}
	runs := make(map[string][]*connic.Run)
	for run, err := range g.client.Runs.All(ctx, &params) {
		if err != nil {
			return nil, err
		}
		// A run may have started others, possibly with its own input.
		if !run.CreatedAt.Before(since) && run.ParentRunID == "" {
			key := canonical(run.Input)
			runs[key] = append(runs[key], run)
		}
	}
	return runs, nil
}

// match moves cases whose runs are among the given ones from wanted to found.
func (g *gate) match(wanted map[string]bool, runs map[string][]*connic.Run, found map[string]connic.Settlement) {
	records := g.journal.inputs()
	taken := make(map[string]bool)
	for _, record := range records {
		for _, id := range record.IDs {
			taken[id] = true
		}
	}
	for _, id := range g.found {
		taken[id] = true
	}
	for _, before := range g.before {
		for _, r := range before.results {
			taken[r.RunID] = true
		}
	}
	missing, flying := make(map[string][]*Result), make(map[string]bool)
	g.mu.Lock()
	for _, r := range g.results {
		record := records[r.of.key]
		if g.found[r.of.key] != "" || record.State != connic.JournalSending && record.State != connic.JournalUnknown {
			continue
		}
		input := canonical(r.of.input(g.suite.Marker, record.Marker))
		missing[input] = append(missing[input], r)
		flying[input] = flying[input] || record.State == connic.JournalSending && !r.lost // an earlier process's is lost
	}
	g.mu.Unlock()
	for input, results := range missing {
		var free []*connic.Run
		for _, run := range runs[input] {
			if !taken[run.ID] {
				free = append(free, run)
			}
		}
		if input == "" || flying[input] || len(free) > len(results) {
			continue
		}
		// Runs are interchangeable between cases with the same input.
		for _, r := range results {
			key := r.of.key
			if !wanted[key] || len(free) == 0 {
				continue
			}
			g.app.Progress.Say("case %s: its trigger got no response, but started run %s", r.Name, free[0].ID)
			g.found[key], found[key] = free[0].ID, connic.Settlement{IDs: []string{free[0].ID}}
			delete(wanted, key)
			free = free[1:]
		}
	}
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
