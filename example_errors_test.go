package connic_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A call whose turn cannot come before its deadline fails at once. Nothing was
// sent, so it can be tried again later.
func ExampleLimitError() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client(connic.WithRateLimit(1, time.Minute))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	if _, err := client.Project.Get(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, err := client.Project.Get(ctx) // its turn comes in a minute
	var limit *connic.LimitError
	if errors.As(err, &limit) {
		fmt.Println(limit.Op, limit.Deadline, limit.Wait > 50*time.Second)
	}
	fmt.Println(errors.Is(err, connic.ErrRateLimited), errors.Is(err, context.DeadlineExceeded))
	fmt.Println("sent:", len(srv.Requests()))
	// Output:
	// project.get true true
	// true true
	// sent: 1
}

// RetryAfter tells your own callers how long to wait: the Retry-After of a 429,
// or the time until the call's turn.
func ExampleRetryAfter() {
	srv := connictest.New()
	defer srv.Close()
	srv.Fault(connictest.Fault{Op: "runs.list", Status: 429, RetryAfter: "30"})
	client := srv.Client()

	_, err := client.Runs.List(context.Background(), nil, connic.FailFast())
	after, ok := connic.RetryAfter(err)
	fmt.Println(after, ok, errors.Is(err, connic.ErrRateLimited))
	// Output: 30s true true
}

// Describe returns what all errors have in common, for logs and for the
// vendor's support.
func ExampleDescribe() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.ClientWithKey(srv.Key("runs:read"))

	_, err := client.Agents.Trigger(context.Background(), "support", connic.TriggerRequest{Message: "hello"})
	info, _ := connic.Describe(fmt.Errorf("greeting: %w", err))
	fmt.Println(info.Op, info.StatusCode, info.Attempts, info.Unknown)

	var refused *connic.Error
	if errors.As(err, &refused) && errors.Is(err, connic.ErrForbidden) {
		fmt.Println("the key needs", refused.Section, refused.Access)
	}
	// Output:
	// agents.trigger 403 1 false
	// the key needs agents write
}

// A status that this package does not know is preserved. It does not end a
// wait, so a new intermediate status is harmless.
func ExampleRunStatus_Known() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "hello", nil })
	srv.Fault(connictest.Fault{Op: "runs.get", Set: map[string]any{"status": "pondering"}})
	client := srv.Client()
	ctx := context.Background()
	started, err := client.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "hi"})
	if err != nil {
		fmt.Println(err)
		return
	}

	run, err := client.Runs.Get(ctx, started.RunID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Status, run.Status.Known(), run.Status.Finished())
	// Output: pondering false false
}
