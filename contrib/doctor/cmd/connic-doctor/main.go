// Connic-doctor checks whether a program can work with the Connic API, and
// whether the API matches the assumptions of package connic.
//
//	connic-doctor                    checks key, project, permissions, quota, clock
//	connic-doctor drift openapi.json compares the service's document with ours
//	connic-doctor drift -live        compares the service's responses with ours
//	connic-doctor case fixture.json  turns a response into a conformance case
//
// The key is taken from the same places as by connic.NewFromEnv. The doctor
// never writes, and prints no secret. The exit status is 0 if everything is
// fine, 1 if something is wrong, and 2 if that could not be determined.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	doctor "github.com/connic-go/connic/contrib/doctor"
	"github.com/connic-go/connic/internal/mask"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	p := program{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, client: connic.NewFromEnv}
	status := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(status) //nolint:forbidigo // it is a program
}

// The exit status.
const (
	well    = 0
	unwell  = 1
	unknown = 2
)

// askAbove is the number of requests above which the user is asked first.
const askAbove = 20

type program struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	client   func(...connic.Option) (*connic.Client, error)
}

// A usage error is an invalid command line.
type usage struct{ error }

func (p program) run(ctx context.Context, args []string) int {
	status, err := p.command(ctx, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return well
	case err != nil:
		_, _ = fmt.Fprintln(p.err, "connic-doctor:", mask.Line(err.Error(), 2000))
		return unknown
	}
	return status
}

func (p program) command(ctx context.Context, args []string) (int, error) {
	if len(args) > 0 {
		switch args[0] {
		case "drift":
			return p.drift(ctx, args[1:])
		case "case":
			return p.makeCase(ctx, args[1:])
		case "check":
			args = args[1:]
		}
	}
	return p.check(ctx, args)
}

func (p program) flags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(p.err)
	return flags
}

func (p program) check(ctx context.Context, args []string) (int, error) {
	flags := p.flags("connic-doctor")
	asJSON := flags.Bool("json", false, "print JSON")
	timeout := flags.Duration("timeout", time.Minute, "time limit for all requests together")
	if err := flags.Parse(args); err != nil {
		return unknown, err
	}
	if flags.NArg() > 0 {
		return unknown, usage{fmt.Errorf("unknown command %q", flags.Arg(0))}
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	client, err := p.connect()
	if err != nil {
		return unknown, err
	}
	defer func() { _ = client.Close() }()
	checkup, err := doctor.Check(ctx, client, cmp.Or(p.env("CONNIC_API_URL"), "https://api.connic.co/v1"))
	if checkup == nil {
		return unknown, err
	}
	write := checkup.WriteTable
	if *asJSON {
		write = checkup.WriteJSON
	}
	if err := errors.Join(err, write(p.out)); err != nil {
		return unknown, err
	}
	if !checkup.OK() {
		return unwell, nil
	}
	return well, nil
}

// connect creates the client. It does not retry, so that the number of requests
// is the announced one.
func (p program) connect() (*connic.Client, error) {
	return p.client(connic.WithApplication("connic-doctor", connic.Version), connic.WithTimeout(15*time.Second),
		connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}), connic.WithReadOnly())
}

var severities = map[string]doctor.Severity{"info": doctor.Info, "warning": doctor.Warning, "error": doctor.Error}

func (p program) drift(ctx context.Context, args []string) (int, error) {
	flags := p.flags("connic-doctor drift")
	live := flags.Bool("live", false, "compare with the service: 20 requests with one item per list, all of them reads")
	recorded := flags.Bool("recorded", false, "compare with recordings of package connictest, without a request")
	items := flags.Int("items", 1, "with -live, the number of items of each list to request; more items show more fields")
	format := flags.String("format", "markdown", "format of the report: markdown or json")
	fail := flags.String("fail", "warning", "the severity that makes the exit status 1: info, warning or error")
	fixtures := flags.String("fixtures", "", "with -live, a directory for the responses, without private data")
	yes := flags.Bool("yes", false, "do not ask")
	if err := flags.Parse(args); err != nil {
		return unknown, err
	}
	level, ok := severities[*fail]
	switch {
	case !ok:
		return unknown, usage{fmt.Errorf("-fail must be info, warning or error: %q", *fail)}
	case *format != "markdown" && *format != "json":
		return unknown, usage{fmt.Errorf("-format must be markdown or json: %q", *format)}
	case *live && (*recorded || flags.NArg() > 0), !*live && flags.NArg() == 0, !*recorded && flags.NArg() > 1:
		return unknown, usage{errors.New("drift takes one document, or -live, or -recorded and recordings")}
	}
	var report *doctor.Report
	var err error
	switch {
	case *live:
		report, err = p.live(ctx, doctor.LiveOptions{Items: *items}, *fixtures, *yes)
	case *recorded:
		report, err = p.recorded(ctx, flags.Args())
	default:
		report, err = p.document(ctx, flags.Arg(0))
	}
	if err != nil {
		return unknown, err
	}
	write := report.WriteMarkdown
	if *format == "json" {
		write = report.WriteJSON
	}
	if err := write(p.out); err != nil {
		return unknown, err
	}
	if worst, found := report.Worst(); found && worst >= level {
		return unwell, nil
	}
	return well, nil
}

// document compares a file, or standard input for "-".
func (p program) document(ctx context.Context, name string) (*doctor.Report, error) {
	if u, err := url.Parse(name); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return nil, errors.New("drift takes a file: download the document from the API reference first")
	}
	text, err := p.read(ctx, name)
	if err != nil {
		return nil, err
	}
	return doctor.Drift(text)
}

func (p program) recorded(ctx context.Context, names []string) (*doctor.Report, error) {
	var recordings [][]byte
	for _, name := range names {
		text, err := p.read(ctx, name)
		if err != nil {
			return nil, err
		}
		recordings = append(recordings, text)
	}
	return doctor.Recorded(recordings...)
}

// read reads a file, or standard input for "-".
func (p program) read(ctx context.Context, name string) ([]byte, error) {
	in := p.in
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the user names it
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	return await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, doctor.MaxDocument+1)) })
}

func (p program) live(ctx context.Context, o doctor.LiveOptions, fixtures string, yes bool) (*doctor.Report, error) {
	client, err := p.connect()
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	_, _ = fmt.Fprintf(p.err, "At most %d requests, all of them reads.\n", o.Requests())
	if o.Requests() > askAbove && !yes && !p.agreed(ctx) {
		return nil, errors.New("nothing was sent")
	}
	if fixtures != "" {
		o.Keep = func(f doctor.Fixture) error { _, err := f.Write(fixtures); return err }
	}
	return doctor.Live(ctx, client, o)
}

// await calls f, and returns earlier if ctx ends: a read from a terminal or a
// pipe may not.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		value, err := f()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// agreed asks the user. No answer means no.
func (p program) agreed(ctx context.Context) bool {
	_, _ = fmt.Fprint(p.err, "Continue? [y/N] ")
	line, _ := await(ctx, func() (string, error) { return bufio.NewReader(p.in).ReadString('\n') })
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

func (p program) makeCase(ctx context.Context, args []string) (int, error) {
	if len(args) != 1 {
		return unknown, usage{errors.New("case takes one fixture")}
	}
	f, err := doctor.ReadFixture(args[0])
	if err != nil {
		return unknown, err
	}
	made, err := doctor.Case(ctx, *f)
	if err != nil {
		return unwell, err
	}
	encoder := json.NewEncoder(p.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return well, encoder.Encode(made)
}
