package connic_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// bulkTest is a fake with an agent that takes 5 s and costs 0.01 EUR.
type bulkTest struct {
	t       *testing.T
	srv     *connictest.Server
	client  *connic.Client
	journal connic.Journal
	path    string
}

func inBulkBubble(t *testing.T, f func(t *testing.T, b *bulkTest)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		b := &bulkTest{t: t, srv: connictest.New(), path: path, journal: connic.FileJournal(path)}
		b.client = b.srv.Client(connic.WithTimeout(10 * time.Second))
		b.srv.Agent("echo", func(ctx context.Context, in connictest.Input) (any, error) {
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			in.Cost("0.01", connic.EUR)
			if strings.Contains(in.Message, "fail") {
				return nil, errors.New("it fails")
			}
			return in.Message, nil
		})
		f(t, b)
		_ = b.client.Close()
		b.srv.Close()
	})
}

// messages returns n inputs.
func messages(n int) iter.Seq2[string, connic.TriggerRequest] {
	return func(yield func(string, connic.TriggerRequest) bool) {
		for i := range n {
			if !yield(fmt.Sprint("k", i), connic.TriggerRequest{Message: fmt.Sprint("message ", i)}) {
				return
			}
		}
	}
}

// bulkTally is what a bulk call yielded.
type bulkTally struct {
	done    map[string]*connic.Run
	failed  map[string]error
	last    error
	results int
}

func (b *bulkTest) run(ctx context.Context, inputs iter.Seq2[string, connic.TriggerRequest], more func(*bulkTally) bool, opts ...connic.BulkOption) *bulkTally {
	b.t.Helper()
	got := &bulkTally{done: make(map[string]*connic.Run), failed: make(map[string]error)}
	for r, err := range b.client.Agents.TriggerAll(ctx, "echo", inputs, b.journal, opts...) {
		if got.last != nil {
			b.t.Errorf("after the end came %+v, %v", r, err)
		}
		got.results++
		if _, twice := got.failed[r.Key]; twice || got.done[r.Key] != nil {
			b.t.Errorf("%q was yielded twice", r.Key)
		}
		switch {
		case r.Index == -1 && r.Key == "":
			if got.last = err; err == nil {
				b.t.Error("an end without a reason")
			}
		case err != nil:
			got.failed[r.Key] = err
		case r.Value == nil || r.Value.Output == "" || r.Value.AgentName != "echo":
			b.t.Errorf("%q has the run %+v", r.Key, r.Value)
		default:
			got.done[r.Key] = r.Value
		}
		if more != nil && !more(got) {
			break
		}
	}
	return got
}

func (b *bulkTest) executed(want int) {
	b.t.Helper()
	if n := b.srv.Executions("agents.trigger"); n != want {
		b.t.Errorf("%d runs were started, want %d", n, want)
	}
}

// Everything is started once and collected, as fast as the quota allows, and a
// second call finds everything done.
func TestTriggerAll(t *testing.T) {
	t.Parallel()
	for _, journal := range []bool{true, false} {
		inBulkBubble(t, func(t *testing.T, b *bulkTest) {
			if !journal {
				b.journal = nil
			}
			var last connic.BulkProgress
			start := time.Now()
			got := b.run(t.Context(), messages(200), nil, connic.WithBulkProgress(200, func(p connic.BulkProgress) { last = p }))
			if len(got.done) != 200 || got.last != nil {
				t.Errorf("%d done, failed %v, %v", len(got.done), got.failed, got.last)
			}
			if took := time.Since(start); took > 4*time.Minute {
				t.Errorf("it took %v", took)
			}
			b.executed(200)
			for key, run := range got.done {
				if want := "message " + key[1:]; !strings.HasSuffix(run.Output, want) || (run.Output == want) != !journal {
					t.Errorf("%s has the output %q", key, run.Output)
				}
			}
			if last.Ended != 200 || last.Open != 0 || !last.Complete || last.Cost.String() != "2.00 EUR" || last.Remaining() != 0 {
				t.Errorf("the progress is %+v: %v", last, last)
			}
			if s := b.client.RateLimit(); s.Reserved != 0 || s.InFlight != 0 {
				t.Errorf("the limiter is left with %+v", s)
			}
			if !journal {
				return
			}
			if again := b.run(t.Context(), messages(200), nil); again.results != 0 {
				t.Errorf("again: %+v", again)
			}
			b.executed(200)
		})
	}
}

