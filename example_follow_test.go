package connic_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Forward the runs of a project as they end, whoever triggers them.
func ExampleRunsService_Follow() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	client := srv.Client()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	since := time.Now().Add(-time.Second)
	for _, message := range []string{"one", "two"} {
		if _, err := client.Agents.Trigger(ctx, "echo", connic.TriggerRequest{Message: message}); err != nil {
			log.Fatal(err)
		}
	}
	n := 0
	// The default is a look every 5 to 30 s.
	for e, err := range client.Runs.Follow(ctx, connic.FollowEnded, &connic.RunListParams{CreatedAfter: since}, connic.WithPoll(10*time.Millisecond, time.Second)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Run.AgentName, e.Run.Status, e.Run.Output)
		if n++; n == 2 {
			break
		}
	}
	// Unordered output:
	// echo completed one
	// echo completed two
}

// End a service within a bound, and say what is left.
func ExampleClient_Drain() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("slow", func(ctx context.Context, _ connictest.Input) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	client := srv.Client()
	waiting := make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := client.Agents.TriggerAndWait(context.Background(), "slow", connic.TriggerRequest{Message: "go"},
			connic.WithPoll(10*time.Millisecond, time.Second), connic.WithProgress(func(e connic.WaitEvent) {
				if e.Polls == 1 {
					close(waiting)
				}
			}))
		done <- err
	}()
	<-waiting

	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := client.Drain(ctx)
	var left *connic.DrainError
	if errors.As(err, &left) {
		fmt.Println("left:", left.Runs())
	}
	fmt.Println("the caller learns it too:", errors.Is(<-done, connic.ErrClosed))
	// Output:
	// left: [run-00000001]
	// the caller learns it too: true
}
