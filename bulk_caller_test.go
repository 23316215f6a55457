package connic_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// The code around the loop may panic, exit or block.
func TestTriggerAllSurvivesItsCaller(t *testing.T) {
	t.Parallel()
	source := func(bad func()) iter.Seq2[string, connic.TriggerRequest] {
		return func(yield func(string, connic.TriggerRequest) bool) {
			for key, in := range messages(10) {
				if key == "k5" {
					bad()
				}
				if !yield(key, in) {
					return
				}
			}
		}
	}
	for name, end := range map[string]func(){
		"panic": func() { panic("user's own") }, "exit": runtime.Goexit,
	} {
		for _, where := range []string{"source", "loop", "payload", "progress", "settle"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				t.Parallel()
				inBulkBubble(t, func(t *testing.T, b *bulkTest) {
					inputs, opts := messages(10), []connic.BulkOption{}
					body := func() {}
					switch where {
					case "source":
						inputs = source(end)
					case "loop":
						body = end
					case "payload":
						inputs = func(yield func(string, connic.TriggerRequest) bool) {
							yield("a", connic.TriggerRequest{Message: "m", Payload: badPayload(end)})
						}
					case "progress":
						opts = append(opts, connic.WithBulkProgress(0, func(p connic.BulkProgress) {
							if p.Ended == 2 {
								end()
							}
						}))
					case "settle":
						b.srv.Fault(connictest.Fault{Op: "agents.trigger", Drop: true, Nth: 3})
						opts = append(opts, connic.WithSettle(func(context.Context, []connic.JournalRecord) (map[string]connic.Settlement, error) {
							end()
							return nil, nil
						}))
					}
					var recovered any
					returned := false
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() { recovered = recover() }()
						for _, err := range b.client.Agents.TriggerAll(t.Context(), "echo", inputs, b.journal, opts...) {
							_ = err
							body()
						}
						returned = true
					}()
					<-done
					if name == "panic" && recovered != "user's own" || name == "exit" && (recovered != nil || returned != (where != "loop" && where != "progress")) {
						t.Errorf("it ends with %v, %t", recovered, returned)
					}
					n := b.srv.Executions("agents.trigger")
					if s := b.client.RateLimit(); s.InFlight != 0 || s.Reserved != 0 || s.Waiting != 0 {
						t.Errorf("the limiter is left with %+v", s)
					}
					b.srv.ClearFaults()
					if rest := b.run(t.Context(), messages(10), nil, connic.ResendUnknown()); rest.last != nil || len(rest.failed) > 0 {
						t.Errorf("afterwards: %+v", rest)
					}
					if total := b.srv.Executions("agents.trigger"); total != 10 {
						t.Errorf("%d runs were started, %d at first", total, n)
					}
				})
			})
		}
	}
}

type badPayload func()

func (f badPayload) MarshalJSON() ([]byte, error) {
	f()
	return []byte("{}"), nil
}

// A sequence that blocks delays neither results nor the end.
func TestTriggerAllWithQueue(t *testing.T) {
	t.Parallel()
	inBulkBubble(t, func(t *testing.T, b *bulkTest) {
		queue := make(chan string)
		released := atomic.Bool{}
		inputs := func(yield func(string, connic.TriggerRequest) bool) {
			defer released.Store(true)
			for key := range queue {
				if !yield(key, connic.TriggerRequest{Message: key}) {
					return
				}
			}
		}
		go func() {
			for i := range 3 {
				queue <- fmt.Sprint("k", i)
			}
		}()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		got := b.run(ctx, inputs, func(got *bulkTally) bool {
			if len(got.done) == 3 {
				cancel()
			}
			return true
		})
		if took := time.Since(began); len(got.done) != 3 || !errors.Is(got.last, context.Canceled) || took > 15*time.Second {
			t.Errorf("after %v: %+v", took, got)
		}
		if released.Load() {
			t.Error("the sequence was ended while it blocks")
		}
		close(queue)
	})
}
