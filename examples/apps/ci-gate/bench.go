package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

const (
	firstLook = 2 * time.Second
	longLook  = 15 * time.Second
	// missing is how long an evaluation may be missing from the list before it
	// counts as never asked for.
	missing = 30 * time.Second
)

// bench asks judges for evaluations, each once, and waits for all of them
// together: one list request per look, judge and 100 evaluations.
type bench struct {
	gate   *gate
	ids    map[string]string // of the judges, by the name in the suite
	asked  sync.WaitGroup
	places chan struct{}

	mu      sync.Mutex
	pending map[string]map[string]*asked // by judge and run
}

type asked struct {
	result *Result
	id     string    // of the evaluation; "" if no answer came
	since  time.Time // when it was asked for
}

// newBench finds the judges that the suite names, before anything costs money.
func newBench(ctx context.Context, g *gate) (*bench, error) {
	b := &bench{gate: g, ids: make(map[string]string), pending: make(map[string]map[string]*asked), places: make(chan struct{}, together)}
	for _, c := range g.suite.Cases {
		if c.Judge != nil {
			b.ids[c.Judge.Name] = ""
		}
	}
	if len(b.ids) == 0 {
		return b, nil
	}
	for judge, err := range g.client.Judges.All(ctx, &connic.JudgeListParams{AgentName: g.suite.Agent}) {
		if err != nil {
			return nil, fmt.Errorf("looking for the judges: %w", err)
		}
		for name, id := range b.ids {
			if judge.AgentName != g.suite.Agent || judge.Name != name && judge.ID != name {
				continue
			}
			if id != "" && id != judge.ID {
				return nil, fmt.Errorf("there are several judges %q; name one by its id", name)
			}
			b.ids[name] = judge.ID
		}
	}
	for name, id := range b.ids {
		if id == "" {
			return nil, fmt.Errorf("the agent %s has no judge %q", g.suite.Agent, name)
		}
	}
	return b, nil
}

// add has a run judged.
func (b *bench) add(ctx context.Context, r *Result) {
	b.asked.Go(func() {
		select {
		case b.places <- struct{}{}:
			defer func() { <-b.places }()
		case <-ctx.Done():
			return
		}
		judge := b.ids[r.Case.Judge.Name]
		a := &asked{result: r, id: r.record.Evaluation, since: r.record.Judged}
		if a.since.IsZero() {
			if done := b.ask(ctx, judge, a); done {
				return
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.pending[judge] == nil {
			b.pending[judge] = make(map[string]*asked)
		}
		b.pending[judge][r.RunID] = a
	})
}

// ask asks for an evaluation. It reports whether that was the end of the case.
func (b *bench) ask(ctx context.Context, judge string, a *asked) (done bool) {
	r := a.result
	a.since = time.Now()
	r.record.Judged = a.since
	if err := b.gate.journal.note(r.Case, r.record); err != nil {
		b.gate.judged(r, nil, fmt.Errorf("not judged, because it cannot be noted down: %w", err))
		return true
	}
	call := patient(ctx)
	defer call.done()
	e, err := b.gate.client.Judges.Evaluate(call, judge, r.RunID)
	switch {
	case err == nil && e.Status.Finished():
		b.gate.judged(r, e, nil)
		return true
	case err == nil:
		a.id = e.ID
		r.record.Evaluation = e.ID
	case errors.Is(err, connic.ErrOutcomeUnknown) && !call.gaveUp(): // the list will show it, if there is one
		return false
	default:
		r.record.Judged = time.Time{}
	}
	if failed := b.gate.journal.note(r.Case, r.record); failed != nil {
		err = errors.Join(err, failed)
	}
	if err == nil || ctx.Err() != nil {
		return err != nil
	}
	b.gate.judged(r, nil, err)
	return true
}

// wait waits until all evaluations that were asked for have ended, or ctx has.
func (b *bench) wait(ctx context.Context) {
	b.asked.Wait()
	interval := firstLook
	for len(b.pending) > 0 {
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
		for judge, waiting := range b.pending {
			if err := b.look(ctx, judge, waiting); err != nil && ctx.Err() == nil {
				b.gate.line.Say("looking for %d evaluations: %v", len(waiting), err)
				if errors.Is(err, connic.ErrForbidden) || errors.Is(err, connic.ErrUnauthorized) {
					for run, a := range waiting {
						delete(waiting, run)
						b.gate.judged(a.result, nil, err)
					}
				}
			}
			if len(waiting) == 0 {
				delete(b.pending, judge)
			}
		}
		interval = min(interval*3/2, longLook)
	}
}

// look goes through a judge's evaluations, newest first, until it has seen all
// that are waited for.
func (b *bench) look(ctx context.Context, judge string, waiting map[string]*asked) error {
	oldest := time.Now()
	for _, a := range waiting {
		if a.since.Before(oldest) {
			oldest = a.since
		}
	}
	now := time.Now()
	unseen := len(waiting)
	for e, err := range b.gate.client.Judges.AllEvaluations(ctx, judge, nil, connic.WithLane(connic.LanePoll)) {
		if err != nil {
			return err
		}
		a := waiting[e.RunID]
		switch {
		case !e.CreatedAt.IsZero() && e.CreatedAt.Before(oldest.Add(-clocks)):
			unseen = 0 // all that follow are older
		case a == nil, a.id != "" && a.id != e.ID, a.id == "" && !e.CreatedAt.IsZero() && e.CreatedAt.Before(a.since.Add(-clocks)):
			// Nobody's, or one that an automatic judge has made.
		default:
			unseen--
			a.id = e.ID
			if e.Status.Finished() || !e.Status.Known() {
				delete(waiting, e.RunID)
				b.gate.judged(a.result, e, nil)
			}
		}
		if unseen <= 0 {
			break
		}
	}
	for run, a := range waiting {
		if a.id == "" && now.Sub(a.since) > missing {
			delete(waiting, run)
			b.gate.judged(a.result, nil, errors.New("no answer came when the judge was asked, and there is no evaluation of the run"))
		}
	}
	return nil
}
