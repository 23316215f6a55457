package connic_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// lasting is an agent that works for so long, and answers with its message.
func lasting(d time.Duration) connictest.AgentFunc {
	return func(ctx context.Context, in connictest.Input) (any, error) {
		if err := pause(ctx, d); err != nil {
			return nil, err
		}
		return "done: " + in.Message, nil
	}
}

// count is how many requests of an operation came.
func count(srv *connictest.Server, op string) int {
	n := 0
	for _, r := range srv.Requests() {
		if r.Op == op {
			n++
		}
	}
	return n
}

func trigger(t *testing.T, c *connic.Client, agent, message string) string {
	t.Helper()
	result, err := c.Agents.Trigger(t.Context(), agent, connic.TriggerRequest{Message: message})
	if err != nil {
		t.Fatal(err)
	}
	return result.RunID
}

func TestTriggerAndWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
			err := in.Step("think", "llm", func() error {
				in.Log("hm")
				return pause(ctx, 30*time.Second)
			})
			in.Tokens(connic.TokenUsage{Input: 10, Output: 5})
			in.Cost("0.02", "EUR")
			return map[string]string{"echo": in.Message}, err
		})
		var events []connic.WaitEvent
		client := srv.Client()
		run, err := client.Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: "hi"},
			connic.WithProgress(func(e connic.WaitEvent) { events = append(events, e) }))
		if err != nil {
			t.Fatal(err)
		}
		var output struct{ Echo string }
		if err := run.DecodeOutput(&output); err != nil || output.Echo != "hi" {
			t.Errorf("output %q: %v", run.Output, err)
		}
		if run.AgentName != "support" || run.Status != connic.RunCompleted || run.TokenUsage.Total != 15 || run.Cost.String() != "0.02" || run.Currency != "EUR" || run.DurationMS != 30000 {
			t.Errorf("%+v", run)
		}
		tree := run.SpanTree()
		if len(tree) != 1 || tree[0].Name != "support" || len(tree[0].Children) != 1 || tree[0].Children[0].Children[0].Type != "log" || !tree[0].Children[0].OK() {
			t.Errorf("the spans are %+v", run.Traces)
		}
		// 2, 5, 9.5, 16.25, 26.4, 41.4 s and a tenth of jitter.
		if n := len(events); n != 6 || !events[n-1].Done || events[0].Status != "running" || events[0].After < 2*time.Second || events[0].After > 2200*time.Millisecond {
			t.Errorf("%d polls: %+v", len(events), events)
		}
		if got := count(srv, "runs.get"); got != 6 || srv.Executions("agents.trigger") != 1 {
			t.Errorf("%d polls, %d triggers", got, srv.Executions("agents.trigger"))
		}
	})
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("fails", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("out of ideas") })
		srv.Agent("panics", func(context.Context, connictest.Input) (any, error) { panic("oh") })
		srv.Agent("slow", lasting(time.Hour))
		srv.Agent("asks", func(ctx context.Context, in connictest.Input) (any, error) { return "approved", in.AwaitApproval(ctx) })
		client := srv.Client()
		ctx := t.Context()

		for agent, text := range map[string]string{"fails": "out of ideas", "panics": "the agent panicked: oh"} {
			run, err := client.Agents.TriggerAndWait(ctx, agent, connic.TriggerRequest{Message: "x"})
			var bad *connic.RunError
			if !errors.As(err, &bad) || bad.Run != run || run.Status != connic.RunFailed || run.Error != text {
				t.Errorf("%s: %v, %+v", agent, err, run)
			}
		}

		// The context ends: the run's id stays known, and the run can be waited for again.
		short, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		run, err := client.Agents.TriggerAndWait(short, "slow", connic.TriggerRequest{Message: "x"})
		var wait *connic.WaitError
		if !errors.As(err, &wait) || !errors.Is(err, context.DeadlineExceeded) || wait.ID == "" || run == nil || run.ID != wait.ID || wait.LastStatus != "running" {
			t.Fatalf("%v, %+v", err, run)
		}
		if n := srv.Executions("agents.trigger"); n != 3 {
			t.Errorf("%d triggers, want 3", n)
		}

		// A run that is cancelled.
		if err := client.Runs.Cancel(ctx, wait.ID); err != nil {
			t.Fatal(err)
		}
		run, err = client.Runs.Wait(ctx, wait.ID)
		var ended *connic.RunError
		if !errors.As(err, &ended) || run.Status != connic.RunCancelled || errors.Is(err, connic.ErrUnknownStatus) {
			t.Errorf("%v, %+v", err, run)
		}

		// A run that waits for a person: shown, waited for, or an end by option.
		id := trigger(t, client, "asks", "x")
		var seen []string
		run, err = client.Runs.Wait(ctx, id, connic.StopAtApproval(), connic.WithProgress(func(e connic.WaitEvent) { seen = append(seen, e.Status) }))
		if err != nil || run.Status != connic.RunAwaitingApproval || !slices.Contains(seen, "awaiting_approval") {
			t.Errorf("%v, %+v, %v", err, run, seen)
		}
		time.AfterFunc(time.Minute, func() { srv.Approve(id) })
		if run, err = client.Runs.Wait(ctx, id); err != nil || run.Output != "approved" {
			t.Errorf("%v, %+v", err, run)
		}
		srv.Close()
	})
}

func TestWaitToleratesPollsThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("slow", lasting(10*time.Second))
		client := srv.Client()
		ctx := t.Context()

		id := trigger(t, client, "slow", "x")
		srv.Fault(connictest.Fault{Op: "runs.get", Nth: 2, Times: 4, Status: 500})
		var failed int
		run, err := client.Runs.Wait(ctx, id, connic.WithProgress(func(e connic.WaitEvent) {
			if e.Err != nil {
				failed++
			}
		}))
		if err != nil || failed != 4 || run.Output != "done: x" {
			t.Errorf("four polls fail: %v after %d", err, failed)
		}
		if got := count(srv, "runs.get"); got != 6 {
			t.Errorf("%d requests, want 6: a poll is not retried, the next one is the retry", got)
		}

		srv.Fault(connictest.Fault{Op: "runs.get", Times: 5, Drop: true})
		var wait *connic.WaitError
		if _, err = client.Runs.Wait(ctx, id, connic.WithPollFailures(5)); !errors.As(err, &wait) || wait.Polls != 5 {
			t.Errorf("five polls fail: %v", err)
		}

		// What was just created may not be visible yet; what was never is not.
		srv.Fault(connictest.Fault{Op: "runs.get", Times: 2, Status: 404})
		if _, err = client.Runs.Wait(ctx, id); err != nil {
			t.Errorf("not found twice: %v", err)
		}
		if _, err = client.Runs.Wait(ctx, "never"); !errors.Is(err, connic.ErrNotFound) {
			t.Errorf("not found for good: %v", err)
		}

		// No use in going on.
		before := count(srv, "runs.get")
		limited := srv.ClientWithKey(srv.Key("agents:read"))
		if run, err = limited.Runs.Wait(ctx, id); !errors.Is(err, connic.ErrForbidden) || run.ID != id {
			t.Errorf("forbidden: %v", err)
		}
		if got := count(srv, "runs.get") - before; got != 1 {
			t.Errorf("it asked %d times", got)
		}
	})
}

// answering is a transport that answers every request with the same body.
func answering(status int, body func() string) connic.Option {
	return connic.WithTransport(func(http.RoundTripper) http.RoundTripper {
		return transportFunc(func(r *http.Request) (*http.Response, error) {
			return response(r, status, body()), nil
		})
	})
}

func TestUnknownStatesEndAWait(t *testing.T) {
	t.Parallel()
	for body, test := range map[string]struct {
		polls   int
		unknown bool
		output  string
	}{
		`{"id": "r1", "status": "paused_by_moon", "output": "x"}`: {1, true, "x"},
		`{"id": "r1"}`:                                         {1, true, ""},
		`{"id": "r1", "output": "x"}`:                          {1, false, "x"},
		`{"id": "r1", "ended_at": "2026-11-23T10:00:00"}`:      {1, false, ""},
		`{"id": "r1", "status": "COMPLETED", "output": "x"}`:   {1, true, "x"},
		`{"id": "r1", "status": "completed", "error": "warn"}`: {1, false, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			polls := 0
			client := connictest.New().Client(answering(200, func() string { polls++; return body }))
			run, err := client.Runs.Wait(t.Context(), "r1")
			if polls != test.polls || errors.Is(err, connic.ErrUnknownStatus) != test.unknown || (err != nil) != test.unknown || run.Output != test.output {
				t.Errorf("%s: %v after %d polls, %+v", body, err, polls, run)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		client := connictest.New().Client(answering(200, func() string { return `{"id": "r1", "error": "boom"}` }))
		run, err := client.Runs.Wait(t.Context(), "r1")
		var bad *connic.RunError
		if !errors.As(err, &bad) || run.Error != "boom" || errors.Is(err, connic.ErrUnknownStatus) {
			t.Errorf("an error without a status: %v", err)
		}
	})
}

func TestTriggerAndWaitUsesWhatItGot(t *testing.T) {
	t.Parallel()
	// The answer to the trigger holds the output: nothing is left to wait for.
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		client := connictest.New().Client(answering(200, func() string { sent++; return `{"status": "ok", "output": {"a": 1}}` }))
		run, err := client.Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: "x"})
		if err != nil || sent != 1 || run.Output != `{"a": 1}` || run.AgentName != "support" || run.Status != connic.RunCompleted {
			t.Errorf("%v after %d requests, %+v", err, sent, run)
		}
	})
	// The answer breaks off after the run's id: the run is waited for, not triggered again.
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("support", lasting(time.Second))
		srv.Fault(connictest.Fault{Op: "agents.trigger", Truncate: len(`{"agent_name":"support","run_id":"run-00000002"`)})
		run, err := srv.Client().Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: "x"})
		if err != nil || run.Output != "done: x" || srv.Executions("agents.trigger") != 1 {
			t.Errorf("%v, %+v", err, run)
		}
	})
	// It breaks off before: the outcome is unknown, and nothing is sent again.
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("support", lasting(time.Second))
		srv.Fault(connictest.Fault{Op: "agents.trigger", Truncate: 10})
		run, err := srv.Client().Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: "x"})
		if !errors.Is(err, connic.ErrOutcomeUnknown) || run != nil || srv.Executions("agents.trigger") != 1 {
			t.Errorf("%v, %+v", err, run)
		}
		srv.Close()
	})
}

