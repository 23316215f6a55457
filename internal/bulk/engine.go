package bulk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/grace"
)

// engine is one bulk call. Its fields belong to the goroutine of the caller, but
// for the channels.
type engine[In, Out, Part any] struct {
	job  *Job[In, Out, Part]
	conf *Config
	log  *log
	ctx  context.Context // of what is sent, collected and searched for
	// starting ends when nothing more is to leave, not even of what waits for its
	// turn. Its cause says why.
	starting context.Context
	halt     context.CancelCauseFunc
	yield    func(Result[Out], error) bool
	left     bool // the caller has left the loop

	feed feed[In]
	quit chan struct{} // closed when nothing is received any more

	work    chan *item[In, Out, Part]
	sent    chan outcome[In, Out, Part]
	workers int
	sending int

	ids       chan string
	ended     chan Ended[Part]
	collected chan finish
	toCollect []collectable
	byID      map[string][]*item[In, Out, Part]
	collectBy error // the last error of a wait
	ceased    bool  // the wait has ended

	found     chan located
	searched  chan verdict[In, Out, Part]
	toSearch  []*item[In, Out, Part]
	searching bool

	items map[string]*item[In, Out, Part] // those with keys that are open
	ready []*item[In, Out, Part]          // those that are to be sent
	lanes map[any]bool
	open  int
	lost  int   // yielded with an unknown outcome
	row   int   // failures in a row
	stop  error // why nothing more is started
	held  int   // inputs that were read and not started
	first int   // index of the first input that was read and not started, or that would be read next

	progress Progress
	reported Progress // the last one that the caller was told
	began    time.Time
	took     time.Duration // by all that were collected in this call
	timed    int
}

// item is an input that has been read, or recovered from the journal, and is not
// yielded yet.
type item[In, Out, Part any] struct {
	Record
	index  int // -1 if it was not read yet
	in     In
	given  bool         // in is set
	noted  bool         // something is recorded of it
	begun  bool         // it may have left
	turn   atomic.Int32 // waits, left or halted
	resent bool
	lane   any
	laned  bool
	value  *Out
	err    error // of an unknown outcome
	parts  []Ended[Part]
	waits  int
	// pending is set if the wait for a part has ended before the part.
	pending bool
}

// What became of the wait of an item for its turn.
const (
	waits int32 = iota
	left
	halted // nothing more is to leave
)

type collectable struct {
	id         string
	collecting func()
}

// Run runs a job over inputs and yields their results, and a last one with an
// index of -1 if it ends early.
func Run[In, Out, Part any](ctx context.Context, job *Job[In, Out, Part], inputs iter.Seq2[string, In], j Journal, conf *Config, yield func(Result[Out], error) bool) {
	fail := func(err error) { yield(Result[Out]{Index: -1}, err) }
	if ctx.Err() != nil {
		fail(fmt.Errorf("connic: %s: stopped before input 0: %w", job.Op, grace.Err(ctx)))
		return
	}
	l, err := openLog(ctx, j, head{headVersion, job.Op, job.Target})
	if err != nil {
		fail(fmt.Errorf("connic: %s: the journal cannot be opened: %w", job.Op, err))
		return
	}
	e := &engine[In, Out, Part]{
		job: job, conf: conf, log: l, yield: yield, began: time.Now(), quit: make(chan struct{}),
		sent: make(chan outcome[In, Out, Part], job.Senders), work: make(chan *item[In, Out, Part], job.Senders),
		ids: make(chan string), ended: make(chan Ended[Part]), byID: make(map[string][]*item[In, Out, Part]),
		found: make(chan located), searched: make(chan verdict[In, Out, Part], 1),
		items: make(map[string]*item[In, Out, Part]), lanes: make(map[any]bool),
	}
	e.progress.Total = conf.Total
	if err := e.run(ctx, inputs); err != nil && !e.left {
		fail(err)
	}
}

// run returns the error of the last pair.
func (e *engine[In, Out, Part]) run(caller context.Context, inputs iter.Seq2[string, In]) (err error) {
	ctx, cancel := context.WithCancel(caller)
	e.ctx = ctx
	e.starting, e.halt = context.WithCancelCause(context.WithoutCancel(caller))
	defer func() { err = e.close(cancel, err) }()
	if err := e.recover(); err != nil {
		if caller.Err() != nil {
			err = grace.Err(caller)
		}
		return fmt.Errorf("connic: %s: the journal cannot be read: %w", e.job.Op, err)
	}
	if e.left {
		return nil
	}
	e.feed.start(inputs)
	e.loop(caller)
	switch {
	case e.stop == nil || e.held == 0 && e.progress.Complete:
		return nil
	case e.held > 1: // they are not always started in their order
		return fmt.Errorf("connic: %s: stopped before input %d and %d others that were read: %w", e.job.Op, e.first, e.held-1, e.stop)
	}
	return fmt.Errorf("connic: %s: stopped before input %d: %w", e.job.Op, e.first, e.stop)
}

