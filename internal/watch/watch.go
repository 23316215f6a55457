package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Kind describes a kind of work that can be waited for.
type Kind[T any] struct {
	Name  string // "run"
	ID    func(*T) string
	State func(*T) State
	// Get fetches one item. It is nil if there is only a list.
	Get func(ctx context.Context, id string, a Ask) (*T, error)
	// List returns the function that fetches a page of the list, given what was
	// last seen of each item that is waited for. It is nil if there is no list.
	List func(seen []*T) func(ctx context.Context, at Position, a Ask) (Page[T], error)
	// Partial reports whether the list omitted a field of an item that Get would
	// include.
	Partial func(*T) bool
	// Absent stands for an item that the list does not show. If it is nil, such
	// an item is missing.
	Absent func(id string) *T
	// Copy returns a copy that shares nothing with its argument.
	Copy func(*T) *T
}

// State is what a poll says of an item.
type State struct {
	Status, Phase string
	Done          bool
	Pause         bool // it ends the waits whose Terms say so
}

// An Ask is how one request of a poll is to be sent.
type Ask struct {
	Timeout time.Duration          // of an attempt; 0 means the usual
	Sending func() (landed func()) // see exchange.Caller
}

// A Position is where a page begins.
type Position struct {
	Offset int
	Cursor string
}

// A Page is what a list answers.
type Page[T any] struct {
	Items []*T
	Row   func(*T) string // identifies a row, where Kind.ID is something else
	Next  Position
	More  bool
}

// A Quota is the limiter as a watch sees it.
type Quota interface {
	Limits() Limits
	Reserve(places int)
}

// Limits are what a watch knows of the quota.
type Limits struct {
	Limit   int
	Window  time.Duration
	Waiting int
}

// A Verdict says what the error of a poll means for the waits.
type Verdict struct {
	Hopeless bool          // polling again cannot help
	Refused  bool          // an answer that would not change, if it is the service's
	Pause    time.Duration // that the service asked for
	List     ListVerdict   // if it was the list that failed
}

// A ListVerdict says how polls go on after the list failed.
type ListVerdict uint8

// The verdicts.
const (
	ListFailed  ListVerdict = iota // as any poll
	ListUseless                    // there is no list
	ListLater                      // fetch items one by one for a while
)

// A Config is what a watch needs of its client.
type Config struct {
	Quota   Quota
	Judge   func(error) Verdict
	Timeout time.Duration // of an attempt
	// Unlisted is the error of an item that the list does not show.
	Unlisted func(kind string) error
	// Limits assumed where the limiter has none.
	Assumed  Limits
	PageSize int
}

// Terms are the conditions of one wait.
type Terms struct {
	Initial, Max time.Duration // between polls
	Failures     int           // consecutive ones that end the wait; 0 means no limit
	Every        bool          // every poll is reported, not only the last
	StopAtPause  bool          // see State.Pause
}

func (c *Terms) grow(interval time.Duration) time.Duration {
	return min(time.Duration(float64(interval)*growth), c.Max)
}

const (
	growth = 1.5
	// missingFor is how long a refusal must persist before a wait ends.
	missingFor = 15 * time.Second
)

// failing tracks consecutive failed polls.
type failing struct {
	looks   int
	refused time.Time
}

// ends records a failed poll and reports whether the wait ends.
func (f *failing) ends(v Verdict, most int, now time.Time) bool {
	f.looks++
	switch {
	case !v.Refused:
		f.refused = time.Time{}
	case f.refused.IsZero():
		f.refused = now
	case now.Sub(f.refused) >= missingFor:
		return true
	}
	return v.Hopeless || most > 0 && f.looks >= most
}

// jitter lengthens d by up to a tenth, so that programs started together do not
// keep polling together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(d)/10) //nolint:gosec // spreads load, guards nothing
}

// A Watch polls everything of one kind that is waited for, on behalf of all
// waits. It has one goroutine while there are waits, and none otherwise. A poll
// is one list request per 100 items, and a single request for each item that
// the list does not show.
type Watch[T any] struct {
	kind Kind[T]
	Config

	mu       sync.Mutex
	things   map[string]*thing[T]
	waits    map[*Wait[T]]struct{}
	expected int // items about to be started and waited for
	begun    int // those whose start was sent
	running  bool
	cancel   context.CancelFunc // of the poll in progress
	wake     chan struct{}

	limits   Limits // as last seen
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
	wait   *Wait[T]
	thing  *thing[T]
	failed failing
	queued int // index+1 of its sighting in wait.ready; 0: none
}

// A Wait is the wait of one caller. It is guarded by the mutex of the watch.
type Wait[T any] struct {
	watch    *Watch[T]
	terms    Terms
	start    time.Time
	deadline time.Time     // zero if none
	gap      time.Duration // before the next poll; 0 if none
	due      time.Time
	polls    int
	order    []string
	parts    map[string]*part[T]
	ready    []Sighting[T]
	signal   chan struct{}
}

