// Typed calls an agent whose input and output are Go types.
//
//	go run ./examples/typed
//
// connicgen generates the types from the schemas of a project: see
// docs/guide/typed.md.
package main

import (
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

// ExtractInvoice is the agent: its name, and the types of its input and output.
const ExtractInvoice connic.AgentOf[Request, Invoice] = "invoice-extractor"

// Request is the input of the agent.
type Request struct {
	Text string `json:"text"`
}

// Invoice is the output of the agent.
type Invoice struct {
	Vendor string `json:"vendor" connic:"required"`
	Items  []Item `json:"items" connic:"required"`
}

// Item is a line of an invoice.
type Item struct {
	Name  string         `json:"name"`
	Price connic.Decimal `json:"price" connic:"required"`
}

func main() {
	service.Fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	client, err := connic.NewFromEnv(connic.WithApplication("typed", "1.0"))
	if err == nil {
		err = errors.Join(add(ctx, client, "Screws Ltd.\nscrews 10.00\nnuts 2.50\n", os.Stdout), client.Close())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "typed:", err)
		os.Exit(1)
	}
}

// add writes the sum of an invoice.
func add(ctx context.Context, client *connic.Client, text string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	invoice, run, err := ExtractInvoice.TriggerAndWait(ctx, client, Request{Text: text})
	var unfit *connic.OutputError
	if errors.As(err, &unfit) { // the run completed and was billed: do not start it again
		return fmt.Errorf("read run %s by hand: %w", run.ID, err)
	}
	if err != nil {
		return err
	}
	var sum connic.Decimal
	for _, item := range invoice.Items {
		sum = sum.Add(item.Price)
	}
	_, err = fmt.Fprintf(w, "%s: %d items, %s in all\n", invoice.Vendor, len(invoice.Items), sum)
	return err
}
