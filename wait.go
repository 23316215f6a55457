package connic

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

const (
	pollInitial = 2 * time.Second
	pollMax     = 15 * time.Second
	pollGrowth  = 1.5
	// pollFailures polls in a row that fail end a wait.
	pollFailures = 5
	// pollPace is the least time per request of a wait that needs several for one
	// look: at most 24 a minute of a quota of 60.
	pollPace = 2500 * time.Millisecond
)

// WaitOption changes a wait.
type WaitOption func(*waitConfig)

type waitConfig struct {
	initial, max   time.Duration
	progress       func(WaitEvent)
	stopAtApproval bool
	request        []RequestOption
}

func newWaitConfig(opts []WaitOption) waitConfig {
	conf := waitConfig{initial: pollInitial, max: pollMax}
	for _, opt := range opts {
		if opt != nil {
			opt(&conf)
		}
	}
	conf.max = max(conf.max, conf.initial)
	return conf
}

// WithPoll sets the time between polls: initial at first, 2 s by default, growing
// by half with each poll to max, 15 s by default. Both get up to a tenth of jitter.
// Every poll is a request out of the project's quota, so short intervals delay
// whatever else the project does.
func WithPoll(initial, max time.Duration) WaitOption {
	return func(c *waitConfig) {
		if initial > 0 {
			c.initial = initial
		}
		if max > 0 {
			c.max = max
		}
	}
}

// WithProgress calls f after every poll, on the goroutine that waits.
func WithProgress(f func(WaitEvent)) WaitOption {
	return func(c *waitConfig) { c.progress = f }
}

// StopAtApproval ends a wait for a run when the run awaits approval; the run is
// then returned without an error. Otherwise the wait goes on until somebody has
// decided.
func StopAtApproval() WaitOption {
	return func(c *waitConfig) { c.stopAtApproval = true }
}

// WithRequestOptions applies options to the requests of a wait.
func WithRequestOptions(opts ...RequestOption) WaitOption {
	return func(c *waitConfig) { c.request = append(c.request, opts...) }
}

// WaitEvent is what one poll saw.
type WaitEvent struct {
	Kind   string // what is waited for: "run"
	ID     string
	Status string // as the service gives it; "" if the poll failed
	Phase  string // the step within the status, where there is one
	Done   bool
	Polls  int           // so far
	After  time.Duration // since the wait began
	Next   time.Duration // until the next poll, before jitter; 0 if there is none
	Err    error         // of a poll that failed
}

// WaitError is a wait that ended before what it waited for: its context ended,
// or polls failed. Whatever was waited for goes on, and can be waited for again.
type WaitError struct {
	Kind       string // "run"
	ID         string // what was waited for; of several, the first that is missing
	Pending    []string
	LastStatus string // as it was last seen
	Polls      int
	Err        error
}

func (e *WaitError) Error() string {
	s := "connic: waiting for " + e.Kind + " " + e.ID
	if more := len(e.Pending) - 1; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	if e.LastStatus != "" {
		s += " (last seen: " + e.LastStatus + ")"
	}
	return mask.Text(s + ": " + strings.TrimPrefix(e.Err.Error(), "connic: "))
}

// Unwrap returns the cause.
func (e *WaitError) Unwrap() error { return e.Err }

// waiting describes something that takes its time.
type waiting[T any] struct {
	kind, id   string
	pauseFirst bool // it cannot be ready yet
	fetch      func(ctx context.Context) (*T, error)
	state      func(*T) waitState
}

type waitState struct {
	status, phase string
	done          bool
}

