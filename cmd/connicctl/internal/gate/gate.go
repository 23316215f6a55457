package gate

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

// The times allowed after the end, for what no one will collect later.
const (
	searchTime = 10 * time.Second // to search for runs whose trigger got no response
	cancelTime = 30 * time.Second
)

// A Verdict is the outcome of a case.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Errored Verdict = "error"   // the outcome is unknown
	Skipped Verdict = "skipped" // it was not started
)

// A Result is what is known about a case.
type Result struct {
	Suite      string             `json:"suite"`
	Name       string             `json:"case"`
	Verdict    Verdict            `json:"result"`
	Why        string             `json:"why,omitzero"`
	RunID      string             `json:"run_id,omitzero"`
	Run        *connic.Run        `json:"run,omitzero"` // nil until it has ended
	Evaluation *connic.Evaluation `json:"evaluation,omitzero"`

	of         *Case
	err        error // why there is no verdict
	evaluation evaluation
	marker     string // of the trigger, if the suite has markers
	lost       bool   // the trigger got no response
	pending    bool   // another process can get a verdict
}

// A gate runs the cases of a suite.
type gate struct {
	app     *cli.App
	client  *connic.Client
	suite   *Suite
	journal *journal
	judges  *bench
	stop    context.CancelCauseFunc
	found   map[string]string // runs by the keys of their cases; belongs to find
	before  []*gate           // those of the same command that have ended
	again   bool              // requests without a response are repeated

	mu      sync.Mutex
	results []*Result
	byKey   map[string]*Result
	runs    connic.BulkProgress
	ended   int
}

func newGate(a *cli.App, client *connic.Client, suite *Suite, j *journal) *gate {
	g := &gate{app: a, client: client, suite: suite, journal: j, byKey: make(map[string]*Result), found: make(map[string]string)}
	for _, c := range suite.Cases {
		r := &Result{Suite: suite.name, Name: c.Name, of: c}
		if suite.Marker != "" {
			r.marker = rand.Text()
		}
		g.results = append(g.results, r)
		g.byKey[c.key] = r
	}
	return g
}

var errCost = errors.New("the bound on the cost is reached")

// run triggers the runs of all cases, collects them as they end, and has them
// judged. With again, requests without a response are sent again if nothing is
// found of them. When ctx ends it returns with what is known. The error says why.
func (g *gate) run(ctx context.Context, again bool) (err error) {
	g.again = again
	ctx, g.stop = context.WithCancelCause(ctx)
	defer g.stop(nil)
	opts := []connic.BulkOption{
		connic.WithMarker(func(key string) string { return g.byKey[key].marker }),
		connic.WithSettle(g.find),
		connic.WithBulkProgress(len(g.results), g.progressed),
	}
	if g.suite.MaxCost.set() {
		opts = append(opts, connic.WithBudget(g.suite.MaxCost.Money, g.suite.CaseCost.Amount))
	}
	if again {
		opts = append(opts, connic.ResendUnknown())
	}
	inputs := func(yield func(string, connic.TriggerRequest) bool) {
		for _, r := range g.results {
			if !yield(r.of.key, r.of.marked(g.suite.Marker, r.marker)) {
				return
			}
		}
	}
	var early error
	for run, err := range g.client.Agents.TriggerAll(ctx, g.suite.Agent, inputs, g.journal, opts...) {
		if run.Key == "" {
			early = err
		} else if r := g.byKey[run.Key]; r != nil { // and not that of a case that has been changed or removed
			g.collect(ctx, r, run.Value, err)
		}
	}
	if errors.Is(early, connic.ErrBudgetExceeded) {
		early = fmt.Errorf("%w: %w", errCost, early)
	}
	g.judges.wait(ctx)
	err = cmp.Or(context.Cause(ctx), early)
	g.close(err)
	return err
}

// progressed shows the progress, and stops what is in progress if the runs that
// have ended cost more than the limit: it could not be kept by starting fewer.
func (g *gate) progressed(p connic.BulkProgress) {
	g.mu.Lock()
	g.runs = p
	g.mu.Unlock()
	g.show()
	limit := g.suite.MaxCost
	for _, sum := range p.Cost {
		most := limit.Amount
		if sum.Currency != limit.Currency {
			most = connic.Decimal{} // it cannot be compared
		}
		if limit.set() && sum.Amount.Cmp(most) > 0 {
			g.stop(fmt.Errorf("%w: %s of %s are spent", errCost, p.Cost, limit))
		}
	}
}

