package connic_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// An abandoned wait is resumed with nothing but the id of the run.
func ExampleRunsService_Wait_resume() {
	srv := connictest.New()
	defer srv.Close()
	gate := make(chan struct{})
	srv.Agent("slow", func(ctx context.Context, _ connictest.Input) (any, error) {
		select {
		case <-gate:
			return "done", nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	client := srv.Client()
	started, err := client.Agents.Trigger(context.Background(), "slow", connic.TriggerRequest{Message: "go"})
	if err != nil {
		fmt.Println(err)
		return
	}

	impatient, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = client.Runs.Wait(impatient, started.RunID)
	var ended *connic.WaitError
	if !errors.As(err, &ended) {
		fmt.Println(err)
		return
	}
	fmt.Println("given up:", ended.Kind, ended.ID == started.RunID)

	close(gate)
	run, err := client.Runs.Wait(context.Background(), ended.ID, connic.WithPoll(time.Millisecond, time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Output)
	// Output:
	// given up: run true
	// done
}

// A run that ended badly is returned together with an error.
func ExampleRunError() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no such order") })
	client := srv.Client()

	run, err := client.Agents.TriggerAndWait(context.Background(), "support", connic.TriggerRequest{Message: "order 7"},
		connic.WithPoll(time.Millisecond, time.Millisecond))
	var failed *connic.RunError
	fmt.Println(errors.As(err, &failed))
	fmt.Println(run.Status, run.Error)
	// Output:
	// true
	// failed no such order
}

// A worker receives the ids of runs that others start, and collects the runs as
// they end.
func ExampleRunsService_Watch() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("upper", func(_ context.Context, in connictest.Input) (any, error) { return strings.ToUpper(in.Message), nil })
	client := srv.Client()
	ctx := context.Background()

	ids := make(chan string)
	go func() {
		defer close(ids)
		for _, message := range []string{"one", "two"} {
			started, err := client.Agents.Trigger(ctx, "upper", connic.TriggerRequest{Message: message})
			if err != nil {
				fmt.Println(err)
				return
			}
			ids <- started.RunID
		}
	}()
	for run, err := range client.Runs.Watch(ctx, ids, connic.WithPoll(time.Millisecond, time.Millisecond)) {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(run.Output)
	}
	// Unordered output:
	// ONE
	// TWO
}

// Cancel stops a run. A run that has already ended is not affected.
func ExampleRunsService_Cancel() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("slow", func(ctx context.Context, _ connictest.Input) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	client := srv.Client()
	ctx := context.Background()
	started, err := client.Agents.Trigger(ctx, "slow", connic.TriggerRequest{Message: "go"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := client.Runs.Cancel(ctx, started.RunID); err != nil {
		fmt.Println(err)
		return
	}
	run, err := client.Runs.Wait(ctx, started.RunID, connic.WithPoll(time.Millisecond, time.Millisecond))
	var failed *connic.RunError
	fmt.Println(run.Status, errors.As(err, &failed))
	// Output: cancelled true
}

// SpanTree shows what an agent did, step by step.
func ExampleRun_SpanTree() {
	run := &connic.Run{Traces: []connic.Span{
		{ID: "1", Name: "support", Type: "agent", DurationMS: 900},
		{ID: "3", ParentID: "1", Order: 2, Name: "answer", Type: "llm", DurationMS: 500},
		{ID: "2", ParentID: "1", Order: 1, Name: "find_order", Type: "tool", DurationMS: 300},
	}}
	var show func(nodes []*connic.SpanNode, depth int)
	show = func(nodes []*connic.SpanNode, depth int) {
		for _, n := range nodes {
			fmt.Printf("%s%s %s %v ms\n", strings.Repeat("- ", depth), n.Type, n.Name, n.DurationMS)
			show(n.Children, depth+1)
		}
	}
	show(run.SpanTree(), 0)
	// Output:
	// agent support 900 ms
	// - tool find_order 300 ms
	// - llm answer 500 ms
}

// Collect reads the first runs of a list. It requests no further pages.
func ExampleCollect() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("upper", func(_ context.Context, in connictest.Input) (any, error) { return strings.ToUpper(in.Message), nil })
	client := srv.Client()
	ctx := context.Background()
	for i := range 5 {
		if _, err := client.Agents.Trigger(ctx, "upper", connic.TriggerRequest{Message: fmt.Sprint("message ", i)}); err != nil {
			fmt.Println(err)
			return
		}
	}

	newest, err := connic.Collect(client.Runs.All(ctx, &connic.RunListParams{Limit: 2}), 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, run := range newest {
		fmt.Println(run.Input)
	}
	pages := 0
	for _, r := range srv.Requests() {
		if r.Op == "runs.list" {
			pages++
		}
	}
	fmt.Println("pages:", pages)
	// Output:
	// message 4
	// message 3
	// pages: 1
}

// A loop over an iterator can be left at any time.
func ExampleAgentsService_All() {
	srv := connictest.New()
	defer srv.Close()
	for _, name := range []string{"orders", "support", "translator"} {
		srv.Agent(name, func(context.Context, connictest.Input) (any, error) { return "", nil })
	}
	client := srv.Client()

	var names []string
	for agent, err := range client.Agents.All(context.Background(), nil) {
		if err != nil {
			fmt.Println(err) // and the iteration ends
			return
		}
		if names = append(names, agent.Name); agent.Name == "support" {
			break
		}
	}
	fmt.Println(slices.Contains(names, "support"))
	// Output: true
}

// A caller that gives up cancels the run that it started, because its result
// would be paid for but not used.
func ExampleCancelOnAbort() {
	srv := connictest.New()
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background()) // for example, the context of an HTTP request
	defer cancel()
	srv.Agent("slow", func(run context.Context, _ connictest.Input) (any, error) {
		cancel() // the caller gives up while the agent works
		<-run.Done()
		return nil, run.Err()
	})
	client := srv.Client()

	_, err := client.Agents.TriggerAndWait(ctx, "slow", connic.TriggerRequest{Message: "go"}, connic.CancelOnAbort())
	var ended *connic.WaitError
	if !errors.As(err, &ended) {
		fmt.Println(err)
		return
	}
	run, err := client.Runs.Get(context.Background(), ended.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(errors.Is(ended, context.Canceled), run.Status)
	// Output: true cancelled
}