// The context or the loop ends at any moment, and the next call goes on.
func TestTriggerAllResumes(t *testing.T) {
	t.Parallel()
	for _, leave := range []bool{true, false} {
		for _, after := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond, 4 * time.Second, 7 * time.Second, 62 * time.Second} {
			t.Run(fmt.Sprint(leave, after), func(t *testing.T) {
				t.Parallel()
				inBulkBubble(t, func(t *testing.T, b *bulkTest) {
					b.srv.Fault(connictest.Fault{Op: "agents.trigger", Latency: 50 * time.Millisecond, Times: -1})
					ctx, cancel := context.WithCancelCause(t.Context())
					cause := errors.New("Ctrl-C")
					if !leave {
						time.AfterFunc(after, func() { cancel(cause) })
					}
					began := time.Now()
					first := b.run(ctx, messages(250), func(*bulkTally) bool { return !leave || time.Since(began) < after })
					cancel(nil)
					if !leave && (!errors.Is(first.last, cause) || !errors.Is(first.last, context.Canceled)) {
						t.Errorf("it ended with %v", first.last)
					}
					for key, err := range first.failed {
						if errors.Is(err, connic.ErrOutcomeUnknown) {
							t.Errorf("%s: %v", key, err)
						}
					}
					rest := b.run(t.Context(), messages(250), nil)
					if len(rest.failed) > 0 || rest.last != nil || len(first.done)+len(rest.done) < 250 {
						t.Errorf("%d and %d done, failed %v, %v", len(first.done), len(rest.done), rest.failed, rest.last)
					}
					b.executed(250)
				})
			})
		}
	}
}

// Runs that were started are collected without their inputs, and before them.
func TestTriggerAllCollectsWithoutInputs(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		b.run(ctx, messages(20), nil)
		got := b.run(t.Context(), messages(0), nil)
		if len(got.done) != 20 || got.last != nil {
			t.Errorf("%d done, failed %v, %v", len(got.done), got.failed, got.last)
		}
		b.executed(20)
	})
}

// Responses that are lost cost a search, and nothing twice.
func TestTriggerAllFindsLostRuns(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		for _, nth := range []int{2, 9, 25} {
			b.srv.Fault(connictest.Fault{Op: "agents.trigger", Nth: nth, After: true, Drop: true})
		}
		b.srv.Fault(connictest.Fault{Op: "agents.trigger", Nth: 12, After: true, Truncate: 5})
		b.srv.Fault(connictest.Fault{Op: "agents.trigger", Nth: 14, After: true, Status: 502})
		b.srv.Fault(connictest.Fault{Op: "agents.trigger", Nth: 20, Drop: true}) // never executed
		got := b.run(t.Context(), messages(60), nil)
		if len(got.done) != 59 || len(got.failed) != 1 || got.last != nil {
			t.Errorf("%d done, failed %v, %v", len(got.done), got.failed, got.last)
		}
		for key, err := range got.failed {
			if !errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Errorf("%s: %v", key, err)
			}
		}
		b.executed(59)

		again := b.run(t.Context(), messages(60), nil)
		if len(again.done) != 0 || len(again.failed) != 1 || again.last != nil {
			t.Errorf("again: %+v", again)
		}
		b.executed(59)

		b.srv.Fault(connictest.Fault{Op: "runs.list", Status: 403, Times: -1})
		b.run(t.Context(), messages(60), nil, connic.ResendUnknown())
		b.executed(59) // without a search nothing is known
		b.srv.ClearFaults()

		last := b.run(t.Context(), messages(60), nil, connic.ResendUnknown())
		if len(last.done) != 1 || last.last != nil {
			t.Errorf("at last: %+v", last)
		}
		b.executed(60)
	})
}

