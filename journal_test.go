package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// faultyJournal is a journal whose Put fails, or does not return, from a call on.
type faultyJournal struct {
	connic.Journal
	from, to int // the calls of Put that are affected, the first of the head being 0
	fault    func() error
	after    bool // the records are written nonetheless
	puts     atomic.Int32
}

func (j *faultyJournal) Put(ctx context.Context, records map[string]string) error {
	n := int(j.puts.Add(1)) - 1
	if n < j.from || n >= j.to {
		return j.Journal.Put(ctx, records)
	}
	if j.after {
		if err := j.Journal.Put(ctx, records); err != nil {
			return err
		}
	}
	return j.fault()
}

var errDiskFull = errors.New("no space left on device")

// A journal that cannot be written ends the start of further inputs. What has been
// started is collected, and nothing is started twice afterwards.
func TestJournalsThatFail(t *testing.T) {
	t.Parallel()
	full := func() error { return errDiskFull }
	const meanwhile = time.Second // other inputs wait for the next Put
	for name, fault := range map[string]func() error{
		"full": full, "full, and written": full, "full for a moment": full,
		"panic": func() error { time.Sleep(meanwhile); panic("journal's own") },
		"exit":  func() error { time.Sleep(meanwhile); runtime.Goexit(); return nil },
	} {
		for _, from := range []int{0, 1, 2, 3, 5, 9} {
			t.Run(fmt.Sprint(name, " ", from), func(t *testing.T) {
				t.Parallel()
				inBulkBubble(t, func(t *testing.T, b *bulkTest) {
					file := b.journal
					j := &faultyJournal{Journal: file, from: from, to: 1 << 30, fault: fault, after: name == "full, and written"}
					if name == "full for a moment" {
						j.to = from + 1
					}
					b.journal = j
					var got *bulkTally
					var panicked any
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() { panicked = recover() }()
						got = b.run(t.Context(), messages(50), nil, connic.WithInFlight(5))
					}()
					<-done
					switch {
					case name == "panic" && panicked != "journal's own":
						t.Errorf("it panics with %v", panicked)
					case name == "exit" && from == 0: // on the caller's own goroutine
					case name != "panic" && (panicked != nil || got == nil):
						t.Fatalf("it panics with %v", panicked)
					case name != "panic" && (got.last == nil || strings.HasPrefix(name, "full") && !errors.Is(got.last, errDiskFull)):
						t.Errorf("it ends with %v", got.last)
					}
					first := b.srv.Executions("agents.trigger")
					if got != nil && len(got.done) != first {
						t.Errorf("%d of %d runs were collected, failed %v", len(got.done), first, got.failed)
					}
					if s := b.client.RateLimit(); s.InFlight != 0 || s.Reserved != 0 {
						t.Errorf("the limiter is left with %+v", s)
					}
					b.journal = file
					rest := b.run(t.Context(), messages(50), nil, connic.ResendUnknown())
					if rest.last != nil || len(rest.failed) > 0 {
						t.Errorf("afterwards: failed %v, %v", rest.failed, rest.last)
					}
					b.executed(50)
				})
			})
		}
	}
}

// What a Put could not write, the next one writes.
func TestAPutThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		file := b.journal
		b.journal = &onceFull{Journal: file}
		inputs := func(yield func(string, connic.TriggerRequest) bool) {
			for key, in := range messages(2) {
				if !yield(key, in) {
					return
				}
				time.Sleep(time.Second) // the second one ends after the first is done
			}
		}
		if got := b.run(t.Context(), inputs, nil); len(got.done) != 2 || !errors.Is(got.last, errDiskFull) {
			t.Errorf("%+v", got)
		}
		b.journal = file
		if rest := b.run(t.Context(), messages(2), nil); rest.results != 0 {
			t.Errorf("done, and yielded again: %+v", rest)
		}
		b.executed(2)
	})
}

// onceFull is a journal that fails to write the first input that is done.
type onceFull struct {
	connic.Journal
	failed bool
}

func (j *onceFull) Put(ctx context.Context, records map[string]string) error {
	for _, record := range records {
		if !j.failed && strings.Contains(record, `"state":"done"`) {
			j.failed = true
			return errDiskFull
		}
	}
	return j.Journal.Put(ctx, records)
}

