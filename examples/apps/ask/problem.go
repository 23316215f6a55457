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

// A Problem is the response to a caller whose question is not answered. It
// contains no details of the error; those go to the log.
type Problem struct {
	Status  int    `json:"status"`
	Message string `json:"error"`
	// RunID is the run that was started, if any.
	RunID      string        `json:"run_id,omitempty"`
	RetryAfter time.Duration `json:"-"`
	// Seconds is RetryAfter for readers of a stream, which has no header for
	// it.
	Seconds int `json:"retry_after,omitempty"`
}

func (p *Problem) write(w http.ResponseWriter) {
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.Seconds))
	}
	writeJSON(w, p.Status, p)
}

// seconds rounds up, because a caller that returns a moment too early would be
// refused again.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

// fail responds to a question that was not asked.
func fail(w http.ResponseWriter, log *slog.Logger, p *Problem) {
	if p.RetryAfter > 0 {
		p.Seconds = seconds(p.RetryAfter)
	}
	log.Info("refused", "status", p.Status, "reason", p.Message)
	p.write(w)
}

// explain explains an error of package connic to someone who asked a question.
// cause is why the context of the question ended, or nil.
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
	case errors.Is(err, connic.ErrOutcomeUnknown): // whatever else it is: asking again may start a second run
		return &Problem{Status: http.StatusBadGateway, Message: "no response came; the question may have been asked nevertheless"}
	case errors.Is(cause, errShutdown), errors.Is(err, connic.ErrClosed):
		return &Problem{Status: http.StatusServiceUnavailable, Message: "the service is shutting down", RetryAfter: 5 * time.Second}
	case errors.As(err, &bad):
		return &Problem{Status: http.StatusBadGateway, Message: "the agent did not complete its run: " + string(bad.Run.Status)}
	case errors.As(err, &started): // whatever ended the wait: asking again would start a second run
		if errors.Is(err, context.DeadlineExceeded) {
			return &Problem{Status: http.StatusGatewayTimeout, Message: "the agent took too long"}
		}
		return &Problem{Status: http.StatusBadGateway, Message: "the question was asked, but its answer cannot be retrieved"}
	case errors.Is(err, connic.ErrRateLimited):
		// The quota is shared by the whole project. This applies even if the
		// deadline is the reason: nothing was started then, so asking later is
		// right.
		wait, _ := connic.RetryAfter(err)
		return &Problem{Status: http.StatusTooManyRequests, Message: "too many questions for the project's quota", RetryAfter: cmp.Or(wait, 10*time.Second)}
	case errors.Is(err, context.DeadlineExceeded):
		return &Problem{Status: http.StatusGatewayTimeout, Message: "the agent could not be reached in time"}
	case errors.Is(err, connic.ErrForbidden):
		return &Problem{Status: http.StatusForbidden, Message: "this service may not ask the agent"}
	case errors.Is(err, connic.ErrServer), errors.As(err, new(*connic.TransportError)):
		wait, _ := connic.RetryAfter(err)
		return &Problem{Status: http.StatusServiceUnavailable, Message: "the agents cannot be reached", RetryAfter: cmp.Or(wait, 10*time.Second)}
	}
	// A refused key or an unknown agent: not the caller's fault.
	return &Problem{Status: http.StatusBadGateway, Message: "the agent is not available"}
}
