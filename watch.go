package connic

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// watchKind describes a kind of work that can be waited for.
type watchKind[T any] struct {
	name  string // "run"
	id    func(*T) string
	state func(*T) waitState
	// get fetches one item. It is nil if there is only a list.
	get func(ctx context.Context, id string, opts []RequestOption) (*T, error)
	// list returns the start of the list, given what was last seen of each item
	// that is waited for (nil if it was not), and the function that fetches a
	// page. It is nil if there is no list.
	list func(seen []*T) (listing[T], pageFunc[T])
	// partial reports whether the list omitted a field of an item that get
	// would include.
	partial func(*T) bool
	// absent stands for an item that the list does not show. If it is nil, such
	// an item is missing.
	absent func(id string) *T
	// show stores a value in an event.
	show func(*WaitEvent, *T)
}

// pageFunc fetches a page of a list.
type pageFunc[T any] func(ctx context.Context, l *listing[T], opts []RequestOption) (*Page[T], error)

// watch polls everything of one kind that is waited for, on behalf of all
// waits. It has one goroutine while there are waits, and none otherwise. A poll
// is one list request per 100 items, and a single request for each item that
// the list does not show.
type watch[T any] struct {
	kind   watchKind[T]
	client *Client
	opts   []RequestOption

	mu       sync.Mutex
	things   map[string]*thing[T]
	waits    map[*wait[T]]struct{}
	expected int // items about to be started and waited for
	begun    int // those whose start was sent
	running  bool
	cancel   context.CancelFunc // of the poll in progress
	wake     chan struct{}

	limits   RateLimitStatus // as last seen
	listing  listState
	probed   bool      // the list was requested
	relist   time.Time // when to retry a list that could not be decoded
	pages    int       // of the last list
	last     time.Time // when the last poll ended
	cost     int       // its requests
	spent    []time.Time
	reserved int // slots reserved at the limiter

	// See ask.
	took    time.Duration // of the last response
	hedging atomic.Bool

	looks int    // in the list
	top   string // the first item of the last list
}

// listState is what is known about the list operation.
type listState uint8

const (
	listUnknown listState = iota
	listWorks
	listRefused
)

// thing is an item that is waited for.
type thing[T any] struct {
	id    string
	parts []*part[T]
	seen  *T        // as last seen, or nil
	asked time.Time // when it was last fetched by its id

	look   int  // the last look in the list that began while it was waited for
	listed bool // the list has shown it
	sought bool // the list was searched for it in vain, and never showed it
}

// part is the share that one wait has in an item.
type part[T any] struct {
	wait   *wait[T]
	thing  *thing[T]
	failed failing
	queued int // index+1 of its sighting in wait.ready; 0: none
}

// wait is the wait of one caller. It is guarded by the mutex of the watch.
type wait[T any] struct {
	watch    *watch[T]
	conf     waitConfig
	start    time.Time
	deadline time.Time     // zero if none
	gap      time.Duration // before the next poll; 0 if none
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

// join starts a wait for the items with the given ids. More can be added.
func (w *watch[T]) join(ctx context.Context, conf waitConfig, pauseFirst bool, ids ...string) *wait[T] {
	return w.joinKnown(ctx, conf, pauseFirst, nil, ids...)
}

// joinKnown is join for items of which something is known already.
func (w *watch[T]) joinKnown(ctx context.Context, conf waitConfig, pauseFirst bool, known *T, ids ...string) *wait[T] {
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
	for _, id := range ids {
		if t := w.things[id]; t.seen == nil {
			t.seen = known
		}
	}
	places := w.reserve()
	w.mu.Unlock()
	w.tell(places)
	return x
}

// more adds an item to a wait.
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

// looked sets the time of the next poll after one that covered the wait.
func (x *wait[T]) looked(now time.Time) {
	if x.due.After(now) { // this poll was due for another wait
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

// poke makes the watch reconsider when to poll.
func (w *watch[T]) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// hasten ensures a poll before the deadline.
func (x *wait[T]) hasten() {
	if x.deadline.IsZero() {
		return
	}
	if last := x.deadline.Add(-lastLook); x.due.After(last) && time.Now().Before(last) {
		x.due = last
	}
}

// lastLook is how long before its deadline a wait polls once more.
const lastLook = time.Second

// leave ends a wait. The last one cancels the poll in progress.
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

// drop removes a part from its wait and its item.
func (w *watch[T]) drop(p *part[T]) {
	delete(p.wait.parts, p.thing.id)
	p.thing.parts = slices.DeleteFunc(p.thing.parts, func(other *part[T]) bool { return other == p })
	if len(p.thing.parts) == 0 && w.things[p.thing.id] == p.thing {
		delete(w.things, p.thing.id)
	}
}

// expect reserves slots for polls of items that are about to be started, and of
// those that have begun. kept reports that the limiter has just reserved a slot
// itself (Admission.Follow).
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

// stopped returns the error of a wait that ends before its items.
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

// errPanicked ends the waits whose poll panicked in code of the user.
var errPanicked = errors.New("connic: the poll panicked")