func TestR6WaitingForManyRuns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		runs, perMinute int
		grown           time.Duration // from when on
	}{{500, 25, 0}, {50, 6, time.Minute}} {
		t.Run(fmt.Sprint(test.runs), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New()
				srv.RateLimit(0, 0, connictest.FixedWindow)
				random := newDice(3)
				var mu sync.Mutex
				ended := make(map[string]time.Time)
				srv.Agent("a", func(ctx context.Context, in connictest.Input) (any, error) {
					if err := pause(ctx, random.upTo(20*time.Minute)); err != nil {
						return nil, err
					}
					mu.Lock()
					defer mu.Unlock()
					ended[in.RunID] = time.Now()
					return in.Message, nil
				})
				srv.Agent("b", lasting(time.Second))
				setup := srv.Client(connic.WithoutRateLimit())
				var ids []string
				for i := range test.runs {
					ids = append(ids, trigger(t, setup, "a", fmt.Sprint(i)))
				}
				srv.RateLimit(60, time.Minute, connictest.SlidingWindow)
				before := len(srv.Requests())

				// Triggers go on meanwhile, and must not feel the polling.
				client := srv.Client(withDelay(internet(newDice(4))))
				stop, cancel := context.WithCancel(t.Context())
				defer cancel()
				var slowest atomic.Int64
				var others sync.WaitGroup
				others.Go(func() {
					for pause(stop, 3*time.Second) == nil {
						start := time.Now()
						if _, err := client.Agents.Trigger(stop, "b", connic.TriggerRequest{Message: "x"}); err != nil && stop.Err() == nil {
							t.Error(err)
						}
						slowest.Store(max(slowest.Load(), int64(time.Since(start))))
					}
				})

				start := time.Now()
				seen := make(map[string]bool)
				for run, err := range client.Runs.WaitAll(t.Context(), ids) {
					if err != nil {
						t.Fatal(err)
					}
					mu.Lock()
					late := time.Since(ended[run.ID])
					mu.Unlock()
					if late > 20*time.Second || seen[run.ID] || run.Status != connic.RunCompleted || run.Output == "" {
						t.Errorf("%s came %v after its end: %+v", run.ID, late, run)
					}
					seen[run.ID] = true
				}
				cancel()
				others.Wait()
				if len(seen) != test.runs {
					t.Errorf("%d runs ended", len(seen))
				}
				if d := time.Duration(slowest.Load()); d > time.Second {
					t.Errorf("a trigger took %v", d)
				}
				var polls []time.Time
				for _, r := range srv.Requests()[before:] {
					if r.Op != "agents.trigger" {
						polls = append(polls, r.At)
					}
				}
				if n := busiestMinute(polls, start.Add(test.grown)); n > test.perMinute {
					t.Errorf("%d requests within a minute, want at most %d", n, test.perMinute)
				}
				t.Logf("%d runs: %d requests in %v", test.runs, len(polls), time.Since(start).Round(time.Second))
				srv.Close()
			})
		})
	}
}

