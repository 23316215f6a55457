package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// grace is how long a request that has been sent may continue when the gate is
// interrupted: its response says which run was started.
const grace = 10 * time.Second

// flight is the context key for the state of a request.
type flight struct{}

// The states of a request.
const (
	waiting int32 = iota // not sent, or refused for the rate limit
	flying               // sent: only the client knows whether it was executed
	given                // given up while it was waiting
)

// A gracedCall is a context for a request that costs money. When ctx ends, a
// queued request is not sent, and a request in progress gets the time of grace.
// It needs a client with [tellFlight].
type gracedCall struct {
	context.Context
	outer  context.Context
	state  atomic.Int32
	cancel context.CancelCauseFunc
	done   func()
}

func graced(ctx context.Context) *gracedCall {
	p := &gracedCall{outer: ctx}
	call := context.WithValue(context.WithoutCancel(ctx), flight{}, p)
	late := func() {}
	if at, ok := ctx.Deadline(); ok { // so that no one is queued for nothing
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

// gaveUp reports whether the request was certainly not executed, even if the
// client, which cannot know that, says otherwise.
func (p *gracedCall) gaveUp() bool { return p.state.Load() == given }

// tellFlight is a transport that records the state of a [gracedCall].
func tellFlight(next http.RoundTripper) http.RoundTripper {
	return transport(func(req *http.Request) (*http.Response, error) {
		p, ok := req.Context().Value(flight{}).(*gracedCall)
		if !ok {
			return next.RoundTrip(req)
		}
		if !p.state.CompareAndSwap(waiting, flying) && p.outer.Err() != nil {
			// Given up, or sent again: then the client knows that no earlier
			// attempt was executed.
			p.state.Store(given)
			p.cancel(context.Cause(p.outer))
			return nil, context.Canceled
		}
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusTooManyRequests {
			p.state.Store(waiting)
		}
		return resp, err
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }
