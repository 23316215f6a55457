package connic

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// watchKind describes things of one kind that are waited for.
type watchKind[T any] struct {
	name  string // "run"
	id    func(*T) string
	state func(*T) waitState
	// get fetches one. Nil: there is only a list.
	get func(ctx context.Context, id string, opts []RequestOption) (*T, error)
	// list goes through the list from its beginning: each call of next is one
	// request and returns a page, nil after the last one. Nil: there is no list.
	list func(seen []*T, opts []RequestOption) (next func(context.Context) ([]*T, error))
	// partial reports whether the list left out of an item what get would show.
	partial func(*T) bool
	// show puts a value into an event.
	show func(*WaitEvent, *T)
}

// watch looks at everything of one kind that is waited for, for all who wait. It
// has one goroutine while somebody waits, and none else. A look is one list
// request per 100 things, and a single request for what the list does not show.
type watch[T any] struct {
	kind   watchKind[T]
	client *Client
	opts   []RequestOption

	mu       sync.Mutex
	things   map[string]*thing[T]
	waits    map[*wait[T]]struct{}
	expected int // things that are about to be started, to be waited for
	begun    int // those of them whose start was sent
	running  bool
	cancel   context.CancelFunc // of the look under way
	wake     chan struct{}

	limits   RateLimitStatus // as last seen
	listing  listState
	probed   bool      // the list was asked for
	relist   time.Time // when to try a list again that could not be decoded
	pages    int       // of the last list
	last     time.Time // when the last look ended
	cost     int       // its requests
	spent    []time.Time
	reserved int // places kept at the limiter
}

// listState is what is known of the list operation.
type listState uint8

const (
	listUnknown listState = iota
	listWorks
	listRefused
)

// thing is something that is waited for.
type thing[T any] struct {
	id    string
	parts []*part[T]
	seen  *T        // as last seen, nil if never
	asked time.Time // when it was last asked for by its id
}

// part is a thing of a wait.
type part[T any] struct {
	wait   *wait[T]
	thing  *thing[T]
	failed failing
	queued int // index+1 of its sighting in wait.ready; 0: none
}

// wait is what one caller waits for. The watch's mutex guards it.
type wait[T any] struct {
	watch    *watch[T]
	conf     waitConfig
	start    time.Time
	deadline time.Time     // zero: none
	gap      time.Duration // before the next look; 0: none
	due      time.Time
	polls    int
	order    []string
	parts    map[string]*part[T]
	ready    []sighting[T]
	signal   chan struct{}
}

func newWatch[T any](c *Client, kind watchKind[T], opts []RequestOption) *watch[T] {
	return &watch[T]{
		kind: kind, client: c, opts: opts, things: make(map[string]*thing[T]), waits: make(map[*wait[T]]struct{}),
		wake: make(chan struct{}, 1),
	}
}

// join begins a wait for the things of the ids. More can be added.
func (w *watch[T]) join(ctx context.Context, conf waitConfig, pauseFirst bool, ids ...string) *wait[T] {
	x := &wait[T]{
		watch: w, conf: conf, start: time.Now(), signal: make(chan struct{}, 1),
		parts: make(map[string]*part[T], len(ids)),
	}
	x.deadline, _ = ctx.Deadline()
	x.due = x.start
	if pauseFirst {
		x.gap = conf.initial
		x.due = x.start.Add(jitter(x.gap))
	}
	limits := w.client.limiter.Status()
	w.mu.Lock()
	w.limits = limits
	w.waits[x] = struct{}{}
	x.hasten()
	x.add(ids)
	places := w.reserve()
	w.mu.Unlock()
	w.tell(places)
	return x
}

// more adds things to a wait.
func (x *wait[T]) more(id string) {
	w := x.watch
	w.mu.Lock()
	if soon := time.Now().Add(jitter(x.conf.initial)); len(x.parts) == 0 || soon.Before(x.due) {
		x.gap, x.due = x.conf.initial, soon
	}
	x.hasten()
	x.add([]string{id})
	places := w.reserve()
	w.mu.Unlock()
	w.tell(places)
}

func (x *wait[T]) add(ids []string) {
	w := x.watch
	if len(x.order) > 2*len(x.parts)+16 {
		x.order = slices.DeleteFunc(x.order, func(id string) bool { return x.parts[id] == nil })
	}
	for _, id := range ids {
		if _, twice := x.parts[id]; twice {
			continue
		}
		t := w.things[id]
		if t == nil {
			t = &thing[T]{id: id}
			w.things[id] = t
		}
		p := &part[T]{wait: x, thing: t}
		t.parts = append(t.parts, p)
		x.parts[id] = p
		x.order = append(x.order, id)
	}
	if len(w.things) > 0 && !w.running {
		w.running = true
		go w.run()
	}
	w.poke()
}

// looked sets the time of the next look after one that covered the wait.
func (x *wait[T]) looked(now time.Time) {
	if x.due.After(now) { // it was another's turn
		if next := now.Add(x.gap); next.After(x.due) {
			x.due = next
		}
	} else {
		if x.gap == 0 {
			x.gap = x.conf.initial
		} else {
			x.gap = x.conf.grow(x.gap)
		}
		x.due = now.Add(jitter(x.gap))
	}
	x.hasten()
}

// poke lets the watch think again about when to look.
func (w *watch[T]) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// hasten makes sure of a look before the deadline.
func (x *wait[T]) hasten() {
	if x.deadline.IsZero() {
		return
	}
	if last := x.deadline.Add(-lastLook); x.due.After(last) && time.Now().Before(last) {
		x.due = last
	}
}

// lastLook is how long before its deadline a wait looks once more.
const lastLook = time.Second

// leave ends a wait. The last one stops the look under way.
func (x *wait[T]) leave() {
	w := x.watch
	w.mu.Lock()
	for _, p := range x.parts {
		w.drop(p)
	}
	delete(w.waits, x)
	if len(w.things) == 0 && w.cancel != nil {
		w.cancel()
	}
	places := w.reserve()
	w.poke()
	w.mu.Unlock()
	w.tell(places)
}

// drop takes a part out of its wait and its thing.
func (w *watch[T]) drop(p *part[T]) {
	delete(p.wait.parts, p.thing.id)
	p.thing.parts = slices.DeleteFunc(p.thing.parts, func(other *part[T]) bool { return other == p })
	if len(p.thing.parts) == 0 && w.things[p.thing.id] == p.thing {
		delete(w.things, p.thing.id)
	}
}

// expect keeps places for the looks at things that are about to be started, and
// for those of them that have begun. Kept says that the limiter has just kept a
// place by itself (Admission.Follow).
func (w *watch[T]) expect(n, begun int, kept bool) {
	limits := w.client.limiter.Status()
	w.mu.Lock()
	w.limits = limits
	w.expected += n
	w.begun += begun
	if kept {
		w.reserved++
	}
	places := w.reserve()
	w.mu.Unlock()
	w.tell(places)
}

// stopped is the error of a wait that ends before its things.
func (x *wait[T]) stopped(err error) *WaitError {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return x.pending(err)
}

func (x *wait[T]) pending(err error) *WaitError {
	e := &WaitError{Kind: x.watch.kind.name, Polls: x.polls, Err: err}
	for _, id := range x.order {
		if x.parts[id] != nil {
			e.Pending = append(e.Pending, id)
		}
	}
	if len(e.Pending) > 0 {
		e.ID = e.Pending[0]
		e.LastStatus = mask.Line(x.watch.lastStatus(x.parts[e.ID].thing), maxID)
	}
	return e
}

func (w *watch[T]) lastStatus(t *thing[T]) string {
	if t.seen == nil {
		return ""
	}
	return mask.Text(w.kind.state(t.seen).status)
}

// one waits for one thing. It returns it as it was last seen, nil if it never was,
// and a *WaitError unless it ended.
func (x *wait[T]) one(ctx context.Context) (value *T, err error) {
	defer x.leave()
	for {
		ended := false
		select {
		case <-x.signal:
		case <-ctx.Done():
			ended = true
		}
		for _, s := range x.take() {
			if s.value != nil {
				value = s.value
			}
			x.conf.report(s.event)
			if s.done || s.err != nil {
				return value, s.err
			}
		}
		if ended {
			return x.last(value), x.stopped(contextError(ctx))
		}
	}
}

// last is the thing of a wait for one as it was last seen.
func (x *wait[T]) last(value *T) *T {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	for _, p := range x.parts {
		if p.thing.seen != nil {
			value = p.thing.seen
		}
	}
	return value
}

// all waits for the things of a wait, and those of more if it is not nil, and
// yields each as it ends. Closed is closed when no more come.
func (x *wait[T]) all(ctx context.Context, more <-chan string, check func(string) error, failure func(*T) error, yield func(*T, error) bool) {
	defer x.leave()
	for {
		ended := false
		if more == nil && x.empty() {
			return
		}
		select {
		case <-x.signal:
		case id, open := <-more:
			switch {
			case !open:
				more = nil
			case check(id) != nil:
				if !yield(nil, check(id)) {
					return
				}
			default:
				x.more(id)
			}
		case <-ctx.Done():
			ended = true
		}
		for _, s := range x.take() {
			x.conf.report(s.event)
			switch {
			case s.err != nil:
				if !yield(s.value, s.err) || s.all {
					return
				}
			case s.done:
				if !yield(s.value, failure(s.value)) {
					return
				}
			}
		}
		if ended {
			if !x.empty() || more != nil {
				yield(nil, x.stopped(contextError(ctx)))
			}
			return
		}
	}
}

// empty reports whether everything has ended and was taken.
func (x *wait[T]) empty() bool {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return len(x.parts) == 0 && len(x.ready) == 0
}

// errPanicked ends the waits whose look panicked in code of the user's.
var errPanicked = errors.New("connic: the look panicked")
