package connic

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/grace"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/watch"
)

const (
	pollInitial = 2 * time.Second
	pollMax     = 15 * time.Second
	pollPaused  = time.Minute           // while nothing is to be expected soon
	pollLeast   = 10 * time.Millisecond // shorter ones spin
	pollGrowth  = watch.Growth
	missingFor  = watch.MissingFor
)

// A WaitOption configures a wait.
type WaitOption func(*waitConfig)

type waitConfig struct {
	initial, max   time.Duration
	paused         time.Duration // the longest while runs await approval
	progress       func(WaitEvent)
	stopAtApproval bool
	onApproval     func(context.Context, *Approval) (Decision, error)
	cancelOnAbort  bool
	cancelAfter    time.Duration // 0 means never
	failures       int           // consecutive failed polls that end the wait; 0 means no limit
	request        []RequestOption
}

func newWaitConfig(opts []WaitOption) waitConfig {
	conf := waitConfig{initial: pollInitial, max: pollMax, paused: pollPaused}
	for _, opt := range opts {
		if opt != nil {
			opt(&conf)
		}
	}
	conf.max = max(conf.max, conf.initial)
	return conf
}

func (c *waitConfig) terms() watch.Terms {
	return watch.Terms{
		Initial: c.initial, Max: c.max, Paused: c.paused, Failures: c.failures,
		Every: c.progress != nil || c.onApproval != nil, StopAtPause: c.stopAtApproval,
	}
}

// queued returns what reports that the request which starts the work is queued.
func (c *waitConfig) queued(kind string) func(Reason, time.Duration) {
	if c.progress == nil {
		return nil
	}
	start := time.Now()
	return func(reason Reason, wait time.Duration) {
		c.progress(WaitEvent{Kind: kind, Phase: string(reason), After: time.Since(start), Next: wait})
	}
}

// WithPoll sets the interval between polls. It starts at initial, 2 s by
// default, and grows by half with each poll up to max, 15 s by default; both
// are at least 10 ms. Up to a tenth is added as jitter. While all that is waited
// for awaits approval, the interval grows up to a minute, or max. A poll that several
// waits share happens when the first of them is due. Every poll is a request
// out of the project's quota, so short intervals delay everything else the
// project does.
func WithPoll(initial, max time.Duration) WaitOption {
	return func(c *waitConfig) {
		if initial > 0 {
			c.initial = pollInterval(initial)
		}
		if max > 0 {
			c.max, c.paused = max, max
		}
	}
}

// pollInterval is d, or the shortest interval that is more than spinning.
func pollInterval(d time.Duration) time.Duration { return max(d, pollLeast) }

// WithPollFailures ends a wait after n consecutive failed polls. Without it, a
// wait lasts as long as its context: polls that fail because of the network,
// the service or the rate limit are repeated. Values below 1 are ignored.
func WithPollFailures(n int) WaitOption {
	return func(c *waitConfig) { c.failures = max(0, n) }
}

// WithProgress calls f after every poll, including the last one, on the
// goroutine that waits. A slow f misses intermediate polls, but never the last
// one. [AgentsService.TriggerAndWait] and [JudgesService.EvaluateAndWait] also call
// f when the request that starts the work is queued for the rate limit: the event
// then has no ID, its Phase is the [Reason], and Next is the estimated time in the
// queue.
func WithProgress(f func(WaitEvent)) WaitOption {
	return func(c *waitConfig) { c.progress = f }
}

// StopAtApproval ends a wait for a run when the run awaits approval; the run is
// then returned without an error, with the approval in Run.Approval, which costs
// one more request. Without this option the wait continues until the approval is
// decided. It takes precedence over [OnApproval].
func StopAtApproval() WaitOption {
	return func(c *waitConfig) { c.stopAtApproval = true }
}

// CancelOnAbort cancels the runs that a wait still waits for when its context
// ends. The wait then returns when the service has responded to the
// cancellations, or after 10 s at the latest. [AgentsService.TriggerAndWait] and
// SendAndWait of package connector also cancel runs whose start was being answered
// at that moment: they wait for up to 10 s for that answer. The requests go to the head of the queue for the rate
// limit and cost one request per run. The [*WaitError] says whether the runs were
// canceled, and wraps the error of a cancellation that failed. The option has no
// effect on waits for anything but runs.
func CancelOnAbort() WaitOption {
	return func(c *waitConfig) { c.cancelOnAbort = true }
}

// CancelAfter cancels each run that has not ended within d since the wait for it
// began, at one request per run. The wait goes on until the run has ended, which
// is usually as [RunCancelled]. A cancellation that fails is repeated every 15 s.
// Values below 1 are ignored, and so is the option by waits for anything but runs.
func CancelAfter(d time.Duration) WaitOption {
	return func(c *waitConfig) { c.cancelAfter = max(0, d) }
}

// WithRequestOptions applies options to the polls of a wait, but not to the
// request that starts the work. Such a wait does not share its polls with other
// waits.
func WithRequestOptions(opts ...RequestOption) WaitOption {
	return func(c *waitConfig) { c.request = append(c.request, opts...) }
}

// WaitEvent is the result of one poll, or says that the request that starts the
// work is queued. See [WithProgress].
type WaitEvent struct {
	// Kind is the kind of work: "run", "ingestion job", "evaluation", "evaluation
	// of run", "deployment", "test run" or "dev session".
	Kind   string
	ID     string // "" while the request that starts the work is queued
	Status string // as the service reports it; "" if the poll failed
	Phase  string // the step within the status, if any; while the request is queued, the Reason
	Done   bool
	Polls  int           // polls so far
	After  time.Duration // since the wait began
	Next   time.Duration // until the next poll, before jitter, or the estimated time in the queue; 0 if there is none
	Err    error         // of a failed poll
	// Run is the run as the poll returned it. It is nil if the poll returned
	// none, or if the wait is not for a run. Other waits for the same run have
	// values of their own. If it awaits approval, its Approval says which one,
	// at the cost of one request for each.
	Run *Run
}

// A WaitError is returned by a wait that ended before its work did, because its
// context ended or its polls failed. The work itself goes on, and can be waited
// for again, unless [CancelOnAbort] canceled it: Error says so.
type WaitError struct {
	Kind       string // as in WaitEvent
	ID         string // the id that was waited for; the first pending one if there were several
	Pending    []string
	LastStatus string // as last seen, or ""
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

// contextError returns the error of a context that ended, with its cause.
func contextError(ctx context.Context) error { return grace.Err(ctx) }

// jitter lengthens d by up to a tenth.
func jitter(d time.Duration) time.Duration { return watch.Jitter(d) }
