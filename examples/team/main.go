// Team is a program of a team that has wrapped the client in a package of its own.
// It depends on an interface with the one method that it needs, and its test needs
// neither a client nor a fake.
//
//	go run ./examples/team
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/internal/service"
	"github.com/connic-go/connic/examples/team/internal/assistant"
)

// An answerer is what this program needs of the assistant.
type answerer interface {
	Answer(ctx context.Context, question string) (string, error)
}

func main() {
	service.Fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	client, err := connic.NewFromEnv(connic.WithApplication("team", "1.0"))
	if err == nil {
		err = errors.Join(reply(ctx, assistant.New(client), "How long may I keep the goods?", os.Stdout), client.Close())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "team:", err)
		os.Exit(1)
	}
}

// reply writes a letter to a customer.
func reply(ctx context.Context, a answerer, question string, w io.Writer) error {
	answer, err := a.Answer(ctx, question)
	var wait *connic.WaitError
	switch {
	case errors.Is(err, connic.ErrRateLimited) && !errors.As(err, &wait): // nothing was asked
		answer = "we have many questions today, and answer yours tomorrow."
	case err != nil:
		return err
	}
	_, err = fmt.Fprintf(w, "Dear customer,\n%s\n", answer)
	return err
}