// poll fetches until the state is done. It returns the last state that it saw,
// nil if it saw none, and a *WaitError unless the state is done.
func poll[T any](ctx context.Context, conf waitConfig, w waiting[T]) (*T, error) {
	var (
		start    = time.Now()
		interval = conf.initial
		last     *T
		event    = WaitEvent{Kind: w.kind, ID: w.id}
		failures int
	)
	stopped := func(err error) (*T, error) {
		return last, &WaitError{
			Kind: w.kind, ID: w.id, Pending: []string{w.id}, LastStatus: event.Status, Polls: event.Polls, Err: err,
		}
	}
	for {
		if event.Polls > 0 || w.pauseFirst {
			if err := sleep(ctx, jitter(interval)); err != nil {
				return stopped(contextError(ctx))
			}
			interval = min(time.Duration(float64(interval)*pollGrowth), conf.max)
		}
		got, err := w.fetch(ctx)
		event.Polls++
		event.After, event.Next, event.Err = time.Since(start), interval, err
		if err != nil {
			failures++
			if failures >= pollFailures || hopeless(err) || ctx.Err() != nil {
				return stopped(err)
			}
			conf.report(event)
			continue
		}
		failures, last = 0, got
		state := w.state(got)
		event.Status, event.Phase, event.Done = state.status, state.phase, state.done
		if state.done {
			event.Next = 0
		}
		conf.report(event)
		if state.done {
			return got, nil
		}
	}
}

func (c *waitConfig) report(e WaitEvent) {
	if c.progress != nil {
		c.progress(e)
	}
}

// contextError is the error of a context that ended, with its cause.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// hopeless reports whether polling again cannot help. A 404 can pass: what was
// just created may not be visible yet.
func hopeless(err error) bool {
	var (
		answer   *Error
		argument *ArgumentError
		decode   *DecodeError
		limit    *LimitError
	)
	switch {
	case errors.As(err, &limit):
		return true
	case errors.As(err, &answer):
		return statusResult(answer.StatusCode) == final && answer.StatusCode != http.StatusNotFound
	case errors.As(err, &decode):
		return !errors.Is(err, lenient.ErrIncomplete)
	}
	return errors.As(err, &argument) || errors.Is(err, ErrClosed) || certificateError(err)
}

// jitter lengthens d by up to a tenth, so that programs that were started
// together do not poll together for ever.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(d)/10) //nolint:gosec // spreads load, guards nothing
}

// WaitAll waits for many runs and yields each as it ends: a run that did not
// complete together with a [*RunError]. When the wait itself ends first, a last
// pair has a nil run and a [*WaitError] that lists what is pending. Ids that are
// given twice are waited for once.
//
// However many runs there are, a look costs one list request per 100 of them, and
// a single request only for what the list does not show; where the key may not
// list runs, one request per run. Looks come every 2 s at first and less and less
// often down to every 15 s, and never cost more than 24 requests a minute.
//
// A run that comes from a list is what the list shows of it. If the service's
// list leaves out the traces or the output, [RunsService.Get] has them.
//
// API: GET /projects/{project}/runs
// Access: runs read
// Status: assumed
func (s *RunsService) WaitAll(ctx context.Context, ids []string, opts ...WaitOption) iter.Seq2[*Run, error] {
	conf := newWaitConfig(opts)
	return func(yield func(*Run, error) bool) {
		w := &runWatch{runs: s, conf: conf, start: time.Now(), pending: make(map[string]*Run, len(ids))}
		for _, id := range ids {
			if reason := checkSegment(id); reason != "" {
				yield(nil, &ArgumentError{Op: "runs.wait_all", Arg: "run id", Reason: reason})
				return
			}
			if _, twice := w.pending[id]; !twice {
				w.pending[id] = nil
				w.order = append(w.order, id)
			}
		}
		w.wait(ctx, yield)
	}
}

// runWatch waits for many runs.
type runWatch struct {
	runs    *RunsService
	conf    waitConfig
	start   time.Time
	order   []string        // the pending ids, in the order they were given
	pending map[string]*Run // as last seen, nil if never
	done    []*Run          // ended, not yielded yet
	unlist  bool            // the key may not list
	next    int             // in order: whom to get next where there is no list
	pages   int             // of the last list
	cost    int             // requests of the last look
	polls   int
}

func (w *runWatch) wait(ctx context.Context, yield func(*Run, error) bool) {
	interval, failures := w.conf.initial, 0
	for len(w.pending) > 0 {
		if w.polls > 0 {
			pause := max(interval, time.Duration(w.cost)*pollPace)
			if err := sleep(ctx, jitter(pause)); err != nil {
				yield(nil, w.stopped(contextError(ctx)))
				return
			}
			interval = min(time.Duration(float64(interval)*pollGrowth), w.conf.max)
		}
		w.cost = 0
		err := w.look(ctx)
		for _, run := range w.done {
			if !yield(run, run.ended(w.conf)) {
				return
			}
		}
		w.done = w.done[:0]
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures >= pollFailures || hopeless(err) || ctx.Err() != nil {
			yield(nil, w.stopped(err))
			return
		}
	}
}