// What cannot be searched for, the caller may settle.
func TestTriggerAllSettles(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		settled := 0
		b.srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: 3})
		got := b.run(t.Context(), messages(3), nil, connic.WithMarker(func(string) string { return "" }),
			connic.WithSettle(func(ctx context.Context, lost []connic.JournalRecord) (map[string]connic.Settlement, error) {
				settled += len(lost)
				decided := make(map[string]connic.Settlement)
				for run, err := range b.client.Runs.All(ctx, nil) {
					if err != nil {
						return nil, err
					}
					decided["k"+strings.TrimPrefix(run.Input, "message ")] = connic.Settlement{IDs: []string{run.ID}}
				}
				return decided, nil
			}))
		if len(got.done) != 3 || settled != 3 {
			t.Errorf("%d were to be settled: %+v", settled, got)
		}
		b.executed(3)
	})
}

// An input with the key of another one is not started.
func TestTriggerAllSkipsDuplicates(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		inputs := func(yield func(string, connic.TriggerRequest) bool) {
			for range 2 {
				for i := range 30 {
					if !yield(fmt.Sprint("k", i%20), connic.TriggerRequest{Message: "same"}) {
						return
					}
				}
				time.Sleep(10 * time.Second) // the first of them have ended
			}
		}
		for range 2 {
			got := b.run(t.Context(), inputs, nil)
			if len(got.done) != 20 || got.last != nil {
				t.Errorf("%+v", got)
			}
			b.journal = nil
		}
		b.executed(40)
	})
}

func TestTriggerAllRefusesKeys(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		inputs := func(yield func(string, connic.TriggerRequest) bool) {
			for _, key := range []string{"", "a\nb", "\xff", strings.Repeat("x", 1025), "good"} {
				if !yield(key, connic.TriggerRequest{Message: "m"}) {
					return
				}
			}
		}
		bad := 0
		for r, err := range b.client.Agents.TriggerAll(t.Context(), "echo", inputs, b.journal) {
			var argument *connic.ArgumentError
			switch {
			case errors.As(err, &argument) && argument.Arg == "key":
				bad++
			case err != nil || r.Key != "good" || r.Index != 4:
				t.Errorf("%+v, %v", r, err)
			}
		}
		if bad != 4 {
			t.Errorf("%d were refused", bad)
		}
		b.executed(1)
	})
}

func TestTriggerAllWithin(t *testing.T) {
	t.Parallel()
	eur := func(s string) connic.Money { return connic.Money{Amount: connic.MustDecimal(s), Currency: connic.EUR} }
	stop := make(chan struct{})
	for name, test := range map[string]struct {
		inputs  iter.Seq2[string, connic.TriggerRequest]
		opts    []connic.BulkOption
		timeout time.Duration
		most    int
		is      error
		text    string
	}{
		"budget":           {opts: []connic.BulkOption{connic.WithBudget(eur("0.055"), connic.MustDecimal("0.02"))}, most: 4, is: connic.ErrBudgetExceeded},
		"another currency": {opts: []connic.BulkOption{connic.WithBudget(connic.Money{Amount: connic.MustDecimal("9"), Currency: "USD"}, connic.MustDecimal("2"))}, most: 4, is: connic.ErrBudgetExceeded},
		"in flight":        {opts: []connic.BulkOption{connic.WithInFlight(3)}, most: 200},
		"stop":             {opts: []connic.BulkOption{connic.WithStop(stop)}, most: 60, text: "stop"},
		"deadline":         {timeout: 90 * time.Second, most: 120, is: connic.ErrRateLimited},
		"run time":         {opts: []connic.BulkOption{connic.WithRunTime(2 * time.Minute)}, timeout: time.Minute, most: 0, is: context.DeadlineExceeded},
		"failures": {inputs: func(yield func(string, connic.TriggerRequest) bool) {
			for i := 0; yield(fmt.Sprint(i), connic.TriggerRequest{Message: "fail"}); i++ {
			}
		}, opts: []connic.BulkOption{connic.WithMaxFailures(3), connic.WithInFlight(2)}, most: 4, text: "3 inputs in a row"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBulkBubble(t, func(t *testing.T, b *bulkTest) {
				ctx := t.Context()
				if test.timeout > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, test.timeout)
					defer cancel()
				}
				if name == "stop" {
					inner := make(chan struct{})
					test.opts = []connic.BulkOption{connic.WithStop(inner)}
					time.AfterFunc(4*time.Second, func() { close(inner) })
				}
				inputs := test.inputs
				if inputs == nil {
					inputs = messages(200)
				}
				open := 0
				opts := append(test.opts, connic.WithBulkProgress(0, func(p connic.BulkProgress) { open = max(open, p.Open) }))
				got := b.run(ctx, inputs, nil, opts...)
				n := b.srv.Executions("agents.trigger")
				if n > test.most || n == 0 && test.most > 0 || name == "in flight" && open != 3 {
					t.Errorf("%d runs were started, want %d at most; %d were open at once", n, test.most, open)
				}
				collected := len(got.done)
				for _, err := range got.failed {
					if errors.As(err, new(*connic.RunError)) {
						collected++
					}
				}
				if collected != n {
					t.Errorf("%d of %d runs were collected", collected, n)
				}
				for key, err := range got.failed {
					var wait *connic.WaitError
					if errors.As(err, &wait) {
						t.Errorf("%s was started and not collected: %v", key, err)
					}
				}
				if (got.last == nil) != (test.is == nil && test.text == "") || test.is != nil && !errors.Is(got.last, test.is) ||
					got.last != nil && !strings.Contains(got.last.Error(), test.text) {
					t.Errorf("it ended with %v", got.last)
				}
				if name == "budget" {
					b.run(ctx, inputs, nil, opts...)
					b.executed(n) // what an earlier call has spent counts
				}
			})
		})
	}
}

