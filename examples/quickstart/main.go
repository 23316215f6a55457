// Quickstart triggers an agent with a document, shows the run's progress, waits
// for its end and prints the answer.
//
// Without configuration it uses an embedded fake service, from package connictest,
// with an agent that reads sales reports.
//
//	go run ./examples/quickstart
//
// With CONNIC_API_KEY and CONNIC_PROJECT_ID set it does the same on the real
// service, where a run costs money:
//
//	go run ./examples/quickstart -agent my-agent -message "Summarize this report"
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
	"unicode"

	"github.com/connic-go/connic"
)

//go:embed report.txt
var report []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "quickstart:", clean(explain(err)))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	agent := flags.String("agent", "", "the agent to trigger; required for the real service")
	message := flags.String("message", "Which region did best, and what is the total?", "the message to the agent")
	asJSON := flags.Bool("json", false, "print the run as JSON")
	timeout := flags.Duration("timeout", 5*time.Minute, "time limit for the run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()

	client, where, stop, err := connect()
	if err != nil {
		return err
	}
	defer stop()
	if *agent == "" {
		if where != embedded {
			return errors.New("name an agent of your project with -agent: a run on the real service costs money, so none is chosen for you")
		}
		*agent = fakeAgent
	}

	progress := stdout
	if *asJSON {
		progress = stderr
	}
	_, _ = fmt.Fprintf(progress, "Triggering %s on %s …\n", *agent, where)
	result, err := client.Agents.TriggerAndWait(ctx, *agent,
		connic.TriggerRequest{
			Message: *message,
			Payload: map[string]any{"document": "report.txt", "bytes": len(report)},
			Files:   []connic.File{{Name: "report.txt", MIMEType: "text/plain", Data: report}},
		},
		connic.WithProgress(func(e connic.WaitEvent) {
			if e.Err != nil {
				_, _ = fmt.Fprintf(progress, "  %4.1fs  %v\n", e.After.Seconds(), clean(e.Err.Error()))
				return
			}
			_, _ = fmt.Fprintf(progress, "  %4.1fs  run %s is %s\n", e.After.Seconds(), clean(e.ID), clean(e.Status))
		}),
		connic.WithPoll(time.Second, 10*time.Second),
	)
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	printRun(stdout, result, client.RateLimit())
	return nil
}

func printRun(w io.Writer, run *connic.Run, quota connic.RateLimitStatus) {
	_, _ = fmt.Fprintf(w, "\nAnswer\n  %s\n", strings.ReplaceAll(clean(run.Output), "\n", "\n  "))
	if len(run.Traces) > 0 {
		_, _ = fmt.Fprintln(w, "\nSteps")
		printSpans(w, run.SpanTree(), "  ")
	}
	t := run.TokenUsage
	_, _ = fmt.Fprintf(w, "\nTokens  %d (input %d, output %d)\n", t.Total, t.Input, t.Output)
	if run.Currency != "" {
		_, _ = fmt.Fprintf(w, "Cost    %s %s\n", run.Cost, clean(run.Currency))
	}
	_, _ = fmt.Fprintf(w, "Quota   %d of %d requests used in the last %v\n", quota.Used, quota.Limit, quota.Window)
}

func printSpans(w io.Writer, nodes []*connic.SpanNode, indent string) {
	for _, n := range nodes {
		_, _ = fmt.Fprintf(w, "%s%s (%s, %s, %.0f ms)\n", indent, clean(n.Name), clean(n.Type), clean(n.Status), n.DurationMS)
		printSpans(w, n.Children, indent+"  ")
	}
}

// clean makes text from the service safe for a terminal: only line breaks
// remain of what could move the cursor or reverse the text.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, s)
}

// explain says how to fix an error.
func explain(err error) string {
	var runErr *connic.RunError
	var waitErr *connic.WaitError
	switch {
	case errors.Is(err, connic.ErrOutcomeUnknown):
		return fmt.Sprintf("%v. Check the project's runs before you try again.", err)
	case errors.As(err, &runErr):
		return err.Error()
	case errors.As(err, &waitErr):
		return fmt.Sprintf("%v. The run continues; fetch it later by its id %s.", err, waitErr.ID)
	case errors.Is(err, connic.ErrUnauthorized):
		return fmt.Sprintf("%v. Check CONNIC_API_KEY: create keys under Project Settings → API Keys & MCP Auth.", err)
	case errors.Is(err, connic.ErrForbidden):
		return fmt.Sprintf("%v. Give the key that permission, or use one with full access.", err)
	case errors.Is(err, connic.ErrNotFound):
		return fmt.Sprintf("%v. Check the agent's name and CONNIC_PROJECT_ID.", err)
	default:
		return err.Error()
	}
}
