package connic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Do calls an operation that this package does not offer, with the same key,
// rate limit and errors.
func ExampleClient_Do() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "hello", nil })
	client := srv.Client()

	var started struct {
		RunID string `json:"run_id"`
	}
	in := map[string]any{"message": "hi"}
	if err := client.Do(context.Background(), http.MethodPost, "/agents/support/trigger", nil, in, &started); err != nil {
		fmt.Println(err)
		return
	}
	var runs json.RawMessage
	if err := client.Do(context.Background(), http.MethodGet, "/runs", url.Values{"limit": {"1"}}, nil, &runs); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(started.RunID != "", json.Valid(runs))
	// Output: true true
}

// KeepRaw gives access to a field that this package does not know.
func ExampleKeepRaw() {
	srv := connictest.New()
	defer srv.Close()
	srv.Fault(connictest.Fault{Op: "project.get", Set: map[string]any{"plan": "team"}})
	client := srv.Client()

	project, err := client.Project.Get(context.Background(), connic.KeepRaw())
	if err != nil {
		fmt.Println(err)
		return
	}
	var more struct {
		Plan string `json:"plan"`
	}
	if err := json.Unmarshal(project.Raw(), &more); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(more.Plan)
	// Output: team
}

// CaptureResponse stores the response as it was received, whether or not the
// call succeeds.
func ExampleCaptureResponse() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client()

	var answer connic.Response
	_, err := client.Runs.Get(context.Background(), "no-such-run", connic.CaptureResponse(&answer))
	fmt.Println(err != nil, answer.StatusCode, answer.Attempts, json.Valid(answer.Body))
	// Output: true 404 1 true
}

// An observer collects metrics. Operations and event kinds are stable and few,
// so they can serve as labels.
func ExampleWithObserver() {
	srv := connictest.New()
	defer srv.Close()
	srv.Fault(connictest.Fault{Op: "project.get", Status: http.StatusBadGateway})
	requests := make(map[string]int)
	client := srv.Client(
		connic.WithRetry(connic.RetryPolicy{MinWait: time.Millisecond, MaxWait: time.Millisecond}),
		connic.WithObserver(func(_ context.Context, e connic.Event) {
			switch e.Kind {
			case connic.EventAttempt:
				requests[fmt.Sprintf("%s %d", e.Op, e.StatusCode)]++ // with concurrent calls, under a mutex
			case connic.EventDone:
				fmt.Println(e.Op, "attempts:", e.Attempt, "failed:", e.Err != nil)
			default: // queued, retry
			}
		}),
	)
	if _, err := client.Project.Get(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(requests)
	// Output:
	// project.get attempts: 2 failed: false
	// map[project.get 200:1 project.get 502:1]
}

// WithRoute moves an operation whose path turns out to be different.
func ExampleWithRoute() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client(connic.WithRoute("runs.get", "/projects/{project}/agent-runs/{run}"))

	// The fake does not have that path, so this shows where the request went.
	var answer connic.Response
	_, err := client.Runs.Get(context.Background(), "run-1", connic.CaptureResponse(&answer))
	fmt.Println(answer.StatusCode, err != nil)
	fmt.Println(srv.Requests()[0].Path == "/v1/projects/"+connictest.ProjectID+"/agent-runs/run-1")
	// Output:
	// 403 true
	// true
}
