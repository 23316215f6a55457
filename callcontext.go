package connic

import "context"

// WithCallContext lets f give each call a context of its own, derived from the
// caller's: with a span in it, or other values that observers and transports look
// for. F is called once per call, on its goroutine, before the first attempt
// stands in line; what it returns is the context of every [Event], and the parent
// of that of every request. Given twice, the functions are applied in turn.
//
// A call that is refused for its arguments never gets that far.
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

// derive replaces the call's context with the one that WithCallContext makes.
func (k *call) derive() {
	if f := k.client.callContext; f != nil {
		if ctx := f(k.Context, operation(k.op, k.class)); ctx != nil {
			k.Context = ctx
		}
	}
}
