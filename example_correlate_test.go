package connic_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// The response to a trigger is lost. The run is found by a marker in the
// payload, so it is not started twice.
func ExampleRunsService_FindTriggered() {
	srv := connictest.Start()
	defer srv.Close()
	srv.Agent("greeter", func(context.Context, connictest.Input) (any, error) { return "Hello", nil })
	srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})
	client := srv.Client() // in production: connic.NewFromEnv()
	ctx := context.Background()

	marker, since := rand.Text(), time.Now()
	_, err := client.Agents.Trigger(ctx, "greeter", connic.TriggerRequest{
		Payload: map[string]string{"name": "Ada", "request_id": marker},
	})
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

func TestFindTriggered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", lasting(0))
		client := srv.Client(connic.WithoutRateLimit())
		trigger(t, client, "a", "marker-of-an-older-one")
		time.Sleep(2 * time.Minute)
		since := time.Now()
		id := trigger(t, client, "a", "see marker-of-an-older-one")
		trigger(t, client, "a", "another")
		runs, err := client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "marker-of-an-older-one", Since: since})
		if err != nil || len(runs) != 1 || runs[0].ID != id {
			t.Errorf("%v, %v", runs, err)
		}
		if runs, err = client.Runs.FindTriggered(t.Context(), connic.RunSearch{Marker: "never-sent", Since: since}); err != nil || len(runs) != 0 {
			t.Errorf("%v, %v", runs, err)
		}
		for _, bad := range []connic.RunSearch{{Since: since}, {Marker: "short", Since: since}, {Marker: `with "quotes"`, Since: since}, {Marker: "marker-1"}} {
			var argument *connic.ArgumentError
			if _, err = client.Runs.FindTriggered(t.Context(), bad); !errors.As(err, &argument) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}