// close ends what is going on, and then the journal.
func (e *engine[In, Out, Part]) close(cancel context.CancelFunc, err error) error {
	cancel()
	defer e.halt(nil)
	close(e.quit)
	close(e.work)
	for ; e.sending > 0; e.sending-- {
		if o := <-e.sent; o.Collecting != nil {
			o.Collecting()
		}
	}
	for _, c := range e.toCollect {
		if c.collecting != nil {
			c.collecting()
		}
	}
	if e.collected != nil {
		close(e.ids)
		<-e.collected
	}
	if e.searching {
		<-e.searched
	}
	e.feed.end()
	failed, panicked := e.log.close()
	if panicked != nil {
		panic(panicked) //nolint:forbidigo // where the caller can recover from it
	}
	if failed != nil && err == nil {
		err = fmt.Errorf("connic: %s: the journal: %w", e.job.Op, failed)
	}
	return err
}

// loop runs until there is nothing left to do, or the caller has left.
func (e *engine[In, Out, Part]) loop(caller context.Context) {
	done, stop, failed := caller.Done(), e.conf.Stop, (<-chan struct{})(e.log.failed)
	exhausted := e.feed.done
	for {
		e.startReady(caller)
		e.search()
		e.report()
		if e.open == 0 && (e.stop != nil || e.progress.Complete) {
			return
		}
		var (
			want chan<- struct{}
			ids  chan<- string
			next string
			over <-chan finish
		)
		if e.wants() {
			want = e.feed.want
		}
		if len(e.toCollect) > 0 {
			ids, next = e.ids, e.toCollect[0].id
			e.collector()
		}
		if !e.ceased {
			over = e.collected
		}
		select {
		case want <- struct{}{}:
			e.feed.asked = true
		case in := <-e.feed.out:
			e.feed.asked = false
			e.take(in)
		case <-exhausted:
			exhausted = nil
			e.exhausted()
		case o := <-e.sent:
			e.arrived(o)
		case ids <- next:
			e.passed()
		case p := <-e.ended:
			e.partEnded(p)
		case f := <-over:
			e.collectorEnded(f)
		case f := <-e.found:
			e.locate(f)
		case v := <-e.searched:
			e.settle(v)
		case <-failed:
			failed = nil
			e.endAll(fmt.Errorf("the journal: %w", e.log.failure()))
		case <-stop:
			stop = nil
			e.endAll(errStopped)
		case <-done:
			done = nil
			e.end(grace.Err(caller))
		}
		if e.left {
			return
		}
	}
}

var errStopped = errors.New("the caller has asked to stop")

// end has nothing more started.
func (e *engine[In, Out, Part]) end(why error) {
	if e.stop == nil {
		e.stop = why
	}
}

// endAll is end, for what waits for its turn too.
func (e *engine[In, Out, Part]) endAll(why error) {
	e.end(why)
	e.halt(why)
}

// wants reports whether another input is to be read.
func (e *engine[In, Out, Part]) wants() bool {
	return e.stop == nil && !e.feed.asked && !e.progress.Complete && len(e.ready) == 0 &&
		e.sending < e.job.Senders && e.open < e.inFlight()
}

func (e *engine[In, Out, Part]) inFlight() int {
	if e.conf.InFlight > 0 {
		return e.conf.InFlight
	}
	return e.job.InFlight
}

// maxKey limits keys, which are kept in memory and in journals.
const maxKey = 1024

func checkKey(key string, required bool) (reason string) {
	switch {
	case key == "" && required:
		return "is empty, and a journal needs one"
	case len(key) > maxKey:
		return fmt.Sprintf("has more than %d bytes", maxKey)
	case !utf8.ValidString(key):
		return "is not valid UTF-8"
	}
	for _, r := range key {
		if unicode.IsControl(r) {
			return "has a control character"
		}
	}
	return ""
}

// take handles an input that was read.
func (e *engine[In, Out, Part]) take(in input[In]) {
	it := &item[In, Out, Part]{index: e.progress.Read, given: true}
	it.Key = in.key
	if e.stop != nil { // the stop came while it was read
		e.held++
		return
	}
	e.progress.Read++
	e.first = e.progress.Read
	if reason := checkKey(in.key, e.log.journal != nil); reason != "" {
		e.refuse(it, e.job.Argument("key", reason))
		return
	}
	if e.job.Own != nil {
		in.in = e.job.Own(in.in)
	}
	it.in = in.in
	if old := e.items[in.key]; old != nil && in.key != "" {
		e.progress.Skipped++
		if !old.given {
			e.progress.Skipped--
			old.given, old.index, old.in = true, it.index, it.in
		}
		return
	}
	if in.key != "" {
		state, err := e.log.state(e.ctx, in.key)
		if err != nil {
			e.first = it.index
			e.held++
			e.end(fmt.Errorf("the journal: %w", err))
			return
		}
		if state != "" && state != NotStarted {
			e.progress.Skipped++
			return
		}
		it.noted = state != ""
	}
	if e.job.Check != nil {
		if err := e.job.Check(it.in); err != nil {
			e.refuse(it, err)
			return
		}
	}
	e.add(it)
	e.ready = append(e.ready, it)
}

// refuse yields an input that is not sent at all.
func (e *engine[In, Out, Part]) refuse(it *item[In, Out, Part], err error) {
	e.add(it)
	e.deliver(it, nil, err)
}

func (e *engine[In, Out, Part]) add(it *item[In, Out, Part]) {
	e.open++
	if it.Key != "" && e.items[it.Key] == nil {
		e.items[it.Key] = it
	}
}

func (e *engine[In, Out, Part]) remove(it *item[In, Out, Part]) {
	e.open--
	if e.items[it.Key] == it {
		delete(e.items, it.Key)
	}
}
