package main

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
	"github.com/connic-go/connic/examples/apps/internal/progress"
)

const (
	// together is the maximum number of triggers in progress. They are queued
	// for the quota, and a longer queue would be of no use.
	together = 64
	// lastTime is the time allowed after the end: to search for runs whose
	// trigger got no response, and to cancel runs that no one will collect.
	lastTime = 30 * time.Second
)

// A Verdict is the outcome of a case.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "pass"
	Failed  Verdict = "FAIL"
	Errored Verdict = "ERROR" // the outcome is unknown
	Skipped Verdict = "skip"  // it was not started
)

// A Result is what is known about a case.
type Result struct {
	Case       *Case
	Verdict    Verdict
	Why        string
	RunID      string
	Run        *connic.Run // nil until it has ended
	Evaluation *connic.Evaluation
	record     record
	pending    bool // the run, or its evaluation, is in progress
}

// A gate runs the cases of a suite.
type gate struct {
	client  *connic.Client
	suite   *Suite
	journal *journal
	line    *progress.Line
	again   bool // see askAgain

	mu      sync.Mutex
	results []*Result
	byRun   map[string]*Result
	limit   *costLimit
	judges  *bench
	stop    context.CancelCauseFunc
	started int
	ended   int
}

func newGate(client *connic.Client, suite *Suite, j *journal, line *progress.Line) *gate {
	g := &gate{
		client: client, suite: suite, journal: j, line: line,
		byRun: make(map[string]*Result), limit: newCostLimit(suite),
	}
	for _, c := range suite.Cases {
		g.results = append(g.results, &Result{Case: c, record: j.recall(c)})
	}
	return g
}

// run triggers the runs of all cases, collects them as they end, and has them
// judged. When ctx ends it returns with what is known. The error says why.
func (g *gate) run(ctx context.Context) error {
	ctx, g.stop = context.WithCancelCause(ctx)
	defer g.stop(nil)
	judges, err := newBench(ctx, g)
	if err != nil {
		return err
	}
	g.judges = judges
	ids := make(chan string)
	var refused error
	var asking sync.WaitGroup
	asking.Go(func() {
		defer close(ids)
		refused = g.triggerAll(ctx, ids)
	})
	var last error
	for run, err := range g.client.Runs.Watch(ctx, ids) {
		last = err
		g.collect(ctx, run, err)
		g.show()
	}
	for range ids { // the wait has ended first: do not start runs that no one can collect
		g.stop(last)
	}
	asking.Wait()
	g.judges.wait(ctx)
	err = cmp.Or(context.Cause(ctx), refused)
	g.close(err)
	return err
}

// triggerAll triggers the cases that have no run yet, each once, and passes on
// the ids of all runs. Its error says why some could not be started.
func (g *gate) triggerAll(ctx context.Context, ids chan<- string) (refused error) {
	pass := func(r *Result) {
		g.adopt(r)
		select {
		case ids <- r.RunID:
		case <-ctx.Done():
		}
	}
	regained := func(r *Result) {
		g.limit.regain()
		pass(r)
	}
	if g.again {
		g.askAgain(ctx, regained)
	}
	var unknown []*Result
	var waiting sync.WaitGroup
	places := make(chan struct{}, together)
	for _, r := range g.results {
		switch {
		case r.RunID != "": // already found
			continue
		case r.record.RunID != "": // from an earlier process
			r.RunID = r.record.RunID
			g.limit.adopt()
			pass(r)
			continue
		case !r.record.Began.IsZero():
			g.limit.adopt()
			g.limit.lose()
			unknown = append(unknown, r)
			continue
		}
		if refused = g.limit.start(ctx); refused != nil {
			break
		}
		places <- struct{}{}
		waiting.Go(func() {
			defer func() { <-places }()
			if lost := g.trigger(ctx, r); lost {
				g.limit.lose()
				g.mu.Lock()
				unknown = append(unknown, r)
				g.mu.Unlock()
			} else if r.RunID != "" {
				pass(r)
			}
		})
	}
	waiting.Wait()
	_, _ = g.find(ctx, unknown, regained)
	return refused
}

// askAgain resets cases whose trigger got no response in an earlier process and
// for which there is still no run, so that they are triggered again. This is
// the user's decision.
func (g *gate) askAgain(ctx context.Context, regained func(*Result)) {
	var lost []*Result
	for _, r := range g.results {
		if r.record.RunID == "" && !r.record.Began.IsZero() {
			g.limit.adopt()
			g.limit.lose()
			lost = append(lost, r)
		}
	}
	rest, err := g.find(ctx, lost, regained)
	for _, r := range rest {
		g.limit.regain()
		_ = g.limit.end(nil)
		if err == nil { // without a search it is not known
			r.record = record{}
		}
	}
}

