package main

import (
	"context"
	_ "embed"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

//go:embed orders.jsonl
var orders string

// open opens the inputs, and creates a client of the real service if credentials
// are set, and of an embedded fake otherwise.
func open(agent, journal *string, file string) (*connic.Client, io.Reader, error) {
	_, noFile := os.Stat(".connic")
	real := os.Getenv("CONNIC_API_KEY") != "" || os.Getenv("CONNIC_PROJECT_ID") != "" || os.Getenv("CONNIC_TOKEN") != "" || noFile == nil
	if real && (*agent == "" || file == "") {
		return nil, nil, errors.New("name an agent of your project with -agent, and then a file of inputs: runs of the real service cost money")
	}
	var inputs io.Reader = strings.NewReader(orders)
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, err
		}
		inputs = f
	}
	if real {
		client, err := connic.NewFromEnv(connic.WithApplication("connic-bulk", connic.Version))
		return client, inputs, err
	}
	*agent = "thanks"
	*journal += ".fake" // what the fake has done is not done
	srv := connictest.Start()
	srv.Agent(*agent, thank)
	return srv.Client(), inputs, nil
}

// thank is an agent that thinks for a second.
func thank(ctx context.Context, in connictest.Input) (any, error) {
	in.Cost("0.0004", connic.EUR)
	select {
	case <-time.After(time.Second):
		return "Thank you for " + strings.TrimPrefix(in.Message[strings.LastIndex(in.Message, "\n")+1:], "Somebody has ordered "), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
