package bulk

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// log writes records to a journal. Records that arrive while others are being
// written are written together, which costs one sync.
type log struct {
	journal Journal         // nil for none
	ctx     context.Context // of the calls of the journal
	cancel  context.CancelFunc
	wake    chan struct{}
	ended   chan struct{} // closed when the goroutine has ended
	failed  chan struct{} // closed after the first failure

	mu       sync.Mutex
	next     *batch
	writing  *batch
	err      error // the first failure
	dead     bool  // nothing is written any more
	closing  bool
	panicked any

	seen map[[16]byte]string // states by key, if there is no journal
}

// batch is a set of records that are written together.
type batch struct {
	records map[string]Record
	done    chan struct{}
	err     error
}

func newBatch() *batch { return &batch{records: make(map[string]Record), done: make(chan struct{})} }

// closeTime limits the last writes after the end of a context.
const closeTime = 10 * time.Second

// openLog opens a journal, which may be nil, and writes or checks its head.
func openLog(ctx context.Context, j Journal, h head) (*log, error) {
	l := &log{journal: j, next: newBatch(), failed: make(chan struct{})}
	if j == nil {
		l.seen = make(map[[16]byte]string)
		return l, nil
	}
	if err := j.Open(ctx); err != nil {
		return nil, err
	}
	opened := false
	defer func() { // also after a panic
		if !opened {
			_ = j.Close()
		}
	}()
	raw, err := j.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if raw == "" {
		text, err := json.Marshal(h)
		if err == nil {
			err = j.Put(ctx, map[string]string{"": string(text)})
		}
		if err != nil {
			return nil, err
		}
	} else if err := h.check(raw); err != nil {
		return nil, err
	}
	opened = true
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.wake, l.ended = make(chan struct{}, 1), make(chan struct{})
	go l.run()
	return l, nil
}

func (h head) check(raw string) error {
	var was head
	if err := json.Unmarshal([]byte(raw), &was); err != nil {
		return fmt.Errorf("the record of the journal itself is not one: %w", err)
	}
	switch {
	case was.Version > headVersion:
		return fmt.Errorf("the journal is of version %d, and this program knows version %d", was.Version, headVersion)
	case was.Op != h.Op || was.Target != h.Target:
		return fmt.Errorf("the journal is one of %s of %q, and not of %s of %q", was.Op, was.Target, h.Op, h.Target)
	}
	return nil
}

// each calls f for each record that is neither done nor as if never sent, and
// done for the others.
func (l *log) each(ctx context.Context, open, closed func(Record)) error {
	if l.journal == nil {
		return nil
	}
	var bad error
	err := l.journal.All(ctx, func(key, text string) bool {
		if key == "" {
			return true
		}
		r, err := decode(key, text)
		switch {
		case err != nil:
			bad = err
			return false
		case r.State == Done || r.State == NotStarted:
			closed(r)
		default:
			open(r)
		}
		return true
	})
	return errors.Join(bad, err)
}

func hashOf(key string) (h [16]byte) {
	sum := sha256.Sum256([]byte(key))
	copy(h[:], sum[:])
	return h
}

// state returns the state of a key, or "" if nothing is recorded of it.
func (l *log) state(ctx context.Context, key string) (string, error) {
	l.mu.Lock()
	if l.journal == nil {
		defer l.mu.Unlock()
		return l.seen[hashOf(key)], nil
	}
	for _, b := range []*batch{l.next, l.writing} {
		if b == nil {
			continue
		}
		if r, ok := b.records[key]; ok {
			l.mu.Unlock()
			return r.effective(), nil
		}
	}
	l.mu.Unlock()
	raw, err := l.journal.Get(ctx, key)
	if raw == "" || err != nil {
		return "", err
	}
	r, err := decode(key, raw)
	return r.effective(), err
}

// put has a record written. The batch says when it is.
func (l *log) put(r Record) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.journal == nil {
		if r.Key != "" {
			l.seen[hashOf(r.Key)] = r.State
		}
		return nil
	}
	b := l.next
	b.records[r.Key] = r
	if l.dead {
		b = newBatch()
		b.err = l.err
		close(b.done)
		return b
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return b
}

// wait waits until the batch is written.
func (b *batch) wait(ctx context.Context) error {
	if b == nil {
		return ctx.Err()
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errJournalExited = errors.New("the journal called runtime.Goexit")

func (l *log) run() {
	var b *batch
	err := errJournalExited
	closes := false
	defer func() {
		l.mu.Lock()
		l.dead = true
		l.mu.Unlock()
		close(l.ended)
	}()
	defer func() { _ = recover() }() // the Close below
	defer func() {
		if err == nil {
			return
		}
		if l.panicked = recover(); l.panicked != nil {
			err = fmt.Errorf("the journal panicked: %v", l.panicked)
		}
		if l.end(b, err); !closes {
			_ = l.journal.Close()
		}
	}()
	for closing := false; !closing; {
		<-l.wake
		b, closing = l.begin()
		texts := make(map[string]string, len(b.records))
		for key, r := range b.records {
			texts[key] = r.encode()
		}
		var failed error
		if len(texts) > 0 {
			failed = l.journal.Put(l.ctx, texts)
		}
		l.end(b, failed)
		b = nil
	}
	closes = true
	if failed := l.journal.Close(); failed != nil {
		l.end(nil, failed)
	}
	err = nil
}

// begin takes the records that are to be written, and reports whether they are
// the last.
func (l *log) begin() (b *batch, closing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, l.next = l.next, newBatch()
	l.writing = b
	return b, l.closing
}

// end notes that a batch was written, or failed. The records of one that failed
// are written with the next.
func (l *log) end(b *batch, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = nil
	if err != nil {
		if l.err == nil {
			l.err = err
			close(l.failed)
		}
		if b != nil {
			for key, r := range b.records {
				if _, newer := l.next.records[key]; !newer {
					l.next.records[key] = r
				}
			}
		}
		if errors.Is(err, errJournalExited) || l.panicked != nil { // nobody writes what is next
			next := l.next
			l.dead, l.next = true, newBatch()
			l.next.records, next.err = next.records, err
			close(next.done)
		}
	}
	if b != nil {
		b.err = err
		close(b.done)
	}
}

// close writes what is left and closes the journal. It returns the first failure.
func (l *log) close() (err error, panicked any) { //nolint:revive,staticcheck // the panic is the rarer one
	if l.journal == nil {
		return nil, nil
	}
	defer l.cancel()
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	late := time.NewTimer(closeTime)
	defer late.Stop()
	select {
	case <-l.ended:
	case <-late.C:
		return fmt.Errorf("the journal has not returned within %v", closeTime), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err, l.panicked
}

// failure returns the first failure.
func (l *log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