// A journal that hangs is waited for until 10 s after the end.
func TestJournalThatHangs(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		release := make(chan struct{})
		b.journal = &faultyJournal{Journal: b.journal, from: 1, to: 1 << 30, fault: func() error { <-release; return errDiskFull }}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		start := time.Now()
		got := b.run(ctx, messages(50), nil)
		if took := time.Since(start); took > 75*time.Second || got.last == nil {
			t.Errorf("after %v: %v", took, got.last)
		}
		b.executed(0)
		close(release)
	})
}

type brokenJournal struct {
	connic.Journal
	open, get, all, close error
}

func (j brokenJournal) Open(ctx context.Context) error {
	return cmpErr(j.open, func() error { return j.Journal.Open(ctx) })
}

func (j brokenJournal) Get(ctx context.Context, key string) (string, error) {
	if j.get != nil && key != "" {
		return "", j.get
	}
	return j.Journal.Get(ctx, key)
}

func (j brokenJournal) All(ctx context.Context, f func(string, string) bool) error {
	return cmpErr(j.all, func() error { return j.Journal.All(ctx, f) })
}

func (j brokenJournal) Close() error { return errors.Join(j.close, j.Journal.Close()) }

func cmpErr(err error, or func() error) error {
	if err != nil {
		return err
	}
	return or()
}

// Where the journal cannot be read, nothing is started.
func TestJournalsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		file := b.journal
		for name, broken := range map[string]brokenJournal{
			"open": {file, errDiskFull, nil, nil, nil}, "get": {file, nil, errDiskFull, nil, nil},
			"all": {file, nil, nil, errDiskFull, nil}, "close": {file, nil, nil, nil, errDiskFull},
		} {
			inputs := messages(10)
			if name == "close" {
				inputs = messages(0)
			}
			b.journal = broken
			if got := b.run(t.Context(), inputs, nil); !errors.Is(got.last, errDiskFull) || got.results != 1 {
				t.Errorf("%s: %+v", name, got)
			}
		}
		b.executed(0)
		b.journal = file
		b.run(t.Context(), messages(1), func(*bulkTally) bool {
			// While it is open, no other call gets it.
			other := b.run(t.Context(), messages(1), nil)
			if !errors.Is(other.last, connic.ErrJournalInUse) || other.results != 1 {
				t.Errorf("opened twice: %+v", other)
			}
			return true
		})
		for r, err := range b.client.Agents.TriggerAll(t.Context(), "other", messages(1), file) {
			if r.Key != "" || err == nil || !strings.Contains(err.Error(), `"echo"`) {
				t.Errorf("a journal of another agent: %+v, %v", r, err)
			}
		}
		b.executed(1)
	})
}

// The file says in words what is open.
func TestJournalIsReadable(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		b.srv.Fault(connictest.Fault{Op: "agents.trigger", Drop: true, Nth: 2})
		b.srv.Fault(connictest.Fault{Op: "agents.trigger", Status: 422, Nth: 3})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		b.run(ctx, messages(4), nil)
		raw, err := os.ReadFile(b.path)
		if err != nil {
			t.Fatal(err)
		}
		states := make(map[connic.JournalState]int)
		if err := b.journal.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		err = b.journal.All(t.Context(), func(key, text string) bool {
			if key == "" {
				return true
			}
			var r connic.JournalRecord
			if err := json.Unmarshal([]byte(text), &r); err != nil || !r.State.Known() || r.Sent.IsZero() || !strings.HasPrefix(r.Marker, "connic-") {
				t.Errorf("%s: %v, %+v", text, err, r)
			}
			states[r.State]++
			return true
		})
		if err := errors.Join(err, b.journal.Close()); err != nil {
			t.Error(err)
		}
		if states[connic.JournalStarted] != 2 || states[connic.JournalUnknown] != 1 || states[connic.JournalNotStarted] != 1 {
			t.Errorf("the states are %v", states)
		}
		lines := strings.Split(string(raw), "\n")
		if lines[0] != `{"connic_journal":1}` || !strings.Contains(lines[1], `"record":{"version":1,"op":"agents.trigger_all","target":"echo"}}`) {
			t.Errorf("the file begins with %s", lines[:2])
		}
	})
}
