package connic

import (
	"context"
	"sync"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/route"
)

// watches holds the watches of a client, one for each kind of work and each
// list.
type watches struct {
	mu   sync.Mutex
	of   map[watchKey]interface{ Idle() bool }
	many int // from which number on the idle ones are dropped; 0 means maxIdle
}

// watchKey identifies a watch by what it looks at: for evaluations, those of one
// judge.
type watchKey struct{ kind, scope string }

// maxIdle is the least number of watches at which idle ones are dropped. An idle
// watch has no goroutine, and is kept for what it knows about the list.
const maxIdle = 64

// watchOf returns the client's shared watch for a kind of work, or a new one for
// a wait with request options.
func watchOf[T any](c *scope, conf *waitConfig, scope string, kind watchKind[T]) *watch[T] {
	if len(conf.request) > 0 {
		return newWatch(c, kind, conf.request)
	}
	all := &c.watches
	all.mu.Lock()
	defer all.mu.Unlock()
	key := watchKey{kind.name, scope}
	if w, ok := all.of[key].(*watch[T]); ok {
		return w
	}
	if len(all.of) >= max(all.many, maxIdle) {
		for key, w := range all.of {
			if w.Idle() {
				delete(all.of, key)
			}
		}
		all.many = 2 * len(all.of)
	}
	if all.of == nil {
		all.of = make(map[watchKey]interface{ Idle() bool })
	}
	w := newWatch(c, kind, nil)
	all.of[key] = w
	return w
}

// checkWait checks the arguments of a wait.
func (c *scope) checkWait(ctx context.Context, op, kind, id string) error {
	if ctx == nil {
		return &ArgumentError{Op: op, Arg: "context", Reason: "is nil"}
	}
	if reason := route.Check(id); reason != "" {
		return &ArgumentError{Op: op, Arg: kind + " id", Reason: reason}
	}
	return c.made(op)
}

// outcome is work that has ended, well or badly.
type outcome[T any] interface {
	*T
	failure() error
}

// waitFor waits for one item. It returns known if it saw none, and the error of
// one that ended badly.
func waitFor[T any, P outcome[T]](ctx context.Context, w *watch[T], conf waitConfig, op api.Op, id string, known P) (P, error) {
	if err := w.client.checkWait(ctx, api.Table[op].Name, w.kind.name, id); err != nil {
		return known, err
	}
	return ended(w.client, known)(w.join(ctx, conf, false, id).one(ctx))
}

// ended returns what a single wait saw, or known, and the error of work that
// ended badly.
func ended[T any, P outcome[T]](c *scope, known P) func(*T, error) (P, error) {
	return func(value *T, err error) (P, error) {
		switch {
		case value == nil:
			return known, err
		case err == nil:
			err = c.hide(P(value).failure())
		}
		return value, err
	}
}
