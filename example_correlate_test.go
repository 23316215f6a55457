package connic_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// The response to a trigger is lost. The run is found by its marker, so it is
// not started twice.
func ExampleRunsService_FindTriggered() {
	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("greeter", func(context.Context, connictest.Input) (any, error) { return "Hello", nil })
	srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})
	client := srv.Client() // in production: connic.NewFromEnv()
	ctx := context.Background()

	req, marker := connic.TriggerRequest{Message: "Say hello", Payload: map[string]string{"name": "Ada"}}.Marked()
	since := time.Now()
	_, err := client.Agents.Trigger(ctx, "greeter", req)
	if !errors.Is(err, connic.ErrOutcomeUnknown) {
		fmt.Println(err)
		return
	}
	runs, err := client.Runs.FindTriggered(ctx, connic.RunSearch{Marker: marker, AgentName: "greeter", Since: since})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, run := range runs {
		fmt.Println("it was started:", run.AgentName)
	}
	// Output: it was started: greeter
}
