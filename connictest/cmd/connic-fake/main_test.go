package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

func TestServesAClientAndStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-addr", "127.0.0.1:0", "-rate", "30", "-window", "sliding"}, w, io.Discard)
	}()
	variables := make(map[string]string)
	for lines := bufio.NewScanner(r); len(variables) < 7 && lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		variables[name] = value
	}
	c, err := connic.New(variables["CONNIC_PROJECT_ID"], connic.APIKey(variables["CONNIC_API_KEY"]), connic.WithBaseURL(variables["CONNIC_API_URL"]))
	if err != nil {
		t.Fatal(err)
	}
	run, err := c.Agents.TriggerAndWait(ctx, "echo", connic.TriggerRequest{Message: "hello"}, connic.WithPoll(time.Millisecond, time.Millisecond))
	if err != nil || run.Output != "hello" {
		t.Errorf("%v, %+v", err, run)
	}
	for _, name := range []string{"SYNC", "INBOUND"} {
		hook, err := connector.New(variables[name+"_URL"], connector.Secret(variables[name+"_SECRET"]))
		if err != nil {
			t.Fatal(err)
		}
		d, err := hook.Send(ctx, connector.Input{Message: "hello"})
		if err != nil || len(d.RunIDs) != 1 || (d.Result != nil) != (name == "SYNC") {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-window round": "none of fixed, sliding and bucket", "-rate 0": "less than 1", "extra": "unknown argument", "-addr nowhere:-1": "port",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