// collect handles a result of TriggerAll.
func (g *gate) collect(ctx context.Context, r *Result, run *connic.Run, err error) {
	if run != nil {
		r.RunID = run.ID
	}
	var ended *connic.RunError
	switch {
	case err == nil || errors.As(err, &ended):
		g.finish(ctx, r, run)
		return
	case ctx.Err() != nil || errors.Is(err, connic.ErrOutcomeUnknown): // see close
		g.mu.Lock()
		defer g.mu.Unlock()
		r.pending = run != nil
		r.lost = r.lost || errors.Is(err, connic.ErrOutcomeUnknown)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r.Verdict, r.Why, r.err = Errored, cli.Message(err), err
	r.pending = run == nil || !errors.Is(err, connic.ErrNotFound) // not if the run has gone
	if errors.As(err, new(*connic.LimitError)) && run == nil {    // there is too little time for the quota
		r.Verdict = Skipped
	}
	g.ended++
}

// finish handles a run that has ended.
func (g *gate) finish(ctx context.Context, r *Result, run *connic.Run) {
	g.mu.Lock()
	r.pending = false
	r.Run = run
	judge := false
	switch r.Why = r.of.Expect.check(run); {
	case r.Why != "":
		r.Verdict = Failed // whatever a judge would say, which costs money too
	case r.of.Judge == nil || r.of.Expect.wantsFailure():
		r.Verdict = Passed
	case run.ID == "":
		r.Verdict, r.Why = Errored, "the run has no id for the judge"
	default:
		judge, r.pending = true, true
	}
	if !judge {
		g.ended++
	}
	g.mu.Unlock()
	if judge {
		g.judges.add(ctx, r)
	}
}

// judged handles a verdict.
func (g *gate) judged(r *Result, e *connic.Evaluation, err error) {
	g.mu.Lock()
	r.pending = err != nil && !errors.Is(err, connic.ErrNotFound) // another process can have the run judged
	r.Evaluation = e
	switch {
	case err != nil:
		r.Verdict, r.Why, r.err = Errored, cli.Message(err), err
	case e.Status != connic.EvaluationCompleted:
		r.Verdict, r.Why = Errored, "the evaluation ended "+string(e.Status)+": "+e.Error
	case e.MaxScore <= 0:
		r.Verdict, r.Why = Errored, "the evaluation has no score"
	case e.Share() < r.of.Judge.Min:
		r.Verdict, r.Why = Failed, fmt.Sprintf("the judge scored %v of %v, less than %v%%%s", e.Score, e.MaxScore, r.of.Judge.Min*100, reasons(e))
	default:
		r.Verdict = Passed
	}
	g.ended++
	g.mu.Unlock()
	g.show()
}

func reasons(e *connic.Evaluation) string {
	var b strings.Builder
	for _, c := range e.Criteria {
		if c.Score < c.MaxScore && c.Reasoning != "" {
			fmt.Fprintf(&b, "; %s: %s", c.Name, shorten(c.Reasoning))
		}
	}
	return b.String()
}

func (g *gate) show() {
	g.mu.Lock()
	runs, ended := g.runs, g.ended
	g.mu.Unlock()
	g.app.Progress.Show("%d verdicts; runs: %v", ended, runs)
}

// close settles open cases when the gate ends. Runs in progress are left to the
// next process if it can know of them. Otherwise, or if they would exceed the
// cost limit, they are cancelled.
func (g *gate) close(cause error) {
	keep := g.journal.file != nil && !errors.Is(cause, errCost)
	if !keep {
		g.findLast()
	}
	ctx, done := context.WithTimeout(context.Background(), cancelTime)
	defer done()
	var cancelling sync.WaitGroup
	for _, r := range g.results {
		if r.Verdict != "" {
			continue
		}
		switch {
		case r.Run != nil:
			r.Verdict, r.Why = Errored, "the judge has not finished yet"
		case r.RunID == "" && !r.lost:
			r.Verdict, r.Why = Skipped, "not started"
			r.pending = false
		case r.RunID == "":
			r.Verdict, r.Why = Errored, "the trigger got no response, and no run is certainly its own; one may have been started"
			r.pending, r.err = true, connic.ErrOutcomeUnknown
		case keep:
			r.Verdict, r.Why = Errored, "the run is still in progress"
		default:
			r.Verdict = Errored
			cancelling.Go(func() {
				r.pending = false
				if err := g.client.Runs.Cancel(ctx, r.RunID); err != nil && !errors.Is(err, connic.ErrConflict) {
					r.Why, r.pending = "the run is still in progress, and could not be cancelled: "+cli.Message(err), true
					return
				}
				r.Why = "the run was cancelled"
			})
		}
	}
	cancelling.Wait()
}

// findLast searches for the runs of triggers that have had no response when the
// gate ends: a search that was going on has ended with it.
func (g *gate) findLast() {
	ctx, done := context.WithTimeout(context.Background(), searchTime)
	defer done()
	records := g.journal.inputs()
	var lost []connic.JournalRecord
	for _, r := range g.results {
		if record := records[r.of.key]; r.lost && r.RunID == "" {
			lost = append(lost, record)
		}
	}
	found, _ := g.find(ctx, lost) // which says so
	for key, s := range found {
		g.byKey[key].RunID = s.IDs[0]
	}
}

// settled reports whether nothing is left for a later process to collect.
func (g *gate) settled() bool {
	for _, r := range g.results {
		if r.pending || r.Verdict == Skipped {
			return false
		}
	}
	return true
}
