package exchange

import (
	"context"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// deadline is the context of one attempt: that of the call, with its own end.
// It differs from context.WithTimeout in that its timer is only set if Done is
// called, which a transport in memory does not do, and in that it saves one
// allocation for each value it does not need.
type deadline struct {
	*Exchange

	mu        sync.Mutex
	at        time.Time
	done      chan struct{} // nil if Done was not called
	err       error         // nil if it has not ended
	timer     *time.Timer
	detach    func() bool // from the caller's context
	followers *follower
	evidence  *evidence // nil if no transport asked for a trace
	stream    *stream   // the body, if it is one
	panicked  any       // what the code that reads the body panicked with
	ran       bool      // it did not return
	caller    bool      // at is the deadline of the caller
	timedOut  bool
	taken     atomic.Bool // something has taken from the body
}

// follower is work to do at the end of a deadline.
type follower struct {
	deadline *deadline
	do       func()
	next     *follower
}

// alive restarts the time limit of the attempt.
func (d *deadline) alive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.caller = time.Now().Add(d.Timeout), false
	if end, ok := d.Caller.Deadline(); ok && !end.After(d.at) {
		d.at, d.caller = end, true
	}
}

// Deadline implements [context.Context].
func (d *deadline) Deadline() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, true
}

// Done implements [context.Context].
func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done != nil {
		return d.done
	}
	d.done = make(chan struct{})
	if d.err != nil {
		close(d.done)
		return d.done
	}
	d.timer = time.AfterFunc(time.Until(d.at), d.expire)
	if d.Caller.Done() != nil {
		d.detach = context.AfterFunc(d.Caller, func() { d.end(d.Caller.Err()) })
	}
	return d.done
}

// Err implements [context.Context].
func (d *deadline) Err() error {
	d.mu.Lock()
	err, asked, at := d.err, d.done != nil, d.at
	d.mu.Unlock()
	if err != nil || asked {
		return err
	}
	if err = d.Caller.Err(); err == nil && !time.Now().Before(at) {
		d.expire()
		err = context.DeadlineExceeded
	}
	return err
}

// expire ends the context because its time is up.
func (d *deadline) expire() {
	d.mu.Lock()
	if left := time.Until(d.at); left > 0 && d.err == nil && d.timer != nil {
		d.timer.Reset(left) // restarted since the timer was set
		d.mu.Unlock()
		return
	}
	d.timedOut = d.timedOut || d.err == nil && !d.caller
	d.mu.Unlock()
	d.end(context.DeadlineExceeded)
}

// expired reports whether the attempt timed out. An earlier deadline of the
// caller does not count.
func (d *deadline) expired() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.timedOut && d.over() == nil
}

// runaway records that the code that reads the body did not return, and ends the
// attempt. panicked is the value it panicked with, or nil if it called
// runtime.Goexit.
func (d *deadline) runaway(panicked any) {
	d.mu.Lock()
	d.ran, d.panicked = true, panicked
	d.mu.Unlock()
	d.abort()
}

// ranAway reports whether the code that reads the body did not return, and the
// value it panicked with, which is nil if it called runtime.Goexit.
func (d *deadline) ranAway() (panicked any, ran bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.panicked, d.ran
}

// end ends the context, once.
func (d *deadline) end(err error) {
	for f := d.finish(err); f != nil; f = f.next {
		go f.do()
	}
}

// close ends the attempt: its context, and what it holds.
func (d *deadline) close() {
	d.end(context.Canceled)
	d.collected().close()
	if d.stream != nil {
		d.stream.finish()
	}
}

// abort ends the context and its followers: when it returns, a transport can
// see that it must stop.
func (d *deadline) abort() {
	for f := d.finish(context.Canceled); f != nil; f = f.next {
		f.do()
	}
}

// finish ends the context and returns the work to do.
func (d *deadline) finish(err error) *follower {
	d.mu.Lock()
	if d.err != nil {
		d.mu.Unlock()
		return nil
	}
	d.err = err
	if d.done != nil {
		close(d.done)
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	detach, followers := d.detach, d.followers
	d.followers = nil
	d.mu.Unlock()
	if detach != nil {
		detach()
	}
	return followers
}

// AfterFunc lets package context attach a child without a goroutine: it calls f
// on a separate goroutine when d ends.
func (d *deadline) AfterFunc(f func()) (stop func() bool) {
	d.Done() // starts the timer
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		go f()
		return func() bool { return false }
	}
	d.followers = &follower{d, f, d.followers}
	return d.followers.stop
}

func (f *follower) stop() bool {
	f.deadline.mu.Lock()
	defer f.deadline.mu.Unlock()
	for at := &f.deadline.followers; *at != nil; at = &(*at).next {
		if *at == f {
			*at = f.next
			return true
		}
	}
	return false
}

// traceKey is the context key under which package httptrace looks for a trace.
var traceKey = func() any {
	var spy keySpy
	httptrace.ContextClientTrace(&spy)
	return spy.key
}()

// keySpy is a context that records the keys it was asked for.
type keySpy struct {
	context.Context
	key any
}

func (s *keySpy) Value(key any) any {
	s.key = key
	return nil
}