// What was read and waits for the quota when a call ends early has not failed: it
// is not yielded, and not counted, and the next call sends it.
func TestTriggerAllLeavesTheQueue(t *testing.T) {
	t.Parallel()
	for name, interrupt := range map[string]func(ctx context.Context) (context.Context, connic.BulkOption, func()){
		"stop": func(ctx context.Context) (context.Context, connic.BulkOption, func()) {
			stop := make(chan struct{})
			return ctx, connic.WithStop(stop), func() { close(stop) }
		},
		"context": func(ctx context.Context) (context.Context, connic.BulkOption, func()) {
			ctx, cancel := context.WithCancel(ctx)
			return ctx, nil, cancel
		},
	} {
		for _, journal := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", journal: ", journal), func(t *testing.T) {
				t.Parallel()
				inBulkBubble(t, func(t *testing.T, b *bulkTest) {
					if !journal {
						b.journal = nil
					}
					ctx, opt, interrupt := interrupt(t.Context())
					time.AfterFunc(3*time.Second, interrupt)
					var last connic.BulkProgress
					got := b.run(ctx, messages(150), nil, opt, connic.WithBulkProgress(150, func(p connic.BulkProgress) { last = p }))
					started := b.srv.Executions("agents.trigger")
					for key, err := range got.failed {
						if !errors.As(err, new(*connic.WaitError)) {
							t.Errorf("%s was not started, and yielded with %v", key, err)
						}
					}
					if got.results != started+1 || last.Ended != started || last.Open != 0 || last.Failed != len(got.failed) {
						t.Errorf("%d results of %d runs, and the progress %+v", got.results, started, last)
					}
					first, others := 0, 0
					if got.last == nil {
						t.Fatal("it has read all inputs")
					}
					text := strings.TrimPrefix(got.last.Error(), "connic: agents.trigger_all: ")
					if _, err := fmt.Sscanf(text, "stopped before input %d and %d others that were read: ", &first, &others); err != nil || first > started {
						t.Errorf("it ended with %q", text)
					}
					if queued := last.Read - started; others != queued-1 && others != queued { // another one may just have been read
						t.Errorf("%d inputs were queued, and it ended with %q", queued, text)
					}
					if journal {
						b.run(t.Context(), messages(150), nil)
						b.executed(150)
					}
				})
			})
		}
	}
}
