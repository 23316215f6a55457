package connic

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/watch"
)

// Drain closes the client in the way a service does at its end. It returns when
// nothing is in progress any more, or when ctx ends:
//
//   - Calls that are queued for the rate limit, and new ones, fail with
//     [ErrClosed], as does each Follow. They sent nothing. A call that was refused
//     or failed is not sent again, and does not wait until it would be.
//   - Calls that were sent are answered.
//   - Waits go on, as do polls and cancellations. A wait that begins now is
//     permitted. [RunsService.Watch] counts until its channel is closed.
//   - When ctx ends, so do all waits, with a [*WaitError] that matches ErrClosed.
//     [CancelOnAbort] then cancels their runs, for which Drain waits up to 10 s
//     longer. Calls that were sent continue.
//
// Afterwards the client is closed (see [Client.Close]). The error is nil if nothing
// was left, or a [*DrainError] that says what, also if Drain was called before. Do
// not call it from an Observer, from a function of [WithProgress], or in a loop over
// a wait: what it waits for would then wait for it. Use [AgentsService.TriggerAndWait]
// rather than a call followed by a wait: between the two, nothing is in progress.
//
// Connectors are drained by their callers: they queue nothing, and
// [http.Server.Shutdown] waits for the handlers that use or receive them.
//
// [http.Server.Shutdown]: https://pkg.go.dev/net/http#Server.Shutdown
func (c *Client) Drain(ctx context.Context) error {
	if ctx == nil {
		return &ArgumentError{Op: "connic.Drain", Arg: "context", Reason: "is nil"}
	}
	if c == nil {
		return (*scope)(nil).made("connic.Drain")
	}
	if err := c.made("connic.Drain"); err != nil {
		return err
	}
	a := &c.activity
	idle := a.drain()
	e := new(DrainError)
	select {
	case <-idle:
	case <-ctx.Done():
		e.Err = contextError(ctx)
	}
	left, aborting := a.end()
	if len(aborting) > 0 {
		timer := time.NewTimer(abortTimeout)
		defer timer.Stop()
		for _, w := range aborting {
			select {
			case <-w.left:
				continue
			case <-timer.C:
			}
			break
		}
	}
	_ = c.Close()
	for _, w := range left {
		if failed := w.failure(c.mask()); failed != nil {
			e.Waits = append(e.Waits, failed)
		}
	}
	slices.SortFunc(e.Waits, func(x, y *WaitError) int { return strings.Compare(x.ID, y.ID) })
	if e.Unknown = a.outcomes(e.Err); len(e.Waits) == 0 && len(e.Unknown) == 0 {
		return nil
	}
	return e
}

// A DrainError says what [Client.Drain] has left.
type DrainError struct {
	// Waits holds the errors of the waits that were ended. What they waited for
	// continues, and can be waited for again.
	Waits []*WaitError
	// Unknown holds the errors of the calls whose outcome is not known, which match
	// [ErrOutcomeUnknown]: those that failed while draining, and those that had been
	// sent and were not answered at its end.
	Unknown []error
	Err     error // of the context; nil if it did not end
}

