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

// Ensured is the result of an Ensure method.
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
// client take turns. To others it is an optimist: it creates, looks again, and
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

// Ensure returns the judge of the given name and agent. It creates the judge if
// there is none, and updates it if it differs from what req describes (see
// [JudgeCreate.AsUpdate]). It refuses what [JudgesService.Create] refuses.
//
// Calls of one client for the same judge take turns, so one of them creates it.
// Other clients may create it at the same time, since the service accepts
// several judges of a name: Ensure looks again after it has created one, and
// deletes its own if another came first, by the time of creation and then by
// id. A second judge remains if the list does not show new judges at once, or if
// the deletion fails. Ensure fails with [ErrAmbiguous] if it finds several, and
// changes none of them. Of different updates at the same time the last one wins.
//
// A creation without a response is searched for once. If it is not found, the
// error is [ErrOutcomeUnknown], and a later Ensure finds it. If an error occurs
// after the creation, the result is returned with it.
//
// It costs one request per 100 judges of the agent, one more to update the judge,
// and two more to create it. For many judges, list them once with
// [JudgesService.All] and compare them with [Judge.Diff].
//
//	API:    GET /projects/{project}/judges
//	Access: judges read
//	Status: assumed
func (s *JudgesService) Ensure(ctx context.Context, req JudgeCreate, opts ...RequestOption) (*Ensured[Judge], error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	update := req.AsUpdate()
	e := ensuring[Judge]{
		scope: s.scope(), list: api.JudgesList, kind: "judge", identity: req.AgentName + "\x00" + req.Name,
		items:  s.All(ctx, &JudgeListParams{AgentName: req.AgentName}, opts...),
		is:     func(j *Judge) bool { return j.Name == req.Name && (j.AgentName == req.AgentName || j.AgentName == "") },
		made:   func(j *Judge) (string, time.Time) { return j.ID, j.CreatedAt },
		diff:   func(j *Judge) []Change { return j.Diff(update) },
		create: func() (*Judge, error) { return s.Create(ctx, req, opts...) },
		update: func(id string) (*Judge, error) { return s.Update(ctx, id, update, opts...) },
		remove: func(id string) error { return s.Delete(ctx, id, opts...) },
	}
	return e.ensure(ctx)
}

// Ensure returns the budget of the given name. It creates the budget if there is
// none, and updates it if it differs from what req describes (see
// [BudgetCreate.AsUpdate]). It refuses what [BudgetsService.Create] refuses.
// What it promises to concurrent calls, its errors and its costs are those of
// [JudgesService.Ensure].
//
//	API:    GET /projects/{project}/budgets
//	Access: budgets read
//	Status: assumed
func (s *BudgetsService) Ensure(ctx context.Context, req BudgetCreate, opts ...RequestOption) (*Ensured[Budget], error) {
	if err := s.complete(&req); err != nil {
		return nil, err
	}
	update := req.AsUpdate()
	e := ensuring[Budget]{
		scope: s.scope(), list: api.BudgetsList, kind: "budget", identity: req.Name,
		items:  s.All(ctx, nil, opts...),
		is:     func(b *Budget) bool { return b.Name == req.Name },
		made:   func(b *Budget) (string, time.Time) { return b.ID, b.CreatedAt },
		diff:   func(b *Budget) []Change { return b.Diff(update) },
		create: func() (*Budget, error) { return s.Create(ctx, req, opts...) },
		update: func(id string) (*Budget, error) { return s.Update(ctx, id, update, opts...) },
		remove: func(id string) error { return s.Delete(ctx, id, opts...) },
	}
	return e.ensure(ctx)
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
