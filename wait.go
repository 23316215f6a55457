package connic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
)

const (
	pollInitial = 2 * time.Second
	pollMax     = 15 * time.Second
	pollLeast   = 10 * time.Millisecond // shorter ones spin
	pollGrowth  = 1.5
	// missingFor is how long a 404, or any other refusal but that of the key, must
	// persist before a wait ends: something just created may not be visible yet.
	missingFor = 15 * time.Second
)

// A WaitOption configures a wait.
type WaitOption func(*waitConfig)

type waitConfig struct {
	initial, max   time.Duration
	progress       func(WaitEvent)
	stopAtApproval bool
	cancelOnAbort  bool
	failures       int // consecutive failed polls that end the wait; 0 means no limit
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

// WithPoll sets the interval between polls. It starts at initial, 2 s by
// default, and grows by half with each poll up to max, 15 s by default; both
// are at least 10 ms. Up to a tenth is added as jitter. A poll that several
// waits share happens when the first of them is due. Every poll is a request
// out of the project's quota, so short intervals delay everything else the
// project does.
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

// WithPollFailures ends a wait after n consecutive failed polls. Without it, a
// wait lasts as long as its context: polls that fail because of the network,
// the service or the rate limit are repeated. Values below 1 are ignored.
func WithPollFailures(n int) WaitOption {
	return func(c *waitConfig) { c.failures = max(0, n) }
}

// WithProgress calls f after every poll, including the last one, on the
// goroutine that waits. A slow f misses intermediate polls, but never the last
// one.
func WithProgress(f func(WaitEvent)) WaitOption {
	return func(c *waitConfig) { c.progress = f }
}

// StopAtApproval ends a wait for a run when the run awaits approval; the run is
// then returned without an error. Without this option the wait continues until
// the approval is decided.
func StopAtApproval() WaitOption {
	return func(c *waitConfig) { c.stopAtApproval = true }
}

// CancelOnAbort makes [AgentsService.TriggerAndWait] cancel the run if its
// context ends before the run does. TriggerAndWait then returns when the
// service has responded to the cancellation, or after 10 s at the latest; the
// request goes to the head of the queue for the rate limit. If the cancellation
// fails, its error is joined to the [*WaitError]. The option has no effect on
// other waits.
func CancelOnAbort() WaitOption {
	return func(c *waitConfig) { c.cancelOnAbort = true }
}

// WithRequestOptions applies options to the polls of a wait, but not to the
// request that starts the work. Such a wait does not share its polls with other
// waits.
func WithRequestOptions(opts ...RequestOption) WaitOption {
	return func(c *waitConfig) { c.request = append(c.request, opts...) }
}

// WaitEvent is the result of one poll.
type WaitEvent struct {
	Kind   string // the kind of work, such as "run"
	ID     string
	Status string // as the service reports it; "" if the poll failed
	Phase  string // the step within the status, if any
	Done   bool
	Polls  int           // polls so far
	After  time.Duration // since the wait began
	Next   time.Duration // until the next poll, before jitter; 0 if there is none
	Err    error         // of a failed poll
	// Run is the run as the poll returned it. It is nil if the poll returned
	// none, or if the wait is not for a run. Other waits for the same run
	// receive the same value: do not modify it.
	Run *Run
}

// A WaitError is returned by a wait that ended before its work did, because its
// context ended or its polls failed. The work itself goes on, and can be waited
// for again.
type WaitError struct {
	Kind       string // "run"
	ID         string // the id that was waited for; the first pending one if there were several
	Pending    []string
	LastStatus string // as last seen
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

type waitState struct {
	status, phase string
	done          bool
}

// refuses reports whether err is a response that a repeated poll would not
// change, if it is the service's: a 404, or the redirect or the 400 of a proxy
// that stands in for the service for a while.
func refuses(err error) bool {
	var answer *Error
	if !errors.As(err, &answer) {
		return errors.Is(err, ErrNotFound) || errors.Is(err, lenient.ErrOther) // the list does not show the item, or a gateway answered
	}
	return exchange.IsFinal(answer.StatusCode) && !keyRefused(answer)
}

func keyRefused(e *Error) bool {
	return e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden
}

// contextError returns the error of a context that ended, with its cause.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// hopeless reports whether polling again cannot help. Of responses only the
// refusal of the key is: see refuses.
func hopeless(err error) bool {
	var (
		answer    *Error
		argument  *ArgumentError
		decode    *DecodeError
		limit     *LimitError
		transport *TransportError
	)
	switch {
	case errors.As(err, &transport): // what it wraps may belong to another call
		return errors.Is(err, ErrClosed) || errors.Is(err, errPanicked) || exchange.CertificateError(err)
	case errors.As(err, &limit):
		return true
	case errors.As(err, &answer):
		return keyRefused(answer)
	case errors.As(err, &decode):
		return !errors.Is(err, lenient.ErrIncomplete) && !errors.Is(err, lenient.ErrOther)
	}
	return errors.As(err, &argument) || errors.Is(err, errPanicked)
}

// jitter lengthens d by up to a tenth, so that programs started together do not
// keep polling together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(d)/10) //nolint:gosec // spreads load, guards nothing
}
