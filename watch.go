package connic

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/list"
	"github.com/connic-go/connic/internal/mask"
	polling "github.com/connic-go/connic/internal/watch"
)

// watchKind describes a kind of work that can be waited for.
type watchKind[T any] struct {
	name    string // "run"
	id      func(*T) string
	state   func(*T) waitState
	get     func(ctx context.Context, id string, opts []RequestOption) (*T, error)
	list    func(seen []*T) listing[T]
	partial func(*T) bool
	absent  func(id string) *T
	// show stores a value in an event.
	show func(*WaitEvent, *T)
}

// watch is a shared poll of one kind of work.
type watch[T any] struct {
	*polling.Watch[T]
	kind   watchKind[T]
	client *scope
}

// wait is the wait of one caller.
type wait[T any] struct {
	*polling.Wait[T]
	watch *watch[T]
	conf  waitConfig
}

// asked returns the options of one request of a poll.
func asked(a polling.Ask, opts []RequestOption) []RequestOption {
	own := func(o *callOptions) { o.sent = a.Sending }
	all := append([]RequestOption{own}, opts...)
	if a.Timeout > 0 {
		all = append(all, nil)
		copy(all[1:], all)
		all[0] = WithAttemptTimeout(a.Timeout)
	}
	return all
}

func newWatch[T any](c *scope, kind watchKind[T], opts []RequestOption) *watch[T] {
	k := polling.Kind[T]{
		Name: kind.name, ID: kind.id, Partial: kind.partial, Absent: kind.absent,
		State: func(v *T) polling.State {
			s := kind.state(v)
			return polling.State{Status: s.status, Phase: s.phase, Done: s.done, Pause: s.status == string(RunAwaitingApproval)}
		},
		Copy: func(v *T) *T { own := *v; return &own },
	}
	if kind.get != nil {
		k.Get = func(ctx context.Context, id string, a polling.Ask) (*T, error) {
			return kind.get(ctx, id, asked(a, opts))
		}
	}
	if kind.list != nil {
		k.List = func(seen []*T) func(context.Context, polling.Position, polling.Ask) (polling.Page[T], error) {
			l := kind.list(seen)
			l.request.lane = LanePoll
			return func(ctx context.Context, at polling.Position, a polling.Ask) (polling.Page[T], error) {
				p, err := l.fetch(ctx, list.Position(at), asked(a, opts))
				if err != nil {
					return polling.Page[T]{}, err
				}
				return polling.Page[T]{Items: p.Items, Row: l.id, More: p.HasNext(), Next: polling.Position{Offset: at.Offset + len(p.Items), Cursor: p.NextCursor}}, nil
			}
		}
	}
	return &watch[T]{kind: kind, client: c, Watch: polling.New(k, polling.Config{
		Quota: quota{c.limiter}, Judge: c.verdict, Timeout: c.timeout, PageSize: pageLimit,
		Assumed: polling.Limits{Limit: defaultQuota, Window: defaultWindow},
		Unlisted: func(kind string) error {
			return fmt.Errorf("connic: %w: the list does not show the %s", ErrNotFound, kind)
		},
	})}
}

// quota is the limiter as a watch sees it.
type quota struct{ limiter Limiter }

func (q quota) Limits() polling.Limits {
	s := q.limiter.Status()
	return polling.Limits{Limit: s.Limit, Window: s.Window, Waiting: s.Waiting}
}

func (q quota) Reserve(places int) {
	if r, ok := q.limiter.(Reserver); ok {
		r.Reserve(places)
	}
}

// verdict says what the error of a poll means for the waits.
func (c *core) verdict(err error) (v polling.Verdict) {
	v.Hopeless, v.Refused = hopeless(err), refuses(err)
	var answer *Error
	var decode *DecodeError
	if errors.As(err, &answer) {
		v.Pause = min(answer.RetryAfter, c.retry.MaxRetryAfter)
		switch status := answer.StatusCode; {
		case status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
			v.List = polling.ListUseless
		case exchange.IsFinal(status) && status != http.StatusUnauthorized:
			v.List = polling.ListLater
		}
	} else if errors.As(err, &decode) {
		v.List = polling.ListLater
	}
	return v
}

