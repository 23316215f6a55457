package connic

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/internal/exchange"
)

// failingBody is a body whose reads fail.
type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }
func (failingBody) Close() error               { return nil }

// The errors of a call that a transport makes, for a token perhaps, say nothing of
// the call around it: that one may have been executed, and is not refused by its
// own limiter.
func TestErrorsOfNestedCalls(t *testing.T) {
	t.Parallel()
	refused := &LimitError{Op: "runs.get", Reason: ReasonWindow}
	undecoded := &DecodeError{Op: "runs.get", StatusCode: 200, Err: io.ErrUnexpectedEOF, Attempts: 7}
	argument := &ArgumentError{Op: "runs.get", Arg: "run id", Reason: "is empty"}
	for name, inner := range map[string]error{
		"limit": refused, "decode": undecoded, "argument": argument, "certificate": x509.UnknownAuthorityError{},
		"transport": &TransportError{Op: "runs.get", Err: io.EOF}, "answer": &Error{Op: "runs.get", StatusCode: 401},
	} {
		for how, wrap := range map[string]func(error) error{
			"bare": func(err error) error { return err }, "wrapped": func(err error) error { return fmt.Errorf("token: %w", err) },
		} {
			for where, transport := range map[string]roundTripper{
				"transport": func(*http.Request) (*http.Response, error) { return nil, wrap(inner) },
				"body": func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 200, Body: failingBody{wrap(inner)}}, nil
				},
			} {
				what := name + ", " + how + ", " + where
				c := newTestClient(t, transport)
				_, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"})
				var outer *TransportError
				if !errors.As(err, &outer) || outer.Op != "agents.trigger" || !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, inner) {
					t.Errorf("%s: %v", what, err)
				}
				if info, ok := Describe(err); !ok || info.Op != "agents.trigger" || info.Attempts != 1 || !info.Unknown {
					t.Errorf("%s is described as %+v", what, info)
				}
			}
			// Nothing is sent without a key, and that is what the error says.
			c := newTestClient(t, nil, WithKeySource(KeySourceFunc(func(context.Context) (APIKey, error) { return "", wrap(inner) })))
			_, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"})
			var outer *TransportError
			if !errors.As(err, &outer) || outer.Op != "agents.trigger" || errors.Is(err, ErrOutcomeUnknown) || outer.Attempts != 0 {
				t.Errorf("%s, %s, key source: %v", name, how, err)
			}
		}
	}
	if refused.Op != "runs.get" || undecoded.Attempts != 7 || undecoded.unknown || argument.Op != "runs.get" {
		t.Errorf("the errors of others are changed: %+v, %+v, %+v", refused, undecoded, argument)
	}
}

// A wait goes on after a poll in which a call that the transport made was refused.
func TestWaitsOutliveNestedRefusals(t *testing.T) {
	t.Parallel()
	for name, inner := range map[string]error{
		"limit": &LimitError{Op: "runs.get", Reason: ReasonWindow}, "argument": &ArgumentError{Op: "runs.get"},
		"answer": &Error{Op: "runs.get", StatusCode: 401}, "decode": &DecodeError{Op: "runs.get", Err: io.EOF},
	} {
		synctest.Test(t, func(t *testing.T) {
			polls := 0
			c := newTestClient(t, func(*http.Request) (*http.Response, error) {
				if polls++; polls == 2 {
					return nil, fmt.Errorf("token: %w", inner)
				}
				return respond(200, fmt.Sprintf(`{"id": "r1", "status": %q, "output": "x"}`, map[bool]RunStatus{true: RunCompleted, false: RunRunning}[polls > 3])), nil
			})
			if run, err := c.Runs.Wait(t.Context(), "r1"); err != nil || run.Output != "x" || polls != 4 {
				t.Errorf("%s: %v after %d polls", name, err, polls)
			}
		})
	}
}

// kinds is a Limiter that counts how attempts ended.
type kinds [OutcomeAbandoned + 1]atomic.Int32

func (*kinds) Acquire(ctx context.Context, _ Admission) (Permit, error) { return Permit{}, ctx.Err() }
func (k *kinds) Release(_ Permit, o Outcome)                            { k[o.Kind].Add(1) }
func (*kinds) Status() RateLimitStatus                                  { return RateLimitStatus{} }

// A deadline of the caller's is no failure of the service, even if the transport
// sees it before the caller's context does.
func TestDeadlinesOfCallersAreNoFailures(t *testing.T) {
	t.Parallel()
	cause := errors.New("the request took too long")
	synctest.Test(t, func(t *testing.T) {
		var ended kinds
		c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, WithLimiter(&ended))
		const n = 200 // which of two timers fires first is up to chance
		for range n {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
			_, err := c.Runs.Get(ctx, "r1")
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cause) || errors.Is(err, exchange.ErrAttemptTimeout) {
				t.Fatal(err)
			}
		}
		if failed, left := ended[OutcomeFailed].Load(), ended[OutcomeAbandoned].Load(); failed != 0 || left != n {
			t.Errorf("%d count as failures, and %d as abandoned", failed, left)
		}
		// An attempt that takes too long is one.
		_, err := c.Runs.Get(t.Context(), "r1", WithAttemptTimeout(time.Second), WithMaxAttempts(1))
		if !errors.Is(err, exchange.ErrAttemptTimeout) || ended[OutcomeFailed].Load() != 1 {
			t.Errorf("%v", err)
		}
	})
}

// What an attempt ends with says nothing of the next one.
func TestErrorsOfRepeatedAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			if calls++; calls == 1 {
				return nil, io.ErrUnexpectedEOF
			}
			return respond(200, "[1]"), nil
		})
		_, err := c.Runs.Get(t.Context(), "r1")
		if undecoded, ok := err.(*DecodeError); !ok || undecoded.Attempts != 2 { //nolint:errorlint // the error itself
			t.Errorf("%v", err)
		}
	})
}