// ended is the error that a run is yielded with.
func (r *Run) ended(conf waitConfig) error {
	if conf.stopAtApproval && r.effectiveStatus() == RunAwaitingApproval {
		return nil
	}
	return r.failure()
}

func (w *runWatch) stopped(err error) *WaitError {
	e := &WaitError{Kind: "run", ID: w.order[0], Pending: slices.Clone(w.order), Polls: w.polls, Err: err}
	if last := w.pending[e.ID]; last != nil {
		e.LastStatus = string(last.effectiveStatus())
	}
	return e
}

// atMost is how many runs one look asks for one by one.
const atMost = 6

// look sees how far the pending runs are.
func (w *runWatch) look(ctx context.Context) error {
	w.polls++
	seen := make(map[string]bool, len(w.pending))
	// Where the last list took as many pages as runs are left, asking for each is
	// cheaper.
	if !w.unlist && len(w.pending) > max(1, w.pages) {
		if err := w.list(ctx, seen); err != nil {
			var answer *Error
			if !errors.As(err, &answer) {
				return err
			}
			switch answer.StatusCode {
			case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
			default:
				return err
			}
			w.unlist = true
		}
	}
	// What the list does not show is asked for one by one: a few in each look,
	// and all of them in turn.
	asked := 0
	for range len(w.order) {
		if asked == atMost || len(w.order) == 0 {
			break
		}
		w.next %= len(w.order)
		id := w.order[w.next]
		w.next++
		if seen[id] {
			continue
		}
		asked++
		w.cost++
		run, err := do(ctx, w.runs.client, request{op: api.RunsGet, id: id, lane: LanePoll}, decodeRun, w.conf.request)
		if err != nil {
			return err
		}
		if run.ID == "" {
			run.ID = id
		}
		w.see(run)
	}
	return nil
}

// list pages through the runs, newest first, until all pending ones were seen.
func (w *runWatch) list(ctx context.Context, seen map[string]bool) error {
	params := RunListParams{Limit: pageLimit}
	params.CreatedAfter, params.CreatedBefore = w.span()
	l, _ := w.runs.listing(&params)
	// Runs of others stand between ours. What is further down is asked for by its
	// id.
	waitedFor := len(w.pending)
	most := min(waitedFor, 2*waitedFor/pageLimit+8)
	for w.pages = 1; ; w.pages++ {
		w.cost++
		page, err := w.runs.page(ctx, &l, params, LanePoll, w.conf.request)
		if err != nil {
			return err
		}
		for _, run := range page.Items {
			if _, ours := w.pending[run.ID]; ours && !seen[run.ID] {
				seen[run.ID] = true
				w.see(run)
			}
		}
		if len(seen) >= waitedFor || w.pages >= most || !page.HasNext() || len(page.Items) == 0 {
			return nil
		}
		l.offset += len(page.Items)
		l.cursor = page.NextCursor
	}
}

// span is the time in which the pending runs were created, once all have been
// seen; zero times before.
func (w *runWatch) span() (after, before time.Time) {
	for _, run := range w.pending {
		if run == nil || run.CreatedAt.IsZero() {
			return time.Time{}, time.Time{}
		}
		if after.IsZero() || run.CreatedAt.Before(after) {
			after = run.CreatedAt
		}
		if run.CreatedAt.After(before) {
			before = run.CreatedAt
		}
	}
	return after.Add(-time.Second), before.Add(time.Second)
}

// see takes note of a pending run.
func (w *runWatch) see(run *Run) {
	status := run.effectiveStatus()
	done := run.finished() || (w.conf.stopAtApproval && status == RunAwaitingApproval)
	w.pending[run.ID] = run
	if done {
		delete(w.pending, run.ID)
		w.order = slices.DeleteFunc(w.order, func(id string) bool { return id == run.ID })
		w.done = append(w.done, run)
	}
	w.conf.report(WaitEvent{
		Kind: "run", ID: run.ID, Status: string(status), Done: done, Polls: w.polls, After: time.Since(w.start),
	})
}
