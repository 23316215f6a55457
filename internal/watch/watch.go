// Package watch polls for everything of one kind that is waited for, on behalf
// of all waits. It knows neither what it polls for, nor clients and limiters.
package watch

import (
	"context"
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
	// List returns the function that fetches a page of the list, newest first,
	// given what was last seen of each item to look for (nil: nothing). It is
	// nil if there is no list.
	List func(last []*T) func(ctx context.Context, at Position, a Ask) (Page[T], error)
	// Partial reports whether the list omitted a field of an item that Get would
	// include.
	Partial func(*T) bool
	// Absent stands for an item that the list does not show. If it is nil, such
	// an item is missing.
	Absent func(id string) *T
	// Copy returns a copy that shares no memory with its argument.
	Copy func(*T) *T
}

// State is what a response says of an item.
type State struct {
	Status, Phase string
	Done          bool
	Pause         bool // nothing changes soon; ends the waits whose Terms say so
}

// Ask is how one request of a poll is to be sent.
type Ask struct {
	Timeout time.Duration          // of an attempt; 0 means the usual
	Sending func() (landed func()) // see exchange.Caller; nil if not needed
}

// A Position is where a page begins.
type Position struct {
	Offset int
	Cursor string
}

// A Page is a page of a list.
type Page[T any] struct {
	Items []*T
	Row   func(*T) string // identifies a row, where Kind.ID identifies something else
	Next  Position
	More  bool
	// Bad returns the error of an item that could not be decoded, or nil. Such
	// an item has at least its id. Bad is nil if there is none.
	Bad func(*T) error
}

// A Quota is the limiter of the client.
type Quota interface {
	Limits() Limits
	// Reserve reserves that many additional slots for polls; a negative number
	// releases slots.
	Reserve(slots int)
}

// Limits describe the quota.
type Limits struct {
	Limit   int // requests per Window; 0 means none
	Window  time.Duration
	Waiting int // attempts other than polls that are queued
}

// A Verdict says what the error of a poll means for the waits.
type Verdict struct {
	Hopeless bool          // polling again cannot help
	Refused  bool          // a response that would not change, if it is the service's
	Pause    time.Duration // that the service asked for
	List     ListVerdict   // if it was the list that failed
}

// A ListVerdict says how polls go on after the list failed.
type ListVerdict uint8

// The verdicts.
const (
	ListFailed  ListVerdict = iota // as after any failed poll
	ListUseless                    // without the list
	ListLater                      // without the list for a minute
)

// A Config is what a Watch needs to know of its client.
type Config struct {
	Quota    Quota
	Judge    func(error) Verdict
	Timeout  time.Duration           // of an attempt
	Unlisted func(kind string) error // the error of an item that the list does not show
	Foreign  func(kind string) error // the error of a response that is about another item
	Assumed  Limits                  // if the Quota has none
	PageSize int
}

// Terms are the conditions of one wait.
type Terms struct {
	Initial, Max time.Duration // between polls
	Paused       time.Duration // the longest between polls while all items are paused; 0 means Max
	Failures     int           // consecutive ones that end the wait; 0 means no limit
	Every        bool          // every poll is reported, not only the last
	StopAtPause  bool          // see State.Pause
}

// A Watch polls for all items of one kind. It has one goroutine while something
// is waited for, and none otherwise. A poll is one list request per page, and a
// single request for each item that the list does not show, or does not show in
// full.
type Watch[T any] struct {
	kind Kind[T]
	conf Config

	mu       sync.Mutex
	items    map[string]*item[T]
	waits    map[*Wait[T]]struct{}
	expected int // items about to be started and waited for
	begun    int // those whose start was sent
	running  bool
	cancel   context.CancelFunc // of the poll in progress
	wake     chan struct{}      // of the goroutine

	limits   Limits // as last seen
	listing  listState
	probed   bool      // the list was requested
	relist   time.Time // when to retry a list that could not be decoded
	walks    int       // through the list
	top      string    // the first row of the last list
	pages    int       // of the last list
	last     time.Time // when the last poll ended
	cost     int       // its requests
	sent     []time.Time
	reserved int // slots reserved at the limiter

	took     time.Duration // of the last response: see ask
	repeated atomic.Bool   // a repeated request is in the hands of a transport
}

// listState is what is known about the list operation.
type listState uint8

const (
	listUnknown listState = iota
	listWorks
	listUseless
)

// item is an item that is waited for.
type item[T any] struct {
	id     string
	shares []*share[T]
	last   *T        // as last seen, or nil
	asked  time.Time // when it was last fetched by its id
	ended  bool      // the list shows that it has ended, and not how

	walk   int  // the last walk through the list that began while it was waited for
	listed bool // the list has shown it
	hidden bool // the list was searched for it in vain, and never showed it
}

// share is one wait's interest in an item.
type share[T any] struct {
	wait   *Wait[T]
	item   *item[T]
	failed failures
	queued int // index+1 of its update in wait.ready; 0: none
}

// New returns a Watch. It costs nothing while nothing is waited for.
func New[T any](kind Kind[T], conf Config) *Watch[T] {
	return &Watch[T]{kind: kind, conf: conf, items: make(map[string]*item[T]), waits: make(map[*Wait[T]]struct{})}
}

// Expect announces n items that are about to be started and waited for, begun of
// which were sent already, so that slots are reserved for their polls. Negative
// numbers take that back. reserved reports that the limiter has just reserved a
// slot itself.
func (w *Watch[T]) Expect(n, begun int, reserved bool) {
	limits := w.conf.Quota.Limits()
	w.mu.Lock()
	w.limits = limits
	w.expected += n
	w.begun += begun
	if reserved {
		w.reserved++
	}
	w.unlock()
}

// Idle reports whether nothing is waited for, or about to be.
func (w *Watch[T]) Idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waits) == 0 && w.expected == 0 && !w.running
}

// unlock releases the mutex, and then tells the limiter how many slots are
// needed: it may be code of the user.
func (w *Watch[T]) unlock() {
	change := w.need() - w.reserved
	w.reserved += change
	w.mu.Unlock()
	if change != 0 {
		w.conf.Quota.Reserve(change)
	}
}