// New returns a Watch. It costs nothing while nothing is waited for.
func New[T any](kind Kind[T], c Config) *Watch[T] {
	return &Watch[T]{
		kind: kind, Config: c, things: make(map[string]*thing[T]), waits: make(map[*Wait[T]]struct{}), wake: make(chan struct{}, 1),
	}
}

// Join starts a wait for the items with the given ids. More can be added.
func (w *Watch[T]) Join(ctx context.Context, terms Terms, pauseFirst bool, ids ...string) *Wait[T] {
	return w.JoinKnown(ctx, terms, pauseFirst, nil, ids...)
}

// JoinKnown is Join for items of which something is known already.
func (w *Watch[T]) JoinKnown(ctx context.Context, terms Terms, pauseFirst bool, known *T, ids ...string) *Wait[T] {
	x := &Wait[T]{
		watch: w, terms: terms, start: time.Now(), signal: make(chan struct{}, 1),
		parts: make(map[string]*part[T], len(ids)),
	}
	x.deadline, _ = ctx.Deadline()
	x.due = x.start
	if pauseFirst {
		x.gap = terms.Initial
		x.due = x.start.Add(jitter(x.gap))
	}
	limits := w.Quota.Limits()
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

// More adds an item to a wait.
func (x *Wait[T]) More(id string) {
	w := x.watch
	w.mu.Lock()
	if soon := time.Now().Add(jitter(x.terms.Initial)); len(x.parts) == 0 || soon.Before(x.due) {
		x.gap, x.due = x.terms.Initial, soon
	}
	x.hasten()
	x.add([]string{id})
	places := w.reserve()
	w.mu.Unlock()
	w.tell(places)
}

func (x *Wait[T]) add(ids []string) {
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
func (x *Wait[T]) looked(now time.Time) {
	if x.due.After(now) { // this poll was due for another wait
		if next := now.Add(x.gap); next.After(x.due) {
			x.due = next
		}
	} else {
		if x.gap == 0 {
			x.gap = x.terms.Initial
		} else {
			x.gap = x.terms.grow(x.gap)
		}
		x.due = now.Add(jitter(x.gap))
	}
	x.hasten()
}

// poke makes the watch reconsider when to poll.
func (w *Watch[T]) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// hasten ensures a poll before the deadline.
func (x *Wait[T]) hasten() {
	if x.deadline.IsZero() {
		return
	}
	if last := x.deadline.Add(-lastLook); x.due.After(last) && time.Now().Before(last) {
		x.due = last
	}
}

// lastLook is how long before its deadline a wait polls once more.
const lastLook = time.Second

// Leave ends a wait. The last one cancels the poll in progress.
func (x *Wait[T]) Leave() {
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
func (w *Watch[T]) drop(p *part[T]) {
	delete(p.wait.parts, p.thing.id)
	p.thing.parts = slices.DeleteFunc(p.thing.parts, func(other *part[T]) bool { return other == p })
	if len(p.thing.parts) == 0 && w.things[p.thing.id] == p.thing {
		delete(w.things, p.thing.id)
	}
}

// Expect reserves slots for polls of items that are about to be started, and of
// those that have begun. kept reports that the limiter has just reserved a slot
// itself (Admission.Follow).
func (w *Watch[T]) Expect(n, begun int, kept bool) {
	limits := w.Quota.Limits()
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

// stopped returns what a wait that ends before its items leaves.
func (x *Wait[T]) stopped(err error) *Pending {
	x.watch.mu.Lock()
	defer x.watch.mu.Unlock()
	return x.pending(err)
}

func (x *Wait[T]) pending(err error) *Pending {
	e := &Pending{Polls: x.polls, Err: err}
	for _, id := range x.order {
		if x.parts[id] != nil {
			e.IDs = append(e.IDs, id)
		}
	}
	if len(e.IDs) > 0 {
		e.LastStatus = x.watch.lastStatus(x.parts[e.IDs[0]].thing)
	}
	return e
}

func (w *Watch[T]) lastStatus(t *thing[T]) string {
	if t.seen == nil {
		return ""
	}
	return w.kind.State(t.seen).Status
}

// Pending is how a wait ended before its items did.
type Pending struct {
	IDs        []string
	LastStatus string // of the first
	Polls      int
	Err        error
}

func (p *Pending) Error() string { return p.Err.Error() }
func (p *Pending) Unwrap() error { return p.Err }

// ErrPanicked ends the waits whose poll panicked in code of the user.
var ErrPanicked = errors.New("connic: the poll panicked")

// Idle reports whether nothing is waited for, or about to be.
func (w *Watch[T]) Idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waits) == 0 && w.expected == 0 && !w.running
}
