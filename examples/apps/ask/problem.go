package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/connic-go/connic"
)

// Problem is what a caller is told who gets no answer. It has none of the details
// of the error, which are for the log.
type Problem struct {
	Status  int    `json:"status"`
	Message string `json:"error"`
	// RunID is the run that was started, where one was.
	RunID      string        `json:"run_id,omitempty"`
	RetryAfter time.Duration `json:"-"`
	// Seconds is RetryAfter for those who read a stream, which has no header for it.
	Seconds int `json:"retry_after,omitempty"`
}

func (p *Problem) write(w http.ResponseWriter) {
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.Seconds))
	}
	writeJSON(w, p.Status, p)
}

// seconds rounds up: who comes back a moment too early has come in vain.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

// fail answers a question that was not put.
func fail(w http.ResponseWriter, log *slog.Logger, p *Problem) {
	if p.RetryAfter > 0 {
		p.Seconds = seconds(p.RetryAfter)
	}
	log.Info("refused", "status", p.Status, "reason", p.Message)
	p.write(w)
}

// explain says what an error of package connic means to somebody who asked a
// question. Cause is why the question's context ended, nil if it did not.
func explain(err, cause error) *Problem {
	p := classify(err, cause)
	if p.RetryAfter > 0 {
		p.Seconds = seconds(p.RetryAfter)
	}
	return p
}

func classify(err, cause error) *Problem {
	var (
		bad     *connic.RunError
		started *connic.WaitError
	)
	switch {
	case errors.Is(cause, errShutdown):
		return &Problem{Status: http.StatusServiceUnavailable, Message: "the service is shutting down", RetryAfter: 5 * time.Second}
	case errors.As(err, &bad):
		return &Problem{Status: http.StatusBadGateway, Message: "the agent did not complete its run: " + string(bad.Run.Status)}
	case errors.As(err, &started): // whatever ended the wait: asking again would be a second run
		if errors.Is(err, context.DeadlineExceeded) {
			return &Problem{Status: http.StatusGatewayTimeout, Message: "the agent took too long"}
		}
		return &Problem{Status: http.StatusBadGateway, Message: "the question was put, and its answer cannot be had"}
	case errors.Is(err, connic.ErrRateLimited):
		// The quota is the project's. Also where the deadline is the reason: nothing
		// was started then, so asking later is right.
		wait, _ := connic.RetryAfter(err)
		return &Problem{Status: http.StatusTooManyRequests, Message: "too many questions for the project's quota", RetryAfter: cmp.Or(wait, 10*time.Second)}
	case errors.Is(err, connic.ErrOutcomeUnknown):
		return &Problem{Status: http.StatusBadGateway, Message: "no answer came; the question may have been put all the same"}
	case errors.Is(err, context.DeadlineExceeded):
		return &Problem{Status: http.StatusGatewayTimeout, Message: "the agent could not be reached in time"}
	case errors.Is(err, connic.ErrForbidden):
		return &Problem{Status: http.StatusForbidden, Message: "this service may not ask the agent"}
	case errors.Is(err, connic.ErrServer), errors.As(err, new(*connic.TransportError)):
		wait, _ := connic.RetryAfter(err)
		return &Problem{Status: http.StatusServiceUnavailable, Message: "the agents cannot be reached", RetryAfter: cmp.Or(wait, 10*time.Second)}
	}
	// A key that is refused, an agent that does not exist: the caller is not to blame.
	return &Problem{Status: http.StatusBadGateway, Message: "the agent cannot be asked"}
}