// busiestMinute is the largest number of instants, not before from, that lie
// within a minute.
func busiestMinute(instants []time.Time, from time.Time) (most int) {
	for i, first := range instants {
		n := 0
		for _, at := range instants[i:] {
			if !first.Before(from) && at.Sub(first) < time.Minute {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func TestWaitAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("ok", lasting(20*time.Second))
		srv.Agent("bad", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no") })
		client := srv.Client()
		ids := []string{trigger(t, client, "ok", "1"), trigger(t, client, "bad", "2"), trigger(t, client, "ok", "3"), trigger(t, client, "ok", "4")}
		got := make(map[string]error)
		for run, err := range client.Runs.WaitAll(t.Context(), append(ids, ids...)) {
			if run == nil {
				t.Fatal(err)
			}
			if _, twice := got[run.ID]; twice {
				t.Errorf("%s came twice", run.ID)
			}
			got[run.ID] = err
		}
		var bad *connic.RunError
		if len(got) != 4 || got[ids[0]] != nil || got[ids[2]] != nil || !errors.As(got[ids[1]], &bad) {
			t.Errorf("%v", got)
		}
		if n := count(srv, "runs.get"); n != 0 {
			t.Errorf("%d single requests", n)
		}

		// No ids, no requests; a break ends it.
		before := len(srv.Requests())
		for range client.Runs.WaitAll(t.Context(), nil) {
			t.Error("something ended")
		}
		if len(srv.Requests()) != before {
			t.Error("no ids cost requests")
		}
		for range client.Runs.WaitAll(t.Context(), ids) {
			break
		}
		if n := len(srv.Requests()) - before; n != 1 {
			t.Errorf("%d requests before a break, want 1", n)
		}
	})
}

func TestWaitAllWithoutAList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("a", lasting(time.Minute))
		client := srv.Client()
		var ids []string
		for range 10 {
			ids = append(ids, trigger(t, client, "a", "x"))
		}
		srv.Fault(connictest.Fault{Op: "runs.list", Times: -1, Status: 403})
		start, before := time.Now(), len(srv.Requests())
		done, err := connic.Collect(client.Runs.WaitAll(t.Context(), ids), 0)
		if err != nil || len(done) != 10 {
			t.Fatalf("%v, %d runs", err, len(done))
		}
		if n := count(srv, "runs.list"); n != 1 {
			t.Errorf("it asked for the list %d times", n)
		}
		var polls []time.Time
		for _, r := range srv.Requests()[before:] {
			polls = append(polls, r.At)
		}
		if n := busiestMinute(polls, start); n > 25 {
			t.Errorf("%d requests within a minute", n)
		}
	})
}

func TestWaitAllAsksForWhatTheListDoesNotShow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.RateLimit(0, 0, connictest.FixedWindow)
		srv.Agent("old", lasting(time.Minute))
		srv.Agent("new", lasting(0))
		client := srv.Client(connic.WithoutRateLimit())
		ids := []string{trigger(t, client, "old", "1"), trigger(t, client, "old", "2")}
		for range 600 { // they push the two off every page that is looked at
			trigger(t, client, "new", "x")
		}
		done, err := connic.Collect(client.Runs.WaitAll(t.Context(), ids), 0)
		if err != nil || len(done) != 2 || count(srv, "runs.get") == 0 {
			t.Errorf("%v, %d runs, %d single requests", err, len(done), count(srv, "runs.get"))
		}
	})
}

func TestWaitAllEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.Agent("fast", lasting(5*time.Second))
		srv.Agent("slow", lasting(time.Hour))
		client := srv.Client()
		ids := []string{trigger(t, client, "slow", "1"), trigger(t, client, "fast", "2"), trigger(t, client, "slow", "3")}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var ended []string
		var last error
		for run, err := range client.Runs.WaitAll(ctx, ids) {
			if run != nil {
				ended = append(ended, run.ID)
			}
			last = err
		}
		var wait *connic.WaitError
		if strings.Join(ended, " ") != ids[1] || !errors.As(last, &wait) || !errors.Is(last, context.DeadlineExceeded) ||
			!slices.Equal(wait.Pending, []string{ids[0], ids[2]}) || wait.LastStatus != "running" {
			t.Errorf("%v ended, then %v", ended, last)
		}
		srv.Close()
	})
}

func ExampleRunsService_WaitAll() {
	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("upper", func(_ context.Context, in connictest.Input) (any, error) { return strings.ToUpper(in.Message), nil })
	client := srv.Client()

	ctx := context.Background()
	var ids []string
	for _, message := range []string{"one", "two"} {
		result, err := client.Agents.Trigger(ctx, "upper", connic.TriggerRequest{Message: message})
		if err != nil {
			fmt.Println(err)
			return
		}
		ids = append(ids, result.RunID)
	}
	for run, err := range client.Runs.WaitAll(ctx, ids) {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(run.Input, run.Output)
	}
	// Unordered output:
	// one ONE
	// two TWO
}

func ExampleAgentsService_TriggerAndWait() {
	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("greeter", func(_ context.Context, in connictest.Input) (any, error) { return "Hello " + in.Message, nil })
	client := srv.Client() // in production: connic.NewFromEnv()

	run, err := client.Agents.TriggerAndWait(context.Background(), "greeter", connic.TriggerRequest{Message: "Ada"},
		connic.WithPoll(50*time.Millisecond, time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Output)
	// Output: Hello Ada
}
