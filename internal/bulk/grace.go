package bulk

import (
	"context"
	"sync"
	"time"
)

// A Grace is a context that outlives another one by a time if a request was sent
// before that one ended, so that its response is read.
type Grace struct {
	context.Context
	of      context.Context
	cancel  context.CancelCauseFunc
	forget  func() bool
	mu      sync.Mutex
	begun   bool
	more    time.Duration
	expires *time.Timer
}

// NewGrace returns a Grace. It must be stopped.
func NewGrace(ctx context.Context, more time.Duration) *Grace {
	g := &Grace{of: ctx, more: more}
	g.Context, g.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	g.forget = context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.begun {
			g.cancel(contextError(ctx))
			return
		}
		g.expires = time.AfterFunc(g.more, func() { g.cancel(contextError(ctx)) })
	})
	return g
}

// Begin is called when a request is about to be sent.
func (g *Grace) Begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of.Err() != nil { // a repeated one
		g.cancel(contextError(g.of))
	}
	g.begun = true
}

// Stop ends the context.
func (g *Grace) Stop() {
	g.forget()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.expires != nil {
		g.expires.Stop()
	}
	g.cancel(nil)
}

// Deadline implements [context.Context].
func (g *Grace) Deadline() (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	end, ok := g.of.Deadline()
	if ok && g.begun {
		end = end.Add(g.more)
	}
	return end, ok
}
