package connic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

const (
	pollInitial = 2 * time.Second
	pollMax     = 15 * time.Second
	pollLeast   = 10 * time.Millisecond // shorter ones spin
	pollGrowth  = 1.5
	// missingFor is how long a 404 has to last until what is waited for counts as
	// missing: what was just created may not be visible yet.
	missingFor = 15 * time.Second
)

// WaitOption changes a wait.
type WaitOption func(*waitConfig)

type waitConfig struct {
	initial, max   time.Duration
	progress       func(WaitEvent)
	stopAtApproval bool
	cancelOnAbort  bool
	failures       int // looks in a row that fail end the wait; 0: none do
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

// WithPoll sets the time between looks: initial at first, 2 s by default, growing
// by half with each look to max, 15 s by default, and at least 10 ms. Both get up to
// a tenth of jitter.
// Looks that several waits share come when the first of them is due. Every look
// is a request out of the project's quota, so short intervals delay whatever else
// the project does.
func WithPoll(initial, max time.Duration) WaitOption {
	return func(c *waitConfig) {
		if initial > 0 {
			c.initial = pollInterval(initial)
		}
		if max > 0 {
			c.max = max
		}
	}
}

// pollInterval is d, or the shortest interval that is more than spinning.
func pollInterval(d time.Duration) time.Duration { return max(d, pollLeast) }

// WithPollFailures ends a wait after n looks in a row that failed. Without it a
// wait lasts as long as its context: looks that fail because of the network, the
// service or the rate limit are repeated. Less than 1 changes nothing.
func WithPollFailures(n int) WaitOption {
	return func(c *waitConfig) { c.failures = max(0, n) }
}

// WithProgress calls f after every look, the last one too, on the goroutine that
// waits. A slow f misses looks in between, but never the last one.
func WithProgress(f func(WaitEvent)) WaitOption {
	return func(c *waitConfig) { c.progress = f }
}

// StopAtApproval ends a wait for a run when the run awaits approval; the run is
// then returned without an error. Otherwise the wait goes on until somebody has
// decided.
func StopAtApproval() WaitOption {
	return func(c *waitConfig) { c.stopAtApproval = true }
}

// CancelOnAbort makes [AgentsService.TriggerAndWait] cancel the run when its
// context ends before the run does. The method then returns once the service has
// answered, or after 10 s: the request goes to the head of the line for the rate
// limit. If it fails, its error is joined to the [*WaitError]. It changes no other
// wait.
func CancelOnAbort() WaitOption {
	return func(c *waitConfig) { c.cancelOnAbort = true }
}

// WithRequestOptions applies options to the looks of a wait, and not to the
// request that starts what is waited for. Such a wait shares its looks with no
// other one.
func WithRequestOptions(opts ...RequestOption) WaitOption {
	return func(c *waitConfig) { c.request = append(c.request, opts...) }
}

// WaitEvent is what one look saw.
type WaitEvent struct {
	Kind   string // what is waited for: "run"
	ID     string
	Status string // as the service gives it; "" if the look failed
	Phase  string // the step within the status, where there is one
	Done   bool
	Polls  int           // looks so far
	After  time.Duration // since the wait began
	Next   time.Duration // until the next look, before jitter; 0 if there is none
	Err    error         // of a look that failed
	// Run is the run as the look saw it, nil where none was seen or something else
	// is waited for. Others who wait for it see the same value: do not change it.
	Run *Run
}

// WaitError is a wait that ended before what it waited for: its context ended,
// or looks failed. Whatever was waited for goes on, and can be waited for again.
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
	if e.Err != nil {
		s += ": " + strings.TrimPrefix(e.Err.Error(), "connic: ")
	}
	return mask.Line(s, maxText)
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

// poll fetches until the state is done, on the caller's goroutine and for it
// alone. It returns the last state that it saw, nil if it saw none, and a
// *WaitError unless the state is done.
func poll[T any](ctx context.Context, conf waitConfig, w waiting[T]) (*T, error) {
	var (
		start    = time.Now()
		interval = conf.initial
		last     *T
		event    = WaitEvent{Kind: w.kind, ID: w.id}
		failed   failing
	)
	stopped := func(err error) (*T, error) {
		return last, &WaitError{
			Kind: w.kind, ID: w.id, Pending: []string{w.id}, LastStatus: mask.Line(event.Status, maxID), Polls: event.Polls, Err: err,
		}
	}
	for {
		if event.Polls > 0 || w.pauseFirst {
			if err := sleep(ctx, jitter(interval)); err != nil {
				return stopped(contextError(ctx))
			}
			interval = conf.grow(interval)
		}
		got, err := w.fetch(ctx)
		event.Polls++
		event.After, event.Next, event.Err = time.Since(start), interval, err
		if err != nil {
			ended := failed.ends(err, conf.failures, time.Now()) || ctx.Err() != nil
			if ended {
				event.Next = 0
			}
			conf.report(event)
			if ended {
				return stopped(err)
			}
			continue
		}
		failed, last = failing{}, got
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

func (c *waitConfig) grow(interval time.Duration) time.Duration {
	return min(time.Duration(float64(interval)*pollGrowth), c.max)
}

// failing is the looks in a row that failed.
type failing struct {
	looks   int
	missing time.Time // when the first of them found nothing; zero: the last one did not say so
}

// ends takes note of a look that failed, and reports whether the wait ends.
func (f *failing) ends(err error, most int, now time.Time) bool {
	f.looks++
	if !errors.Is(err, ErrNotFound) {
		f.missing = time.Time{}
	} else if f.missing.IsZero() {
		f.missing = now
	} else if now.Sub(f.missing) >= missingFor {
		return true
	}
	return hopeless(err) || most > 0 && f.looks >= most
}

// contextError is the error of a context that ended, with its cause.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// hopeless reports whether looking again cannot help. A 404 can pass: what was
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
	return errors.As(err, &argument) || errors.Is(err, ErrClosed) || errors.Is(err, errPanicked) || certificateError(err)
}

// jitter lengthens d by up to a tenth, so that programs that were started
// together do not poll together for ever.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(d)/10) //nolint:gosec // spreads load, guards nothing
}
