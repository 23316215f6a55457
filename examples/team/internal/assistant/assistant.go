// Package assistant is what the programs of a team see of Connic: questions and
// answers. It decides what they would otherwise decide each in its own way:
// the agent, the deadline, what becomes of a run that nobody waits for.
package assistant

import (
	"context"
	"fmt"
	"time"

	"github.com/connic-go/connic"
)

const (
	agent   = "support"
	timeout = time.Minute
)

// An Assistant answers questions. It is safe for concurrent use: create one at
// startup.
type Assistant struct{ client *connic.Client }

// New returns an Assistant that uses a client.
func New(client *connic.Client) *Assistant { return &Assistant{client} }

// Answer returns the answer to a question. Its errors wrap those of package connic:
// errors.Is, errors.As, connic.RetryAfter and connic.Describe find them.
func (a *Assistant) Answer(ctx context.Context, question string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	run, err := a.client.Agents.TriggerAndWait(ctx, agent, connic.TriggerRequest{Message: question}, connic.CancelOnAbort())
	if err != nil {
		return "", fmt.Errorf("assistant: %w", err) // %w, not %v: whether it may be asked again is in there
	}
	return run.Output, nil
}
