package connic

import "context"

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
	if f := k.client.callContext; f != nil {
		if ctx := f(k.Context, operation(k.op, k.exchange.Class)); ctx != nil {
			k.Context = ctx
		}
	}
}
