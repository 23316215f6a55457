package connic

import (
	"context"
	"log/slog"
	"reflect"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/inject"
	"github.com/connic-go/connic/internal/mask"
)

// An Observer is called for each step of each call, on the goroutine of the
// call. It must return quickly and be safe for concurrent use. Its arguments
// never contain the API key, a query or a body.
type Observer func(ctx context.Context, e Event)

// An Event is one step of a call.
type Event struct {
	Kind   EventKind
	Op     string // such as "runs.get"; stable and of low cardinality
	Method string // empty if the call is a message over an open connection
	Route  string // with placeholders, also of low cardinality
	// Attempt is the number of requests sent for the call so far.
	Attempt    int
	StatusCode int // 0 if there was no response
	// Wait is how long the call will wait (EventQueued, EventRetry). It is 0 if
	// that is not known.
	Wait time.Duration
	// Reason says why the call waits (EventQueued, EventRetry).
	Reason Reason
	// Duration is how long the attempt took (EventAttempt), or the whole call
	// including all waits (EventDone).
	Duration time.Duration
	// Queued is how long the call was actually queued for the rate limit, over
	// all attempts (EventDone).
	Queued    time.Duration
	RequestID string
	Err       error
	Lane      Lane
	// Deprecation is set if Kind is EventDeprecated.
	Deprecation *Deprecation
}

// EventKind is the kind of an [Event]: "queued", "attempt", "retry", "done" or
// "deprecated".
type EventKind string

// The steps of a call.
const (
	EventQueued  EventKind = "queued"  // the attempt is queued for the rate limit
	EventAttempt EventKind = "attempt" // an attempt ended
	EventRetry   EventKind = "retry"   // the call will be retried
	EventDone    EventKind = "done"    // the call ended
	// EventDeprecated reports that a response announced the end of the operation.
	// It is reported once per operation and Client or Connector, after the
	// EventAttempt.
	EventDeprecated EventKind = "deprecated"
)

// Operation describes the call that a request belongs to.
type Operation struct {
	Name    string // "agents.trigger"
	Method  string // empty if the call is a message over an open connection
	Route   string // "/projects/{project}/agents/{agent}/trigger"
	Section string // the section of the API key, "" if unknown
	Access  string // "read", "write", or "" if unknown
	Class   string // "safe", "idempotent" or "unsafe"
	Status  string // "documented", "observed" or "assumed"
	Lane    Lane   // of the call: LanePoll for the polls of waits
}

// rawRoute replaces the paths of [Client.Do], which may be numerous.
const rawRoute = "{path}"

func operation(op *api.Operation, class api.Class) Operation {
	o := Operation{
		Name: op.Name, Method: op.Method, Route: op.Route, Section: op.Section, Access: op.Access,
		Class: class.String(), Status: string(op.Mark),
	}
	if op.Op == rawOperation.Op {
		o.Route = rawRoute
	}
	return o
}

// OperationFromContext returns the operation that a request's context belongs
// to, also for requests of connectors and chats. RoundTrippers can use it to name
// spans or metrics (see [WithTransport]).
func OperationFromContext(ctx context.Context) (Operation, bool) {
	switch k := ctx.Value(inject.Operation{}).(type) {
	case *call:
		o := operation(k.op, k.exchange.Class)
		o.Lane = k.lane
		return o, true
	case Operation:
		return k, true
	}
	return Operation{}, false
}

// A Telemetry observes calls with what the options [WithObserver],
// [WithLogger], [WithSlowQueue] and [WithCallContext] set up. It lets other
// packages report calls of their own as a Client does: package connector and
// the module contrib/chat use it. A nil Telemetry observes nothing. It is safe
// for concurrent use.
type Telemetry struct {
	observer    Observer
	callContext func(context.Context, Operation) context.Context
}

// NewTelemetry returns the Telemetry of the given options. An option that does
// anything else is an [*ArgumentError].
func NewTelemetry(opts ...Option) (*Telemetry, error) {
	c := &config{slowQueue: defaultSlowQueue}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(c); err != nil {
			return nil, err
		}
	}
	t := c.telemetry()
	c.observers, c.callContext = nil, nil
	if !reflect.DeepEqual(c, &config{slowQueue: c.slowQueue}) {
		return nil, &ArgumentError{Op: "connic.NewTelemetry", Arg: "option", Reason: "is not one of WithObserver, WithLogger, WithSlowQueue and WithCallContext"}
	}
	return &t, nil
}