// trigger starts the run of a case. It reports whether that may have happened
// without a response.
func (g *gate) trigger(ctx context.Context, r *Result) (lost bool) {
	record := record{Began: time.Now()}
	if g.suite.Marker != "" {
		record.Marker = rand.Text()
	}
	if err := g.journal.note(r.Case, record); err != nil {
		g.fail(r, fmt.Errorf("not started, because it cannot be noted down: %w", err))
		return false
	}
	call := graced(ctx)
	defer call.done()
	answer, err := g.client.Agents.Trigger(call, g.suite.Agent, r.Case.marked(g.suite.Marker, record.Marker))
	switch {
	case answer != nil && answer.RunID != "": // also if the response was truncated after it
		record.RunID = answer.RunID
		r.RunID, r.record = answer.RunID, record
		if err := g.journal.note(r.Case, record); err != nil {
			g.line.Say("%s: run %s cannot be noted down: %v", r.Case.Name, r.RunID, err)
		}
		return false
	case err == nil: // the response is the finished run, without an id
		g.finish(ctx, r, &connic.Run{AgentName: g.suite.Agent, Status: answer.Status, Output: answer.Output}, nil)
		return false
	case errors.Is(err, connic.ErrOutcomeUnknown) && !call.gaveUp():
		r.record = record
		return true
	}
	record.NotSent = true
	if failed := g.journal.note(r.Case, record); failed != nil {
		err = errors.Join(err, failed)
	}
	if ctx.Err() != nil {
		_ = g.limit.end(nil) // it remains unstarted
		return false
	}
	g.fail(r, err)
	if errors.As(err, new(*connic.LimitError)) { // there is too little time for the quota
		r.Verdict = Skipped
	}
	return false
}

// adopt records a run to wait for.
func (g *gate) adopt(r *Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byRun[r.RunID] = r
	r.pending = true
	g.started++
}

// fail ends a case that has no run.
func (g *gate) fail(r *Result, err error) {
	_ = g.limit.end(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	r.Verdict, r.Why = Errored, err.Error()
	g.ended++
}

// collect handles a pair of Runs.Watch.
func (g *gate) collect(ctx context.Context, run *connic.Run, err error) {
	of := func(id string) *Result {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.byRun[id]
	}
	var wait *connic.WaitError
	switch {
	case errors.As(err, &wait) && ctx.Err() == nil: // these runs cannot be retrieved
		for _, id := range wait.Pending {
			if r := of(id); r != nil {
				g.finish(ctx, r, nil, err)
			}
		}
	case run != nil && wait == nil:
		if r := of(run.ID); r != nil {
			g.finish(ctx, r, run, nil)
		}
	}
}

// finish handles a run that has ended or cannot be retrieved.
func (g *gate) finish(ctx context.Context, r *Result, run *connic.Run, err error) {
	if run == nil {
		g.limit.lose() // its cost is not known
	} else if crossed := g.limit.end(run); crossed != nil {
		g.stop(crossed)
	}
	g.mu.Lock()
	r.pending = false
	r.Run = run
	judge := false
	if run != nil {
		r.Why = r.Case.Expect.check(run)
	}
	switch {
	case run == nil:
		r.Verdict, r.Why = Errored, err.Error()
	case r.Why != "":
		r.Verdict = Failed // whatever a judge would say, which costs money too
	case r.Case.Judge == nil || r.Case.Expect.wantsFailure():
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
	r.pending = false
	r.Evaluation = e
	switch {
	case err != nil:
		r.Verdict, r.Why = Errored, err.Error()
	case e.Status != connic.EvaluationCompleted:
		r.Verdict, r.Why = Errored, "the evaluation ended "+string(e.Status)+": "+e.Error
	case e.MaxScore <= 0:
		r.Verdict, r.Why = Errored, "the evaluation has no score"
	case e.Share() < r.Case.Judge.Min:
		r.Verdict, r.Why = Failed, fmt.Sprintf("the judge scored %v of %v, less than %v%%%s", e.Score, e.MaxScore, r.Case.Judge.Min*100, reasons(e))
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
	started, ended, all := g.started, g.ended, len(g.results)
	g.mu.Unlock()
	g.line.Show("%d of %d cases started, %d done, cost %s", started, all, ended, g.limit.total())
}

// close settles open cases when the gate ends. Runs in progress are left to the
// next process if it can know of them. Otherwise, or if they would exceed the
// cost limit, they are cancelled.
func (g *gate) close(cause error) {
	ctx, done := context.WithTimeout(context.Background(), lastTime)
	defer done()
	keep := g.journal != nil && !errors.Is(cause, errCost)
	var cancelling sync.WaitGroup
	for _, r := range g.results {
		if r.Verdict != "" {
			continue
		}
		switch {
		case r.Run != nil:
			r.Verdict, r.Why = Errored, "the judge has not finished yet"
		case r.RunID == "" && r.record.Began.IsZero():
			r.Verdict, r.Why = Skipped, "not started"
			r.pending = false
		case r.RunID == "":
			r.Verdict, r.Why = Errored, "the trigger got no response, and no run is certainly its own; one may have been started"
			r.pending = true
		case keep:
			r.Verdict, r.Why = Errored, "the run is still in progress"
		default:
			r.Verdict = Errored
			cancelling.Go(func() {
				r.pending = false
				if err := g.client.Runs.Cancel(ctx, r.RunID); err != nil && !errors.Is(err, connic.ErrConflict) {
					r.Why, r.pending = "the run is still in progress, and could not be cancelled: "+err.Error(), true
					return
				}
				r.Why = "the run was cancelled"
			})
		}
	}
	cancelling.Wait()
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
