package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// grace is how long a request that has been sent may take when the gate is
// interrupted: its answer says which run was started.
const grace = 10 * time.Second

// flight is the key of the state of a request in its context.
type flight struct{}

// The states of a request.
const (
	waiting int32 = iota // for its turn, or to be tried again
	flying               // under way
	given                // up, before it was sent
)

// patience is a context for a request that costs money. When ctx ends, a request
// that waits is not sent any more, and one that is under way gets the time of
// grace. It needs a client with [tellFlight].
type patience struct {
	context.Context
	state  atomic.Int32
	cancel context.CancelCauseFunc
	done   func()
}

func patient(ctx context.Context) *patience {
	p := new(patience)
	call := context.WithValue(context.WithoutCancel(ctx), flight{}, p)
	late := func() {}
	if at, ok := ctx.Deadline(); ok { // so that nobody stands in line for nothing
		call, late = context.WithDeadline(call, at.Add(grace))
	}
	p.Context, p.cancel = context.WithCancelCause(call)
	stop := context.AfterFunc(ctx, func() {
		if !p.state.CompareAndSwap(waiting, given) {
			select {
			case <-time.After(grace):
			case <-p.Done():
			}
		}
		p.cancel(context.Cause(ctx))
	})
	p.done = func() {
		stop()
		p.cancel(nil)
		late()
	}
	return p
}

// gaveUp reports whether the request has certainly not been sent, whatever the
// client, which cannot see that, says. What was sent before it was refused, or the
// client would not have tried again.
func (p *patience) gaveUp() bool { return p.state.Load() == given }

// tellFlight is a transport that keeps the state of a [patience].
func tellFlight(next http.RoundTripper) http.RoundTripper {
	return transport(func(req *http.Request) (*http.Response, error) {
		p, ok := req.Context().Value(flight{}).(*patience)
		if !ok {
			return next.RoundTrip(req)
		}
		if !p.state.CompareAndSwap(waiting, flying) {
			return nil, context.Canceled
		}
		resp, err := next.RoundTrip(req)
		if err != nil || resp.StatusCode >= 300 {
			p.state.Store(waiting) // of an answer that says yes the body is still to come
		}
		return resp, err
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }
