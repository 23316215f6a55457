// Bulk starts a run for each line of a file, and writes the answers as JSON lines.
// Without credentials it does so for a few orders, with an embedded fake:
//
//	go run ./examples/bulk
//	go run ./examples/bulk -agent support orders.jsonl >>answers.jsonl
//
// Ctrl-C starts nothing more, and collects what is in progress; the same command then
// goes on with the rest. After a kill it collects the runs too, but for the fake's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/connic-go/connic"
)

func main() {
	stop, restore := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(stop, restore) // so that a second one ends the process
	agent := flag.String("agent", "", "the agent; required for the real service, where runs cost money")
	journal := flag.String("journal", "bulk.journal", "the `file` that records what was sent")
	flag.Parse()
	client, inputs, err := open(agent, journal, flag.Arg(0))
	if err == nil {
		err = run(client, *agent, inputs, *journal, stop.Done(), os.Stdout, os.Stderr)
	}
	if err != nil {
		log.Fatal("bulk: ", err)
	}
}

func run(client *connic.Client, agent string, inputs io.Reader, journal string, stop <-chan struct{}, stdout, stderr io.Writer) error {
	unread := make(chan error, 1)
	all := func(yield func(string, connic.TriggerRequest) bool) { // on another goroutine, as far as the quota allows
		for lines := json.NewDecoder(inputs); ; {
			var in map[string]string
			err := lines.Decode(&in)
			if err != nil && !errors.Is(err, io.EOF) {
				unread <- fmt.Errorf("the inputs cannot be read: %w", err)
			}
			if err != nil || !yield(in["id"], connic.TriggerRequest{Message: in["message"]}) {
				return
			}
		}
	}
	now, show, out := connic.BulkProgress{}, line(stderr), json.NewEncoder(stdout)
	defer func() {
		show("")
		_, _ = fmt.Fprintln(stderr, now)
	}()
	for r, err := range client.Agents.TriggerAll(context.Background(), agent, all, connic.FileJournal(journal), connic.WithStop(stop),
		connic.WithMaxFailures(20), connic.WithBulkProgress(0, func(p connic.BulkProgress) { now = p; show(p.String()) })) {
		answer := map[string]string{"id": r.Key}
		switch {
		case r.Index < 0 && r.Key == "": // not all inputs were started, and this is why
			return err
		case err != nil:
			answer["error"] = err.Error()
		default:
			answer["output"] = r.Value.Output
		}
		show("")
		if err := out.Encode(answer); err != nil {
			return err // the input is not done: its answer is written the next time
		}
	}
	if len(unread) > 0 {
		return <-unread
	}
	if now.Failed > 0 {
		return fmt.Errorf("%d inputs have failed", now.Failed)
	}
	return nil
}

// line returns a function that shows a text: in place on a terminal, and elsewhere
// as a line every 5 s.
func line(out io.Writer) func(text string) {
	file, _ := out.(*os.File)
	info, err := file.Stat() // fails if it is nil
	live := err == nil && info.Mode()&os.ModeCharDevice != 0
	var last time.Time
	return func(text string) {
		if live {
			_, _ = fmt.Fprintf(out, "\r\x1b[K%s", text)
		} else if text != "" && time.Since(last) >= 5*time.Second {
			_, _ = fmt.Fprintln(out, text)
			last = time.Now()
		}
	}
}