func (c *waitConfig) terms() polling.Terms {
	return polling.Terms{Initial: c.initial, Max: c.max, Failures: c.failures, Every: c.progress != nil, StopAtPause: c.stopAtApproval}
}

func (w *watch[T]) join(ctx context.Context, conf waitConfig, pauseFirst bool, ids ...string) *wait[T] {
	return w.joinKnown(ctx, conf, pauseFirst, nil, ids...)
}

func (w *watch[T]) joinKnown(ctx context.Context, conf waitConfig, pauseFirst bool, known *T, ids ...string) *wait[T] {
	return &wait[T]{w.JoinKnown(ctx, conf.terms(), pauseFirst, known, ids...), w, conf}
}

func (w *watch[T]) expect(n, begun int, kept bool) { w.Expect(n, begun, kept) }

// report tells the progress of a wait.
func (x *wait[T]) report(s *polling.Sighting[T]) {
	if x.conf.progress == nil {
		return
	}
	e := WaitEvent{
		Kind: x.watch.kind.name, ID: s.ID, Status: s.State.Status, Phase: s.State.Phase, Done: s.Done,
		Polls: s.Polls, After: s.After, Next: s.Next, Err: s.Err,
	}
	if x.watch.kind.show != nil && s.Value != nil {
		x.watch.kind.show(&e, s.Value)
	}
	x.conf.progress(e)
}

// failed returns the error of a wait that ended before its work did.
func (x *wait[T]) failed(p *polling.Pending) error {
	if p == nil {
		return nil
	}
	e := &WaitError{Kind: x.watch.kind.name, Pending: p.IDs, Polls: p.Polls, Err: p.Err, LastStatus: x.watch.client.mask().Text(p.LastStatus)}
	e.LastStatus = mask.Line(e.LastStatus, maxID)
	if len(p.IDs) > 0 {
		e.ID = p.IDs[0]
	}
	return e
}

// one waits for one item. It returns the item as last seen, or nil, and a
// *WaitError unless it has ended.
func (x *wait[T]) one(ctx context.Context) (value *T, err error) {
	defer x.Leave()
	for {
		seen, _, _, ended := x.Next(ctx, nil)
		for i := range seen {
			s := &seen[i]
			if s.Own != nil {
				value = s.Own
			}
			x.report(s)
			if s.Done || s.Ended != nil {
				return value, x.failed(s.Ended)
			}
		}
		if ended != nil {
			if last := x.Last(); last != nil {
				value = last
			}
			return value, x.failed(ended)
		}
	}
}

// all waits for the things of a wait, and those of more if it is not nil, and
// yields each as it ends.
func (x *wait[T]) all(ctx context.Context, more <-chan string, check func(string) error, failure func(*T) error, yield func(*T, error) bool) {
	defer x.Leave()
	for {
		if more == nil && x.Empty() {
			return
		}
		seen, id, open, ended := x.Next(ctx, more)
		switch {
		case !open:
			more = nil
		case id == nil:
		case check(*id) != nil:
			if !yield(nil, check(*id)) {
				return
			}
		default:
			x.More(*id)
		}
		for i := range seen {
			s := &seen[i]
			x.report(s)
			switch {
			case s.Ended != nil:
				if !yield(s.Own, x.failed(s.Ended)) || s.All {
					return
				}
			case s.Done:
				if !yield(s.Own, x.watch.client.hide(failure(s.Own))) {
					return
				}
			}
		}
		if ended != nil {
			if !x.Empty() || more != nil {
				yield(nil, x.failed(ended))
			}
			return
		}
	}
}

var errPanicked = polling.ErrPanicked