// Runs returns the ids of the runs that were waited for.
func (e *DrainError) Runs() []string {
	ids := make(map[string]bool)
	for _, w := range e.Waits {
		if w.Kind == "run" {
			for _, id := range w.Pending {
				ids[id] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

func (e *DrainError) Error() string {
	texts := []string{"connic: drain"}
	for _, err := range append(e.Unwrap(), errorsOf(e.Waits)...) {
		texts = append(texts, strings.TrimPrefix(causeText(err), "connic: "))
	}
	return mask.Line(strings.Join(texts, ": "), maxText)
}

// Unwrap returns the error of the context and those of the calls.
func (e *DrainError) Unwrap() []error {
	if e.Err == nil {
		return slices.Clone(e.Unknown)
	}
	return append([]error{e.Err}, e.Unknown...)
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *DrainError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

func (e *DrainError) describe(info *ErrorInfo) { info.Op = "connic.Drain" }

func errorsOf(waits []*WaitError) []error {
	all := make([]error, len(waits))
	for i, w := range waits {
		all[i] = w
	}
	return all
}

// activity is what is in progress at a client. Its channels and contexts belong to
// calls, so that a client can be used in several bubbles of package synctest.
type activity struct {
	draining atomic.Bool
	free     sync.Pool // of queueContexts

	mu      sync.Mutex
	calls   map[*call]struct{}
	waits   map[*activeWait]struct{}
	closing stops           // of queued calls
	over    stops           // of waits
	ended   []*activeWait   // by Drain
	idle    []chan struct{} // are closed when nothing is in progress
	unknown []error         // of calls that ended while draining
}

// stops end contexts together.
type stops struct {
	ended bool
	of    map[*context.CancelCauseFunc]struct{}
}

// drain ends what is queued. It returns a channel that is closed when nothing is in
// progress.
func (a *activity) drain() <-chan struct{} {
	idle := make(chan struct{})
	a.mu.Lock()
	a.draining.Store(true)
	a.idle = append(a.idle, idle)
	a.settle()
	a.mu.Unlock()
	a.stop(&a.closing)
	return idle
}

// settle notes that something has ended. The caller holds the mutex.
func (a *activity) settle() {
	if len(a.calls) > 0 || len(a.waits) > 0 {
		return
	}
	for _, idle := range a.idle {
		close(idle)
	}
	a.idle = nil
}

// until returns a context that also ends with s, because of ErrClosed. The caller
// calls stop.
func (a *activity) until(ctx context.Context, s *stops) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ended {
		cancel(ErrClosed)
		return ctx, func() {}
	}
	if s.of == nil {
		s.of = make(map[*context.CancelCauseFunc]struct{})
	}
	s.of[&cancel] = struct{}{}
	return ctx, func() {
		a.mu.Lock()
		delete(s.of, &cancel)
		a.mu.Unlock()
		cancel(nil)
	}
}

// stop ends contexts.
func (a *activity) stop(s *stops) {
	a.mu.Lock()
	s.ended = true
	all := slices.Collect(maps.Keys(s.of))
	a.mu.Unlock()
	for _, cancel := range all {
		(*cancel)(ErrClosed)
	}
}

// enter registers a call, unless the client accepts no more of them.
func (a *activity) enter(k *call) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.draining.Load() && !k.drains() {
		return false
	}
	if a.calls == nil {
		a.calls = make(map[*call]struct{})
	}
	a.calls[k] = struct{}{}
	return true
}

func (a *activity) leave(k *call, err error) {
	unknown := a.draining.Load() && errors.Is(err, ErrOutcomeUnknown)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.calls, k)
	if unknown {
		a.unknown = append(a.unknown, err)
	}
	a.settle()
}

// drains reports whether the call is made while the client drains.
func (k *call) drains() bool { return k.lane == LanePoll || k.lane == LaneCancel }

// end ends all waits. It returns those that were ever ended, and those that cancel
// what they wait for.
func (a *activity) end() (waits, aborting []*activeWait) {
	a.mu.Lock()
	for w := range a.waits {
		if !w.ended {
			w.ended = true
			a.ended = append(a.ended, w)
		}
	}
	waits = slices.Clone(a.ended)
	a.mu.Unlock()
	for _, w := range waits {
		w.end()
		if w.aborts {
			aborting = append(aborting, w)
		}
	}
	a.stop(&a.over)
	return waits, aborting
}

// outcomes returns the errors of the calls whose outcome is not known.
func (a *activity) outcomes(cause error) []error {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.Clone(a.unknown)
	for k := range a.calls {
		if k.exchange.Class == api.Unsafe && k.flying.Load() {
			all = append(all, &TransportError{Op: k.op.Name, Method: k.op.Method, item: k.masked(k.item), Attempts: 1, Err: cause, unknown: true})
		}
	}
	return all
}

// An activeWait is a wait in progress.
type activeWait struct {
	kind    string
	pending func() *watch.Pending // nil if it is about to begin
	aborts  bool
	left    chan struct{} // is closed at its end
	ended   bool          // by Drain; guarded by the mutex of the activity

	mu   sync.Mutex
	last *watch.Pending // when it was ended
	done bool           // it has said what it left
	ids  []string       // and this is it
}

// end notes what the wait waits for, which ends it.
func (w *activeWait) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending != nil && w.last == nil {
		w.last = w.pending()
	}
}

// join registers a wait until leave is called. Its context ends with that of the
// client.
func (a *activity) join(ctx context.Context, w *activeWait) (_ context.Context, leave func()) {
	w.left = make(chan struct{})
	ctx, stop := a.until(ctx, &a.over)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waits == nil {
		a.waits = make(map[*activeWait]struct{})
	}
	a.waits[w] = struct{}{}
	return ctx, func() {
		stop()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.waits, w)
		close(w.left)
		a.settle()
	}
}

// leaves notes what a wait leaves when its context ends.
func (w *activeWait) leaves(ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done, w.ids = true, ids
}

// failure returns the error of a wait that was ended, or nil if it left nothing.
func (w *activeWait) failure(m *mask.Mask) *WaitError {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.last
	if p != nil && w.done {
		p.IDs = w.ids
	}
	if p == nil || len(p.IDs) == 0 {
		return nil
	}
	return &WaitError{
		Kind: w.kind, ID: p.IDs[0], Pending: p.IDs, Polls: p.Polls, Err: ErrClosed,
		LastStatus: mask.Line(m.Text(p.LastStatus), maxID),
	}
}
