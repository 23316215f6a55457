// Ci-gate runs a file of cases against an agent, judges the answers, and fails the
// build if they are not good enough.
//
//	ci-gate [flags] cases.yaml
//
// Without credentials and without a file it runs its own example against an
// embedded fake. With CONNIC_API_KEY and CONNIC_PROJECT_ID set it triggers real
// runs, which cost money: see max_cost in the file, and -state.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/apps/internal/progress"
	"github.com/connic-go/connic/examples/apps/internal/service"
)

//go:embed example.yaml
var example []byte

// The exit codes.
const (
	exitPassed      = 0
	exitFailed      = 1 // a case failed
	exitUsage       = 2 // nothing was triggered: the flags, the file or the configuration are invalid
	exitIncomplete  = 3 // cases have no result: because of the service, or the cost limit
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type options struct {
	junit, summary, state string
	timeout               time.Duration
	again                 bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var conf options
	flags := flag.NewFlagSet("ci-gate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&conf.junit, "junit", "", "write JUnit XML to this `file`")
	flags.StringVar(&conf.summary, "summary", os.Getenv("GITHUB_STEP_SUMMARY"), "append Markdown to this `file` (default: GITHUB_STEP_SUMMARY)")
	flags.StringVar(&conf.state, "state", "", "record requests in this `file`: an interrupted gate resumes from there, and triggers nothing twice")
	flags.BoolVar(&conf.again, "again", false, "trigger cases again whose trigger got no response and for which no run is found; they may be billed twice")
	flags.DurationVar(&conf.timeout, "timeout", 30*time.Minute, "time limit for all cases together")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: ci-gate [flags] cases.yaml")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	bad := func(err error) int {
		_, _ = fmt.Fprintln(stderr, "ci-gate:", progress.Clean(err.Error()))
		return exitUsage
	}
	where, err := service.Connect("connic-ci-gate", furnish, connic.WithTransport(tellFlight))
	if err != nil {
		return bad(err)
	}
	defer where.Close()
	var suite *Suite
	name := "example.yaml"
	switch {
	case flags.NArg() == 1 && where.Fake == nil:
		name = flags.Arg(0)
		suite, err = loadSuite(name)
	case flags.NArg() == 0 && where.Fake != nil:
		suite, err = parseSuite(example, false, ".")
	case flags.NArg() == 0:
		err = errors.New("name a file of cases; see -h")
	case flags.NArg() == 1:
		err = errors.New("no credentials are set, and the embedded fake knows only the built-in example: set CONNIC_API_KEY and CONNIC_PROJECT_ID, or leave out the file")
	default:
		err = errors.New("name one file of cases; flags come first")
	}
	if err != nil {
		return bad(err)
	}
	line := progress.New(stderr)
	line.Say("%d cases for agent %s on %s", len(suite.Cases), suite.Agent, where)
	return check(ctx, newSetup(where.Client, suite, line), name, conf, stdout)
}
