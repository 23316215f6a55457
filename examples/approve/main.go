// Approve starts an agent that asks before it pays, and lets the person at the
// terminal decide.
//
//	go run ./examples/approve
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/internal/service"
)

func main() {
	service.Fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	client, err := connic.NewFromEnv(connic.WithApplication("approve", "1.0"))
	if err == nil {
		err = errors.Join(pay(ctx, client, os.Stdin, os.Stdout), client.Close())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "approve:", err)
		os.Exit(1)
	}
}

// pay starts the agent and waits for its run, which pauses for the decision.
func pay(ctx context.Context, client *connic.Client, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	lines := read(ctx, in)
	run, err := client.Agents.TriggerAndWait(ctx, "payments", connic.TriggerRequest{Message: "Pay invoice 17"},
		connic.OnApproval(func(ctx context.Context, a *connic.Approval) (connic.Decision, error) {
			for len(lines) > 0 {
				<-lines // typed before the question was asked
			}
			// Quoted, because arguments can contain anything.
			if _, err := fmt.Fprintf(out, "%q wants to call %q with %q. Approve? [y/N] ", a.AgentName, a.ToolName, a.Arguments); err != nil {
				return connic.Decision{}, err
			}
			select {
			case line, ok := <-lines:
				if !ok {
					return connic.Decision{}, errors.New("nobody has decided: the input has ended")
				}
				return connic.Decision{Approve: line == "y", Reason: "decided at the terminal"}, nil
			case <-ctx.Done(): // somebody else decided, or the approval expired
				return connic.Decision{}, ctx.Err()
			}
		}))
	var failed *connic.RunError
	switch {
	case errors.As(err, &failed): // also after a rejection
		_, err = fmt.Fprintf(out, "not paid: %v\n", err)
	case err == nil:
		_, err = fmt.Fprintln(out, run.Output)
	}
	return err
}

// read returns the lines of the input. It reads until the input ends.
func read(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string, 64)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