func (c *config) telemetry() Telemetry { return Telemetry{joinObservers(c.observers), c.callContext} }

// Enabled reports whether t has an observer.
func (t *Telemetry) Enabled() bool { return t != nil && t.observer != nil }

// Begin returns the context of a call, derived from that of the caller.
func (t *Telemetry) Begin(ctx context.Context, op Operation) context.Context {
	if t == nil || t.callContext == nil {
		return ctx
	}
	if own := t.callContext(ctx, op); own != nil {
		return own
	}
	return ctx
}

// Observe reports a step of a call, with the context that Begin has returned.
func (t *Telemetry) Observe(ctx context.Context, e Event) {
	if t.Enabled() {
		t.observer(ctx, e)
	}
}

// observe reports a step to the observer.
func (k *call) observe(e Event, o *exchange.Outcome) {
	if !k.scope.telemetry.Enabled() {
		return
	}
	e.Op, e.Method, e.Route = k.op.Name, k.op.Method, k.route()
	if k.op.Op == rawOperation.Op {
		e.Route = rawRoute
	}
	e.Attempt, e.Lane, e.StatusCode, e.RequestID = o.Attempts, k.lane, o.Status, o.RequestID
	k.scope.telemetry.Observe(k.Context, e)
}

// defaultSlowQueue is the time in the queue after which a call is logged at
// info level.
const defaultSlowQueue = 10 * time.Second

// logObserver returns an Observer that logs events: attempts and completed
// calls at debug level, waits for the rate limit of at least slow at info
// level, and retries at warn level.
func logObserver(logger *slog.Logger, slow *time.Duration) Observer {
	return func(ctx context.Context, e Event) {
		level := slog.LevelDebug
		switch {
		case e.Kind == EventRetry, e.Kind == EventDeprecated:
			level = slog.LevelWarn
		case e.Kind == EventQueued && e.Wait >= *slow, e.Kind == EventDone && e.Queued >= *slow:
			level = slog.LevelInfo
		}
		if !logger.Enabled(ctx, level) {
			return
		}
		attrs := make([]slog.Attr, 0, 8)
		attrs = append(attrs, slog.String("op", e.Op), slog.Int("attempt", e.Attempt))
		if e.StatusCode != 0 {
			attrs = append(attrs, slog.Int("status", e.StatusCode))
		}
		if e.Reason != "" {
			attrs = append(attrs, slog.String("reason", string(e.Reason)), slog.Duration("wait", e.Wait))
		}
		if e.Duration != 0 {
			attrs = append(attrs, slog.Duration("duration", e.Duration))
		}
		if e.Queued != 0 {
			attrs = append(attrs, slog.Duration("queued", e.Queued))
		}
		if e.RequestID != "" {
			attrs = append(attrs, slog.String("request_id", e.RequestID))
		}
		if e.Deprecation != nil {
			attrs = append(attrs, slog.Any("deprecation", e.Deprecation))
		}
		if e.Err != nil {
			attrs = append(attrs, slog.String("error", mask.Line(e.Err.Error(), maxText)))
		}
		logger.LogAttrs(ctx, level, "connic: "+string(e.Kind), attrs...)
	}
}

// WithCallContext lets f derive a context for each call from that of the
// caller, for example to add a span or other values that observers and
// transports look for. f is called once per call, on its goroutine, before the
// first attempt is queued. The context it returns is that of every [Event], and
// the parent of that of every request. If the option is given more than once,
// the functions are applied in order.
//
// f is not called for a call that is refused because of its arguments.
func WithCallContext(f func(ctx context.Context, op Operation) context.Context) Option {
	return func(c *config) error {
		if f == nil {
			return badOption("WithCallContext", "is nil")
		}
		before := c.callContext
		c.callContext = f
		if before != nil {
			c.callContext = func(ctx context.Context, op Operation) context.Context {
				return f(before(ctx, op), op)
			}
		}
		return nil
	}
}

// derive replaces the context of the call with the one returned by the function
// of WithCallContext.
func (k *call) derive() {
	if k.scope.telemetry.callContext != nil {
		k.Context = k.scope.telemetry.Begin(k.Context, operation(k.op, k.exchange.Class))
	}
}
