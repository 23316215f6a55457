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
	waiting int32 = iota // for its turn, or for a retry
	flying               // in progress
	given                // given up before it was sent
)

// A patience is a context for a request that costs money. When ctx ends, a
// queued request is not sent, and a request in progress gets the time of grace.
// It needs a client with [tellFlight].
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

// gaveUp reports whether the request was certainly not sent, even if the
// client, which cannot know that, says otherwise. Whatever was sent earlier was
// refused; otherwise the client would not have retried.
func (p *patience) gaveUp() bool { return p.state.Load() == given }

// tellFlight is a transport that records the state of a [patience].
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
			p.state.Store(waiting) // the body of a successful response is still to come
		}
		return resp, err
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }
