package connic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// ErrAmbiguous is returned by Ensure if several items have the name.
const ErrAmbiguous = sentinel("connic: several items have the name")

// Ensured is the result of an Ensure method, such as [JudgesService.Ensure]: an
// item that was found, changed or created.
//
// Calls of one client for the same item take turns, so one of them creates it.
// Other clients may create it at the same time, because the service accepts
// several items of a name: Ensure looks again after it has created one, and
// deletes its own if another came first, by the time of creation and then by id.
// A second item remains if the list does not show new items at once, or if the
// deletion fails. If Ensure finds several, it fails with [ErrAmbiguous] and
// changes none; this may also happen while another client is about to delete
// its own. Of different updates at the same time the last one wins.
//
// A creation whose response is lost is searched for once. If it is not found,
// the error is [ErrOutcomeUnknown], and a later Ensure finds it. If an error
// occurs after the creation, the result is returned with it.
type Ensured[T any] struct {
	Item    *T       `json:"item"`              // as it is now
	Created bool     `json:"created"`           // there was none of the name
	Changes []Change `json:"changes,omitempty"` // that were made; of an item that existed
}

// ensuring says how an item that has a name is made what is wanted.
type ensuring[T any] struct {
	scope    *scope
	list     api.Op // the operation
	kind     string // "judge"
	identity string // unique among the items of the kind
	items    iter.Seq2[*T, error]
	is       func(*T) bool // it has the identity
	made     func(*T) (id string, at time.Time)
	diff     func(*T) []Change
	create   func() (*T, error)
	update   func(id string) (*T, error)
	remove   func(id string) error
}

// ensure returns the item as it is wanted. Calls with the same identity in one
// client take turns. Towards other clients it is optimistic: it creates, looks again, and
// removes what it has created unless that came first.
func (e *ensuring[T]) ensure(ctx context.Context) (*Ensured[T], error) {
	leave, err := e.scope.turns.take(ctx, e.kind+"\x00"+e.identity)
	if err != nil {
		return nil, &TransportError{Op: api.Table[e.list].Name, Method: api.Table[e.list].Method, Err: err}
	}
	defer leave()
	found, err := e.find()
	switch {
	case err != nil:
		return nil, err
	case len(found) > 0:
		return e.settle(found)
	}
	own, err := e.create()
	if err != nil && !errors.Is(err, ErrOutcomeUnknown) {
		return nil, err
	}
	found, lookErr := e.find()
	if err != nil {
		if lookErr != nil || len(found) == 0 {
			return nil, err // it may still be executed
		}
		result, err := e.settle(found)
		if result == nil && len(found) == 1 {
			result = &Ensured[T]{Item: found[0]}
		}
		if result != nil {
			result.Created = true
		}
		return result, err
	}
	if lookErr != nil {
		return &Ensured[T]{Item: own, Created: true}, lookErr
	}
	ownID, _ := e.made(own)
	first := own
	for _, other := range found {
		if e.before(other, first) {
			first = other
		}
	}
	firstID, _ := e.made(first)
	if firstID == ownID {
		return &Ensured[T]{Item: own, Created: true}, nil
	}
	if err := e.remove(ownID); err != nil && !errors.Is(err, ErrNotFound) {
		return &Ensured[T]{Item: own, Created: true}, err
	}
	return e.settle([]*T{first})
}

// find returns the items that have the identity.
func (e *ensuring[T]) find() (found []*T, err error) {
	for item, err := range e.items {
		if err != nil {
			return nil, err
		}
		if e.is(item) {
			found = append(found, item)
		}
	}
	return found, nil
}

// before reports whether a was created before b.
func (e *ensuring[T]) before(a, b *T) bool {
	aID, aAt := e.made(a)
	bID, bAt := e.made(b)
	if !aAt.IsZero() && !bAt.IsZero() && !aAt.Equal(bAt) {
		return aAt.Before(bAt)
	}
	return cmp.Less(aID, bID)
}

// settle changes the only item that was found, if it differs.
func (e *ensuring[T]) settle(found []*T) (*Ensured[T], error) {
	if len(found) > 1 {
		ids := make([]string, len(found))
		for i, item := range found {
			ids[i], _ = e.made(item)
		}
		slices.Sort(ids)
		return nil, fmt.Errorf("connic: ensuring a %s: %w: %s", e.kind, ErrAmbiguous, e.scope.mask().Line(strings.Join(ids, ", "), maxDetail))
	}
	changes := e.diff(found[0])
	if len(changes) == 0 {
		return &Ensured[T]{Item: found[0]}, nil
	}
	id, _ := e.made(found[0])
	item, err := e.update(id)
	if err != nil {
		return nil, err
	}
	return &Ensured[T]{Item: item, Changes: changes}, nil
}

// turns lets calls with the same key go one after the other.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	taken  chan struct{} // holds a value while the turn is taken
	wanted int
}

// longestTurn bounds the wait for a turn: code of the user's that is called
// during one may want the same.
const longestTurn = time.Minute

// take waits for the turn of a key. It fails if ctx ends first, and goes ahead
// without the turn after longestTurn.
func (t *turns) take(ctx context.Context, key string) (leave func(), err error) {
	if ctx == nil {
		return func() {}, nil // the call that follows refuses it
	}
	t.mu.Lock()
	if t.of == nil {
		t.of = make(map[string]*turn)
	}
	own := t.of[key]
	if own == nil {
		own = &turn{taken: make(chan struct{}, 1)}
		t.of[key] = own
	}
	own.wanted++
	t.mu.Unlock()
	leave = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.wanted--; own.wanted == 0 {
			delete(t.of, key)
		}
	}
	timer := time.NewTimer(longestTurn)
	defer timer.Stop()
	select {
	case own.taken <- struct{}{}:
		without := leave
		return func() { <-own.taken; without() }, nil
	case <-timer.C:
		return leave, nil
	case <-ctx.Done():
		leave()
		return nil, contextError(ctx)
	}
}
