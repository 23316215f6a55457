package connic_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A Receipt is the input of an agent, and an Invoice its output. The module
// contrib/connicgen generates such types from the schemas of a project.
type Receipt struct {
	Customer int64 `json:"customer"`
}

type Invoice struct {
	Number string        `json:"number" connic:"required"`
	Lines  []InvoiceLine `json:"lines" connic:"required"`
}

type InvoiceLine struct {
	Price float64 `json:"price" connic:"required"`
}

// The name of the agent, its input and its output are tied in one constant.
const ReadReceipt connic.AgentOf[Receipt, Invoice] = "receipt-reader"

func ExampleAgentOf() {
	srv := connictest.New()
	defer srv.Close()
	connictest.Handle(srv, ReadReceipt, func(_ context.Context, in Receipt) (Invoice, error) {
		return Invoice{Number: fmt.Sprintf("2026-%d", in.Customer), Lines: []InvoiceLine{{Price: 12.5}}}, nil
	})
	client := srv.Client() // in production: connic.NewFromEnv()

	quick := connic.WithPoll(time.Millisecond, time.Millisecond) // only against a fake
	invoice, run, err := ReadReceipt.TriggerAndWait(context.Background(), client, Receipt{Customer: 7}, quick)
	var bad *connic.OutputError
	switch {
	case errors.As(err, &bad): // completed and billed: do not trigger it again
		fmt.Println("an odd output:", bad.Problem, bad.Field, run.Output)
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(invoice.Number, invoice.Lines[0].Price)
	}
	// Output: 2026-7 12.5
}

// The outputs of many runs: each that is yielded without an error has one.
func ExampleAgentOf_Output() {
	srv := connictest.New()
	defer srv.Close()
	connictest.Handle(srv, ReadReceipt, func(_ context.Context, in Receipt) (Invoice, error) {
		if in.Customer == 0 {
			return Invoice{}, errors.New("there is no customer 0")
		}
		return Invoice{Number: fmt.Sprintf("2026-%d", in.Customer), Lines: []InvoiceLine{}}, nil
	})
	client, ctx := srv.Client(), context.Background()
	var ids []string
	for customer := range 3 {
		result, err := ReadReceipt.Trigger(ctx, client, Receipt{Customer: int64(customer)})
		if err != nil {
			fmt.Println(err)
			return
		}
		ids = append(ids, result.RunID)
	}
	invoices := make(map[string]Invoice)
	for run, err := range client.Runs.WaitAll(ctx, ids, connic.WithPoll(time.Millisecond, time.Millisecond)) {
		var invoice Invoice
		if err == nil {
			invoice, err = ReadReceipt.Output(run)
		}
		if err != nil {
			fmt.Println(err)
			continue
		}
		invoices[run.ID] = invoice
	}
	fmt.Println(invoices[ids[1]].Number, invoices[ids[2]].Number)
	// Output:
	// connic: run run-00000001 of agent receipt-reader ended: failed: there is no customer 0
	// 2026-1 2026-2
}

// An output that does not fit says where.
func ExampleOutputAs() {
	run := &connic.Run{ID: "run-7", AgentName: "receipt-reader", Status: connic.RunCompleted, Output: `{"number": "2026-7", "lines": [{"price": 1}, {}]}`}
	_, err := connic.OutputAs[Invoice](run)
	fmt.Println(err)
	// Output: connic: the output of run run-7 of agent receipt-reader is no connic_test.Invoice: lines[1].price is missing
}
