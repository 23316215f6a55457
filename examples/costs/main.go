// Costs prints what the agents of a project have cost in a month, exactly, and
// without mixing currencies. It costs one request.
//
//	go run ./examples/costs
//	go run ./examples/costs 2026-10
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/internal/service"
)

func main() {
	service.Fake() // Delete this line to use Connic.
	month := time.Now().UTC().Format("2006-01")
	if len(os.Args) > 1 {
		month = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	client, err := connic.NewFromEnv(connic.WithApplication("costs", "1.0"), connic.WithReadOnly())
	if err == nil {
		err = errors.Join(report(ctx, client, month, os.Stdout), client.Close())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "costs:", err)
		os.Exit(1)
	}
}

// report writes what each agent has cost in each currency, and the sums.
func report(ctx context.Context, client *connic.Client, month string, w io.Writer) error {
	from, err := time.Parse("2006-01", month) // in UTC, like budgets
	if err != nil {
		return fmt.Errorf("a month is written 2026-10: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	to := from.AddDate(0, 1, 0)
	usage, err := client.Budgets.Usage(ctx, &connic.UsageParams{From: from, To: to})
	if err != nil { // also if the service shows a part of the costs only
		return err
	}
	// Whether To itself is included is not documented.
	usage.Rows = slices.DeleteFunc(usage.Rows, func(r *connic.UsageRow) bool { return !r.Date.IsZero() && !r.Date.Before(to) })
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, agent := range usage.ByAgent() {
		if _, err := fmt.Fprintf(table, "%s\t%d runs\t%s\n", agent.Key, agent.RunCount, agent.Cost); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(table, "in %s\t\t%s\n", month, usage.Cost()); err != nil {
		return err
	}
	return table.Flush()
}
