// Package grace has the context of a request whose response is read even if its
// caller has gone: it says what was started.
package grace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Context outlives another one by a time if a request was sent before that one
// ended.
type Context struct {
	context.Context
	of      context.Context
	cancel  context.CancelCauseFunc
	forget  func() bool
	mu      sync.Mutex
	begun   bool
	more    time.Duration
	expires *time.Timer
}

// New returns a Context. It must be stopped.
func New(ctx context.Context, more time.Duration) *Context {
	g := &Context{of: ctx, more: more}
	g.Context, g.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	g.forget = context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.begun {
			g.cancel(Err(ctx))
			return
		}
		g.expires = time.AfterFunc(g.more, func() { g.cancel(Err(ctx)) })
	})
	return g
}

// Err returns the error of a context that ended, with its cause.
func Err(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Begin is called when a request is about to be sent.
func (g *Context) Begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of.Err() != nil { // a repeated one
		g.cancel(Err(g.of))
	}
	g.begun = true
}

// Stop ends the context.
func (g *Context) Stop() {
	g.forget()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.expires != nil {
		g.expires.Stop()
	}
	g.cancel(nil)
}

// Deadline implements [context.Context].
func (g *Context) Deadline() (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	end, ok := g.of.Deadline()
	if ok && g.begun {
		end = end.Add(g.more)
	}
	return end, ok
}
