package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

const (
	// together is the maximum number of requests in progress. They are queued for
	// the quota, and a longer queue would be of no use.
	together  = 64
	firstLook = 2 * time.Second
	// missing is how long an evaluation may be missing from the list before it
	// is assumed that it was never requested.
	missing = 30 * time.Second
)

// A bench requests evaluations from judges, each once, and waits for all of
// them together: one list request per poll, judge and 100 evaluations.
type bench struct {
	gate   *gate
	ids    map[string]string // of the judges, by the name in the suite
	asked  sync.WaitGroup
	places chan struct{}

	mu      sync.Mutex
	pending map[string][]*asked // by judge
}

type asked struct {
	result *Result
	id     string    // of the evaluation; "" if no response came
	since  time.Time // when it was requested
}

// newBench finds the judges named in the suite, before anything costs money.
func newBench(ctx context.Context, g *gate) (*bench, error) {
	b := &bench{gate: g, ids: make(map[string]string), pending: make(map[string][]*asked), places: make(chan struct{}, together)}
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
				return nil, cli.Usage("there are several judges %q; name one by its id", name)
			}
			b.ids[name] = judge.ID
		}
	}
	for name, id := range b.ids {
		if id == "" {
			return nil, &cli.ExitError{Status: cli.ExitNotFound, Err: fmt.Errorf("the agent %s has no judge %q", g.suite.Agent, name)}
		}
	}
	return b, nil
}

// add submits a run for evaluation.
func (b *bench) add(ctx context.Context, r *Result) {
	b.asked.Go(func() {
		select {
		case b.places <- struct{}{}:
			defer func() { <-b.places }()
		case <-ctx.Done():
			return
		}
		judge := b.ids[r.of.Judge.Name]
		r.evaluation = b.gate.journal.recall(r.of, judge)
		a := &asked{result: r, id: r.evaluation.ID, since: r.evaluation.Asked}
		if a.since.IsZero() {
			if done := b.ask(ctx, judge, a); done {
				return
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.pending[judge] = append(b.pending[judge], a)
	})
}

// ask requests an evaluation. It reports whether that ended the case.
func (b *bench) ask(ctx context.Context, judge string, a *asked) (done bool) {
	r := a.result
	a.since = time.Now()
	r.evaluation.Asked = a.since
	if err := b.gate.journal.note(r.of, judge, r.evaluation); err != nil {
		b.gate.judged(r, nil, fmt.Errorf("not judged, because it cannot be noted down: %w", err))
		return true
	}
	call := graced(ctx)
	defer call.Stop()
	e, err := b.gate.client.Judges.Evaluate(call, judge, r.RunID)
	switch {
	case err == nil && e.Status.Finished():
		b.gate.judged(r, e, nil)
		return true
	case err == nil:
		a.id = e.ID
		r.evaluation.ID = e.ID
	case errors.Is(err, connic.ErrOutcomeUnknown) && !call.unsent.Load(): // the list will show it, if it exists
		return false
	default:
		r.evaluation.Asked = time.Time{}
	}
	if failed := b.gate.journal.note(r.of, judge, r.evaluation); failed != nil {
		err = errors.Join(err, failed)
	}
	if err == nil || ctx.Err() != nil {
		return err != nil
	}
	b.gate.judged(r, nil, err)
	return true
}

// wait waits until all requested evaluations have ended, or ctx has.
func (b *bench) wait(ctx context.Context) {
	b.asked.Wait()
	var judges sync.WaitGroup
	for judge, pending := range b.pending {
		judges.Go(func() { b.collect(ctx, judge, pending) })
	}
	judges.Wait()
}

// collect waits for the evaluations of one judge.
func (b *bench) collect(ctx context.Context, judge string, pending []*asked) {
	byID := make(map[string]*asked)
	var ids []string
	for _, a := range pending {
		err := b.identify(ctx, judge, a)
		if b.gate.again && errors.Is(err, connic.ErrOutcomeUnknown) {
			if done := b.ask(ctx, judge, a); done {
				continue
			}
			err = b.identify(ctx, judge, a)
		}
		if err != nil {
			if ctx.Err() == nil {
				b.gate.judged(a.result, nil, err)
			}
			continue
		}
		byID[a.id] = a
		ids = append(ids, a.id)
	}
	for e, err := range b.gate.client.Judges.WaitEvaluations(ctx, judge, ids) {
		var wait *connic.WaitError
		switch {
		case ctx.Err() != nil && err != nil && errors.As(err, &wait):
			return
		case errors.As(err, &wait):
			for _, id := range wait.Pending {
				if a := byID[id]; a != nil {
					b.gate.judged(a.result, nil, err)
				}
			}
		case e != nil && byID[e.ID] != nil:
			b.gate.judged(byID[e.ID].result, e, nil)
		}
	}
}

// identify finds the id of an evaluation that no response has named: it is one
// of the run's, created after it was requested.
func (b *bench) identify(ctx context.Context, judge string, a *asked) error {
	for interval := firstLook; a.id == ""; interval *= 2 {
		params := connic.EvaluationListParams{RunID: a.result.RunID}
		for e, err := range b.gate.client.Judges.AllEvaluations(ctx, judge, &params) {
			if err != nil {
				return err
			}
			if (e.RunID == "" || e.RunID == a.result.RunID) && (e.CreatedAt.IsZero() || e.CreatedAt.After(a.since.Add(-clocks))) {
				a.id = e.ID
				break
			}
		}
		switch {
		case a.id != "":
			return nil
		case time.Since(a.since) > missing:
			return fmt.Errorf("the request for the evaluation got no response, and there is no evaluation of the run: %w", connic.ErrOutcomeUnknown)
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
