package gate

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/grace"
)

// bound is how long a request that has been sent may continue when the gate is
// interrupted: its response says what was started.
const bound = 10 * time.Second

// A gracedCall is a context for a request that costs money. When its parent ends,
// a queued request is not sent, and a request in progress gets the time of bound.
// It needs a client with [tellBegin].
type gracedCall struct {
	*grace.Context
	unsent atomic.Bool // the last attempt was not sent, and no earlier one was executed
}

type callKey struct{}

func graced(ctx context.Context) *gracedCall {
	c := new(gracedCall)
	c.Context = grace.New(context.WithValue(ctx, callKey{}, c), bound)
	return c
}

// tellBegin is a transport that tells a [gracedCall] that its request is sent.
func tellBegin(next http.RoundTripper) http.RoundTripper {
	return transport(func(req *http.Request) (*http.Response, error) {
		if c, ok := req.Context().Value(callKey{}).(*gracedCall); ok {
			if c.Begin(); c.Err() != nil { // the client repeats only what was not executed
				c.unsent.Store(true)
				return nil, context.Cause(c)
			}
		}
		return next.RoundTrip(req)
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }
