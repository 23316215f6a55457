// Package virtualtime asks an agent that may take an hour. Its test takes
// milliseconds:
//
//	go test -v ./examples/virtualtime
package virtualtime

import (
	"context"
	"time"

	"github.com/connic-go/connic"
)

// Research returns what the agent research finds out within an hour. After that it
// cancels the run, which would be billed on.
func Research(ctx context.Context, client *connic.Client, question string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	run, err := client.Agents.TriggerAndWait(ctx, "research", connic.TriggerRequest{Message: question}, connic.CancelOnAbort())
	if err != nil {
		return "", err
	}
	return run.Output, nil
}
