package bulk

import (
	"context"
	"time"
)

// Job describes one kind of operation. In is an input, Out its result, and Part
// what is waited for: an input may lead to several.
//
// Functions that are nil do not apply. Send, Collect and Find run on goroutines
// of their own, all others on that of the caller.
type Job[In, Out, Part any] struct {
	Op, Target string
	InFlight   int // default of Config.InFlight
	Senders    int // maximum number of inputs that are being sent
	// Grace is how long a request that was sent outlives the context.
	Grace time.Duration

	// Argument returns the error of a bad argument.
	Argument func(arg, reason string) error
	// Check returns why an input cannot be sent at all.
	Check func(In) error
	// Own returns a copy of what the caller may use again.
	Own func(In) In
	// Lane returns what an input has in common with those that it must not
	// overtake.
	Lane func(In) (lane any, ok bool)
	// Mark returns an input with a new marker in it, or none.
	Mark func(In) (marked In, marker string)
	// Repeatable reports whether sending an input twice does no harm.
	Repeatable func(In) bool
	// Send sends an input once. It calls begin when the request is about to
	// leave; if that fails it does not leave.
	Send func(ctx context.Context, in In, begin func() error) Sent[Out]
	// Collect waits for what has been started, by ids, and passes each to f as it
	// ends, or with the error of its wait, until f returns false.
	Collect func(ctx context.Context, ids <-chan string, f func(id string, part *Part, err error) bool)
	// Join returns the result of an input whose parts have ended.
	Join func(value *Out, parts []Ended[Part]) (*Out, error)
	// Recover returns the result of an input that an earlier process has started,
	// if there is no Collect.
	Recover func(ids []string) (*Out, error)
	// Find searches for what inputs with unknown outcomes have started, and
	// passes it to found. No ids mean that it was executed, and that its run is not
	// known. It returns nil if it has looked everywhere.
	Find func(ctx context.Context, lost []Record, found func(key string, ids []string)) error

	Unknown error            // the error of an unknown outcome
	Lost    func(error) bool // whether a failed Send may have been executed
	// Fatal reports whether others would fail in the same way and, if so, whether
	// those that wait for their turn would.
	Fatal func(error) (fatal, all bool)
	Over  func(error) bool // whether a part, or a final result, that failed has ended nonetheless
	Cost  func(*Out) (amount, currency string)
}

// Sent is what a Send leads to.
type Sent[Out any] struct {
	Value *Out
	// IDs are those of what has been started.
	IDs []string
	// Final is set if Value and Err are the result. Nothing is collected.
	Final bool
	Err   error
	// Collecting, if not nil, is called when the ids are waited for, or will not
	// be.
	Collecting func()
}

// Ended is a part that has ended.
type Ended[Part any] struct {
	ID    string
	Value *Part
	Err   error
}

// Config holds what callers choose.
type Config struct {
	InFlight    int
	RunTime     time.Duration
	MaxFailures int
	Stop        <-chan struct{}
	Resend      bool
	Settle      func(ctx context.Context, lost []Record) (map[string]Settlement, error)
	Total       int
	Progress    func(Progress)
	Meter       Meter
	// Marker returns the marker that an input has already; nil makes one.
	Marker func(key string) string
	Bad    string // of an option: why it is refused
}

// Options is Config together with options of the packages above.
type Options[Wait, Request, Part any] struct {
	Config
	Wait      []Wait
	Request   []Request
	Collector *Collector[Wait, Part] // of jobs that have none of their own, or nil
}

// A Collector has the functions of a Job that wait for what was started, and search
// for it.
type Collector[Wait, Part any] struct {
	Collect func(ctx context.Context, ids <-chan string, opts []Wait, f func(id string, part *Part, err error) bool)
	// Find is told whether an input starts a single part.
	Find func(ctx context.Context, lost []Record, single bool, found func(key string, ids []string)) error
	Over func(error) bool
}

// Settlement is a decision about an input whose outcome is unknown.
type Settlement struct {
	IDs    []string
	Resend bool
}

// Meter adds up costs.
type Meter interface {
	Add(amount, currency string)
	// May returns why no further input may be started while open others may
	// still add to the cost.
	May(open int) error
}

// Progress is what is known of a bulk call.
type Progress struct {
	Total    int  // 0 if not known
	Read     int  // inputs taken from the sequence
	Skipped  int  // of these, done already or read before
	Open     int  // inputs that are being sent, collected or searched for
	Ended    int  // inputs that were yielded
	Failed   int  // of these, with an error
	Unknown  int  // of these, with an unknown outcome
	Complete bool // everything was read
	Elapsed  time.Duration
}

// Result is what one input led to.
type Result[Out any] struct {
	Index int
	Key   string
	Value *Out
}
