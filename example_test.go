package connic_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A program triggers an agent and prints its output. The fake stands in for the
// service, so the example runs anywhere.
func Example() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		return "You said: " + in.Message, nil
	})
	client := srv.Client() // in production: connic.NewFromEnv()

	quick := connic.WithPoll(time.Millisecond, time.Millisecond) // only against a fake
	run, err := client.Agents.TriggerAndWait(context.Background(), "support", connic.TriggerRequest{Message: "hello"}, quick)
	var failed *connic.RunError
	switch {
	case errors.As(err, &failed):
		fmt.Println("the agent failed:", failed.Run.Error)
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(run.Output)
	}
	// Output: You said: hello
}
