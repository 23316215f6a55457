package chat

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/hook"
)

// WithTelemetry observes the session with the options [connic.WithObserver],
// [connic.WithLogger], [connic.WithSlowQueue] and [connic.WithCallContext], which
// can be the ones that a client was made with: the steps are the same events. The
// operations are "chat.dial" and "chat.send", and their route is "{connector}".
//
// A call "chat.send" lasts from Send to the end of the reply, and its last event
// has the error of the reply. Events are reported on the goroutines of the
// caller: the last ones by [Reply.Wait], by the loop over the reply, or, if the
// reply is not read, by the next Send or by Close. If WithTelemetry is given more
// than once, all of its options apply.
func WithTelemetry(opts ...connic.Option) Option {
	return func(c *config) (err error) {
		c.observed = append(c.observed, opts...)
		c.telemetry, err = connic.NewTelemetry(c.observed...)
		return err
	}
}

func operation(name, method string) connic.Operation {
	return connic.Operation{
		Name: name, Method: method, Route: hook.Route, Class: api.Unsafe.String(), Status: string(api.Documented),
	}
}

var (
	dialing = operation("chat.dial", http.MethodGet)
	sending = operation("chat.send", "")
)

// observe reports the last steps of a call that has sent the given number of
// requests, in the time given by e.Duration.
func (c *config) observe(ctx context.Context, op *connic.Operation, e connic.Event, attempt time.Duration) {
	e.Op, e.Method, e.Route = op.Name, op.Method, op.Route
	if e.Attempt > 0 {
		one := e
		one.Kind, one.Duration, one.Queued = connic.EventAttempt, attempt, 0
		c.telemetry.Observe(ctx, one)
	}
	e.Kind = connic.EventDone
	c.telemetry.Observe(ctx, e)
}

// dialed reports that a session was opened, or was not.
func (c *config) dialed(ctx context.Context, start time.Time, err error) {
	if !c.telemetry.Enabled() {
		return
	}
	e := connic.Event{Attempt: 1, StatusCode: http.StatusSwitchingProtocols, Err: err, Duration: time.Since(start)}
	var failed *DialError
	if errors.As(err, &failed) && failed.Code == 0 {
		e.StatusCode = failed.StatusCode
	}
	c.observe(ctx, &dialing, e, e.Duration)
}

// A trace is what the events of a reply say. It is guarded by the mutex of the
// reply.
type trace struct {
	ctx                 context.Context // nil once the end was reported, or if nobody observes it
	start, begun, ended time.Time
	queued              time.Duration
}

// waits reports that a message waits for the end of an earlier reply.
func (r *Reply) waits() {
	r.mu.Lock()
	ctx := r.trace.ctx
	r.mu.Unlock()
	if ctx != nil {
		r.session.conf.telemetry.Observe(ctx, connic.Event{
			Kind: connic.EventQueued, Op: sending.Name, Route: sending.Route, Reason: connic.ReasonInFlight,
		})
	}
}

// report reports the end of the reply once, with its error, unless it has not
// ended. No lock is held.
func (r *Reply) report() {
	r.mu.Lock()
	if !r.ended {
		r.mu.Unlock()
		return
	}
	r.reportAs(r.err)
}

// unsent reports the end of a reply whose message was not sent.
func (r *Reply) unsent(err error) error {
	r.mu.Lock()
	r.reportAs(err)
	return err
}

// reportAs reports the end of the reply once, with the given error. The caller
// holds the mutex, which it releases.
func (r *Reply) reportAs(err error) {
	t, begun := r.trace, r.begun
	r.trace.ctx = nil
	r.mu.Unlock()
	if t.ctx == nil {
		return
	}
	s := r.session
	s.mu.Lock()
	if s.current == r {
		s.current = nil
	}
	s.mu.Unlock()
	if t.ended.IsZero() {
		t.ended = time.Now()
	}
	e := connic.Event{Err: err, Duration: t.ended.Sub(t.start), Queued: t.queued}
	var failed *ReplyError
	if unsent := errors.As(err, &failed) && failed.unsent; begun && !unsent {
		e.Attempt = 1
	}
	s.conf.observe(t.ctx, &sending, e, t.ended.Sub(t.begun))
}
